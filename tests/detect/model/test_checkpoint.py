"""Detector files: what was saved comes back, and nothing else is let in."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.family import HOWTO100M_LAYOUT, get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.errors import InputError
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import load_detector, load_sections, save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = DetectorConfig(
    labels=("stand up", "sit down"), backbone="s3d-g", width_multiplier=0.05, endpoint="Mixed_4b",
    proposals="features", proposal_endpoint="Mixed_3c", hidden=8, roi_size=2, frames=8, size=(64,
    80), norm="batch", anchor_sides=(16, 32), mean=(0.4, 0.5, 0.6),
)  # fmt: skip
KEY = "actiontubes-detector"


def disturbed(settings: DetectorConfig, trunk: Trunk | None = None) -> Detector:
    """A detector with random weights and statistics."""
    torch.manual_seed(0)
    detector = build_detector(settings, trunk)
    for name, value in detector.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias")):
            value.copy_(value + 0.1 * torch.rand_like(value))
    return detector.eval()


def outputs(detector: Detector) -> list[Tensor]:
    settings = detector.config
    generator = torch.Generator().manual_seed(1)
    shape = (1, settings.frames, settings.height, settings.width, 3)
    clips = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    zero, key = torch.zeros(1, dtype=torch.long), torch.tensor([settings.frames // 2])
    with torch.inference_mode():
        maps = detector.extract_features(clips)
        proposals = [torch.tensor([[10.0, 10, 40, 50], [2, 2, 70, 60]])]
        if detector.proposals is not None:
            proposals, _ = detector.propose(maps, clips, zero, key)
        scores = detector.score(maps, settings.frames, proposals, zero, key)
    assert len(scores.probabilities)
    return list(scores)


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, norm="frozen", per_class_boxes=True, dropout=0.3),
        replace(SETTINGS, proposals="external", head="mixed", multi_label=True, labels=("a",)),
        replace(
            SETTINGS,
            head="light",
            head_channels=5,
            separate_background=True,
            proposal_channels=7,
        ),
        replace(SETTINGS, backbone="top-heavy-i3d(Mixed_3c)", frame_step=3),
        replace(SETTINGS, proposals="resnet18"),
        replace(SETTINGS, box_endpoint="Conv2d_2c_3x3", vote_iou=0.7),
    ],
    ids=["features", "frozen", "mixed", "light", "i3d", "resnet18", "fine boxes"],
)
def test_round_trip(settings: DetectorConfig, tmp_path: Path) -> None:
    detector = disturbed(settings)
    save_detector(detector, tmp_path / "d.safetensors")
    loaded = load_detector(tmp_path / "d.safetensors")
    assert loaded.config == settings and loaded.trunk.layout == detector.trunk.layout
    assert not loaded.training
    for a, b in zip(outputs(detector), outputs(loaded)):
        assert torch.equal(a, b)


def test_round_trip_of_another_layout(tmp_path: Path) -> None:
    variant = replace(get_variant("s3d-g"), layout=HOWTO100M_LAYOUT)
    settings = replace(SETTINGS, norm="frozen", proposals="external")
    detector = disturbed(settings, Trunk(variant, settings.width_multiplier))
    save_detector(detector, tmp_path / "d.safetensors")
    loaded = load_detector(tmp_path / "d.safetensors")
    assert loaded.trunk.layout == asdict(HOWTO100M_LAYOUT)
    for a, b in zip(outputs(detector), outputs(loaded)):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "d.safetensors"
    save_detector(disturbed(SETTINGS), path)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        load_detector(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message, message
    for word in words:
        assert word in message, message


def test_other_files_are_refused(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "missing.safetensors", "file not found", "actiontubes train")
    refused(tmp_path, "file not found")
    path = tmp_path / "other.safetensors"
    for content in (b"", b"text", saved.read_bytes()[:2000], saved.read_bytes()[:-1]):
        path.write_bytes(content)
        refused(path, "cannot be read as a .safetensors")


class Mark:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "d.safetensors", tmp_path / "was here"
    path.write_bytes(pickle.dumps(Mark(mark)))
    refused(path, "cannot be read as a .safetensors")
    torch.save({"weights": Mark(mark)}, path)
    refused(path, "cannot be read as a .safetensors")
    assert not mark.exists()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    trunk = Trunk(get_variant("i3d"), 0.05)
    save_pretrained(PretrainedModel(trunk, None, (), (0.5,) * 3, (0.5,) * 3), path)
    refused(path, "but a classifier; use it as --weights", "--weights")
    save_file({"a": torch.zeros(2)}, path, {"format": "pt"})
    refused(path, "other weights")
    save_file({"a": torch.zeros(2)}, path)
    refused(path, "other weights")


Change = Callable[[dict[str, Any], dict[str, Tensor]], Any]


def rewritten(saved: Path, path: Path, change: Change) -> Path:
    """The file with its settings and tensors changed."""
    with safe_open(saved, framework="pt") as file:
        record = json.loads(file.metadata()[KEY])
    tensors = load_file(saved)
    change(record, tensors)
    save_file(tensors, path, {KEY: json.dumps(record)})
    return path


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r, t: t.pop("head.scores.bias"), "head.scores.bias"),
        (lambda r, t: t.update({"head.scores.bias": torch.zeros(9)}), "head.scores.bias"),
        (lambda r, t: t.update({"more": torch.zeros(9)}), "more"),
        (lambda r, t: t["head.scores.bias"].fill_(torch.nan), "head.scores.bias"),
        (lambda r, t: r["config"]["labels"].append("jump"), "head.scores.weight"),
        (lambda r, t: r["config"].update(labels="ab"), "labels"),
        (lambda r, t: r["config"].update(labels=[]), "labels"),
        (lambda r, t: r["config"].update(labels=[1, 2]), "labels"),
        (lambda r, t: r["config"].update(backbone="resnet"), "resnet"),
        (lambda r, t: r["config"].update(backbone="i3d"), "shape"),
        (lambda r, t: r["config"].update(wings=2), "wings"),
        (lambda r, t: r["config"].pop("labels"), "labels"),
        (lambda r, t: r.pop("config"), "settings"),
        (lambda r, t: r.pop("layout"), "layout"),
        (lambda r, t: r.update(layout=[]), "AttributeError"),
        (lambda r, t: r["layout"].update(stem_kernel=[3, 3]), "Error"),
        (lambda r, t: r["layout"].update(stem_kernel=[7, 7, 10**6]), "shape"),
        (lambda r, t: r["layout"].update(stem_padding=[[0, 10**9]] * 3), "padding"),
        (lambda r, t: r["layout"].update(norm_eps="small"), "Error"),
        (lambda r, t: r["layout"].update(pool_padding="much"), "much"),
        (lambda r, t: r["config"].update(frames="8"), "Error"),
        (lambda r, t: r["config"].update(frames=8.5), "frames"),
        (lambda r, t: r["config"].update(frames=None), "Error"),
        (lambda r, t: r["config"].update(frames=-8), "frames"),
        (lambda r, t: r["config"].update(frames=True), "frames"),
        (lambda r, t: r["config"].update(frames=10**9), "frames"),
        (lambda r, t: r["config"].update(frame_step=10**9), "frame_step"),
        (lambda r, t: r["config"].update(size=[64 * 10**6, 80]), "size"),
        (lambda r, t: r["config"].update(size=[65, 80]), "65"),
        (lambda r, t: r["config"].update(roi_size=64), "shape"),
        (lambda r, t: r["config"].update(roi_size=10**6), "roi_size"),
        (lambda r, t: r["config"].update(box_roi_size=10**6), "box_roi_size"),
        (lambda r, t: r["config"].update(vote_iou=2.0), "vote-iou"),
        (lambda r, t: r["config"].update(box_endpoint="Conv2d_2c_3x3"), "head.features"),
        (lambda r, t: r["config"].update(box_endpoint=7), "Error"),
        (lambda r, t: r["config"].update(hidden=1 << 16, roi_size=64, width=8.0), "shape"),
        (lambda r, t: r["config"].update(hidden=10**12), "hidden"),
        (lambda r, t: r["config"].update(width=10.0**9), "width"),
        (lambda r, t: r["config"].update(width=float("nan")), "width"),
        (lambda r, t: r["config"].update(proposal_count=10**9), "proposal_count"),
        (lambda r, t: r["config"].update(anchor_sides=[1, 2, 3]), "shape"),
        (lambda r, t: r["config"].update(anchor_sides=[]), "--anchor-sides"),
        (lambda r, t: r["config"].update(std=[0.0, 1.0, 1.0]), "std"),
        (lambda r, t: r["config"].update(mean=[0.0]), "mean"),
        (lambda r, t: r["config"].update(proposals="thought"), "thought"),
        (lambda r, t: r["config"].update(norm="none"), "norm"),
    ],
)
def test_changed_files(saved: Path, tmp_path: Path, change: Change, word: str) -> None:
    refused(
        rewritten(saved, tmp_path / "d.safetensors", change), "was written by another version", word
    )


def test_damaged_config(saved: Path, tmp_path: Path) -> None:
    path, tensors = tmp_path / "d.safetensors", load_file(saved)
    for text in ("", "{", "[]", "null", "7", '{"config": 1, "layout": 2}', "[" * 10**5):
        save_file(tensors, path, {KEY: text})
        refused(path, "was written by another version")


def test_an_unchanged_copy_loads(saved: Path, tmp_path: Path) -> None:
    """So that the refusals above are due to what was changed."""
    load_detector(rewritten(saved, tmp_path / "d.safetensors", lambda r, t: None))


def test_sections_are_kept_as_they_are(saved: Path, tmp_path: Path) -> None:
    assert load_sections(saved) == {}
    sections = {"calibration": {"slope": [1.5, 2], "é": None}, "linking": {"preset": "act"}}
    path = tmp_path / "d.safetensors"
    save_detector(load_detector(saved), path, sections)
    assert load_sections(path) == sections
    assert set(load_detector(path).state_dict()) == set(load_detector(saved).state_dict())


def test_sections_that_are_no_json_or_too_long(saved: Path, tmp_path: Path) -> None:
    detector, path = load_detector(saved), tmp_path / "d.safetensors"
    for section, error in (
        (object(), TypeError),
        (math.nan, ValueError),
        ("a" * 2**24, ValueError),
    ):
        with pytest.raises(error):
            save_detector(detector, path, {"calibration": section})
        assert not path.exists()


@pytest.mark.parametrize("sections", [7, "ab", "a" * 2**24], ids=["number", "text", "long"])
def test_damaged_sections(saved: Path, tmp_path: Path, sections: Any) -> None:
    path = rewritten(saved, tmp_path / "d.safetensors", lambda r, t: r.update(sections=sections))
    refused(path, "was written by another version")
    with pytest.raises(InputError, match="was written by another version"):
        load_sections(path)


def test_a_mixed_head_of_version_0_1(tmp_path: Path) -> None:
    """Its files do not say that the blocks run for each box, as there was no other way."""
    detector = disturbed(replace(SETTINGS, head="mixed", mixed_per_box=True, proposals="external"))
    save_detector(detector, tmp_path / "new.safetensors")

    def older(record: dict[str, Any], _: dict[str, Tensor]) -> None:
        del record["config"]["mixed_per_box"], record["config"]["head_channels"]

    loaded = load_detector(
        rewritten(tmp_path / "new.safetensors", tmp_path / "old.safetensors", older)
    )
    assert loaded.config == detector.config
    for a, b in zip(outputs(detector), outputs(loaded)):
        assert torch.equal(a, b)


def test_files_of_version_0_1(saved: Path, tmp_path: Path) -> None:
    """They name the config settings, and the layout is part of a record of the network."""

    def older(record: dict[str, Any], _: dict[str, Tensor]) -> None:
        record["settings"] = record.pop("config")
        record["variant"] = {
            "name": "s3d-g", "temporal_from": "Conv2d_1a_7x7", "temporal_to": "Mixed_5c",
            "separable": True, "gating": "branches", "layout": record.pop("layout"),
        }  # fmt: skip
        del record["sections"]

    path = rewritten(saved, tmp_path / "d.safetensors", older)
    detector = load_detector(path)
    assert detector.config == SETTINGS and not load_sections(path)
    for a, b in zip(outputs(detector), outputs(load_detector(saved))):
        assert torch.equal(a, b)
