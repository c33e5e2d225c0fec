"""Weights files: our own, and every kind of file that must be refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import VARIANTS, get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights import load
from actiontubes.backbones.weights.load import load_file, load_pretrained, save_pretrained
from actiontubes.datasets.errors import InputError
from safetensors import safe_open
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors
from torchvision.models.video import s3d


def small_model(name: str, randomise, last: str = "Mixed_3c") -> PretrainedModel:
    trunk = Trunk(get_variant(name), 0.25, last)
    head = Classifier(trunk.out_channels, 5, window=None, dropout=0.3)
    randomise(trunk)
    randomise(head)
    return PretrainedModel(
        trunk.eval(), head.eval(), ("jump", "pull-up", "Führen", "a", "b"), (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
    )  # fmt: skip


@pytest.fixture(scope="module")
def own(randomise, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "model.safetensors"
    save_pretrained(small_model("s3d", randomise), path)
    return path


@pytest.mark.parametrize(
    "name", [*VARIANTS, "top-heavy-i3d(Mixed_3c)", "bottom-heavy-i3d(Mixed_3c)", "s3d-g(temporal)"]
)
def test_own_files_keep_everything(randomise, tmp_path: Path, name: str) -> None:
    model = small_model(name, randomise)
    path = tmp_path / "new" / "model.safetensors"
    save_pretrained(model, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    again = load_file(path, get_variant(name))
    assert again.head is not None and model.head is not None
    for ours, theirs in ((again.trunk, model.trunk), (again.head, model.head)):
        assert not ours.training
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value)
    assert again.trunk.variant == model.trunk.variant
    assert (again.trunk.width_multiplier, again.trunk.last) == (0.25, "Mixed_3c")
    assert again.head.window is None and again.head.dropout.p == 0.3
    for field in ("labels", "mean", "std"):
        assert getattr(again, field) == getattr(model, field)


def test_own_files_without_a_head(randomise, tmp_path: Path) -> None:
    trunk = small_model("i2d", randomise).trunk
    model = PretrainedModel(trunk, None, (), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    save_pretrained(model, tmp_path / "trunk.safetensors")
    assert load_file(tmp_path / "trunk.safetensors", get_variant("i2d")).head is None


def change_own(source: Path, path: Path, change: str) -> None:
    tensors = load_tensors(source)
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
    settings: dict[str, Any] = json.loads(metadata["actiontubes"])
    key = "trunk.Mixed_3b.branch0.0.conv.weight"
    if change == "missing":
        del tensors[key]
    elif change == "shape":
        tensors[key] = tensors[key][:-1]
    elif change == "nan":
        tensors[key][0, 0] = float("nan")
    elif change == "unknown":
        tensors["other.weight"] = torch.zeros(1)
    elif change == "unknown in the trunk":
        tensors["trunk.Mixed_9z.weight"] = torch.zeros(1)
    elif change == "head without settings":
        del settings["head"]
    elif change == "a list":
        settings = [1]  # type: ignore[assignment]
    elif change == "layout of text":
        settings["layout"] = "s3d"
    elif change == "unknown field":
        settings["layout"]["colour"] = "red"
    elif change == "endpoint":
        settings["last"] = "Mixed_9z"
    elif change == "negative width":
        settings["width_multiplier"] = -1
    elif change == "kernel":
        settings["layout"]["stem_kernel"] = [0, -1, 7]
    metadata = {"actiontubes": json.dumps(settings)}
    if change == "no metadata":
        metadata = {}
    elif change == "broken metadata":
        metadata = {"actiontubes": "{"}
    save_tensors(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "weights are missing: trunk.Mixed_3b.branch0.0.conv.weight"),
        ("shape", r"trunk.Mixed_3b.branch0.0.conv.weight has shape \(15, 48, .* \(16, 48, "),
        ("nan", "trunk.Mixed_3b.branch0.0.conv.weight contains values that are not finite"),
        ("unknown", "other.weight does not belong to this network"),
        ("unknown in the trunk", "trunk.Mixed_9z.weight does not belong to this network"),
        ("head without settings", "head.fc.bias does not belong to this network"),
        ("negative width", "trunk.Conv2d_1a_7x7.0.conv.weight has shape"),
        ("a list", "was not written by this project"),
        ("layout of text", "was not written by this project"),
        ("unknown field", "was not written by this project, .*colour"),
        ("endpoint", "was not written by this project, .*Mixed_9z"),
        ("kernel", "was not written by this project"),
        ("no metadata", "was not written by this project"),
        ("broken metadata", "was not written by this project"),
    ],
)
def test_damaged_own_files_are_refused(
    refusal, own: Path, tmp_path: Path, change: str, message: str
) -> None:
    path = tmp_path / "changed.safetensors"
    change_own(own, path, change)
    assert re.match(f".*{message}", refusal(path, "s3d"))


def test_own_files_of_another_network_are_refused(refusal, own: Path) -> None:
    assert refusal(own, "s3d-g") == "weights of s3d, not of s3d-g"
    assert refusal(own, "i3d") == "weights of s3d, not of i3d"


class Touches:
    """Unpickling this makes a file, if a loader lets it."""

    def __init__(self, how: Any, *arguments: Any) -> None:
        self.how, self.arguments = how, arguments

    def __reduce__(self) -> tuple[Any, tuple]:
        return self.how, self.arguments


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".zip.pth", ".tar.pth"])
@pytest.mark.parametrize("how", ["system", "open", "exec"])
def test_code_in_a_pickle_never_runs(refusal, tmp_path: Path, suffix: str, how: str) -> None:
    made = tmp_path / "made"
    touch = {
        "system": Touches(os.system, f"touch {made}"),
        "open": Touches(open, str(made), "w"),
        "exec": Touches(exec, f"open({str(made)!r}, 'w')"),
    }[how]
    content = {"features.0.0.0.weight": touch, "params": touch, "state_dict": touch}
    path = tmp_path / f"weights{suffix}"
    if ".zip" in suffix or ".tar" in suffix:
        torch.save(content, path, _use_new_zipfile_serialization=".zip" in suffix)
    else:
        path.write_bytes(pickle.dumps(content, 2))
    message = refusal(path, "i3d" if suffix == ".ckpt" else "s3d")
    name = {"system": r"\w+\.system", "open": "(_?io.)?open", "exec": r"(\w+\.)?exec"}[how]
    assert re.match(rf"refused for safety(:| \() ?it would import {name}\)?; only", message)
    assert not made.exists()
    # The same bytes do make it where nobody guards: the file is what it claims to be.
    if ".zip" not in suffix and ".tar" not in suffix and os.name == "posix":
        pickle.loads(path.read_bytes())
        assert made.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors", ".bin"])
@pytest.mark.parametrize("content", [b"", b"These are no weights at all.\n" * 9, b"\x80\x02}q\x00"])
def test_other_content_under_the_name_is_refused(
    refusal, tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert re.match("(cannot be read|was not written by this project)", refusal(path, "i3d"))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "ckpt"])
def test_damage_anywhere_is_refused(refusal, own: Path, tmp_path: Path, kind: str) -> None:
    """Cut anywhere, or with bytes exchanged: refused in one line, or read as the same network."""
    suffix = {"zip": ".pth", "legacy": ".pth"}.get(kind, f".{kind}")
    path = tmp_path / f"weights{suffix}"
    tensors = {f"layer{i}.weight": torch.ones(2, 2) for i in range(3)}
    if kind == "safetensors":
        path.write_bytes(own.read_bytes())
    elif kind == "ckpt":
        path.write_bytes(pickle.dumps({"params": {k: v.numpy() for k, v in tensors.items()}}))
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole, numbers = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        path.write_bytes(whole[: numbers.integers(len(whole))])
        refusal(path, "i3d" if kind == "ckpt" else "s3d")
    header = 2000 if kind == "safetensors" else len(whole)
    for _ in range(80):
        damaged = bytearray(whole)
        for place in numbers.integers(header, size=3):
            damaged[place] = numbers.integers(256)
        path.write_bytes(damaged)
        if kind != "safetensors":
            refusal(path, "i3d" if kind == "ckpt" else "s3d")
            continue
        try:
            load_file(path, get_variant("s3d"))
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "features.5.branch0.0.weight is missing in the file"),
        ("no head", "a layout that is not known"),
        ("shape", "Mixed_3b.branch0.0.conv.weight has shape"),
        ("nan", "Mixed_3b.branch0.0.conv.weight contains values that are not finite"),
        ("flat head", r"weights for the classifier have shape \(\)"),
        ("head", "fc.weight has shape"),
        ("list", "contains a list instead of a state dict"),
        ("empty", "a layout that is not known"),
        ("resnet", r"a layout that is not known \(its first key is conv1.weight\)"),
    ],
)
def test_damaged_torchvision_files_are_refused(
    refusal, tmp_path: Path, change: str, message: str
) -> None:
    state: Any = dict(s3d(weights=None).state_dict())
    key, head = "features.5.branch0.0.weight", "classifier.1.weight"
    if change == "missing":
        del state[key]
    elif change == "no head":
        del state[head]
    elif change == "shape":
        state[key] = state[key][:, :-1]
    elif change == "nan":
        state[key][0] = float("inf")
    elif change == "flat head":
        state[head] = torch.tensor(1.0)
    elif change == "head":
        state[head] = state[head][:, :-1]
    else:
        state = {
            "list": [1, 2], "empty": {}, "resnet": {"conv1.weight": torch.zeros(64, 3, 7, 7)}
        }[change]  # fmt: skip
    path = tmp_path / "s3d.pth"
    torch.save(state, path)
    assert re.match(message, refusal(path, "s3d"))


def test_names_and_paths_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"howto100m: no such file; for i3d give "
                                         "kinetics400, imagenet or"):  # fmt: skip
        load_pretrained(get_variant("i3d"), "howto100m")
    with pytest.raises(InputError, match=r"give kinetics400, howto100m, imagenet"):
        load_pretrained(get_variant("s3d-g(temporal)"), str(tmp_path / "absent.pth"))


def test_a_path_is_loaded(own: Path) -> None:
    assert load_pretrained(get_variant("s3d"), str(own)).labels[2] == "Führen"


def test_nothing_half_written_is_left(randomise, tmp_path: Path, monkeypatch) -> None:
    def fails(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"before")
    monkeypatch.setattr(load, "save_file", fails)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(small_model("i2d", randomise, "Conv2d_1a_7x7"), path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]
