"""Exported detectors: the same numbers under onnxruntime and torch.export as in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from actiontubes.backbones.family import endpoint_shapes, get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections
from actiontubes.detect.inference.clip_batches import ClipBatch, iter_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.inference.export import BatchedProposals, export_detector, trace_detector
from actiontubes.detect.inference.load import load_checkpoint
from actiontubes.detect.inference.onnx_predictor import (
    METADATA_KEY,
    OnnxPredictor,
    load_onnx_predictor,
)
from actiontubes.detect.inference.predictor import (
    Predictor,
    TorchPredictor,
    postprocess,
)
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.model.head import ActionHead
from actiontubes.detect.model.postprocess import KeyFrameDetections
from actiontubes.detect.model.roi_features import TrunkBlockFeatures
from actiontubes.detect.model.rpn import ProposalNetwork

pytest.importorskip("onnxscript")
pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DetectorConfig(
    labels=("stand up", "sit down"), backbone="s3d-g", width_multiplier=0.0625,
    endpoint="MaxPool_3a_3x3", proposals="features", proposal_endpoint="Conv2d_2c_3x3",
    proposal_count=20, hidden=16, roi_size=3, frames=8, size=(48, 64), anchor_sides=(16, 32),
    mean=(0.4, 0.5, 0.6), per_class_boxes=True, norm="batch",
)  # fmt: skip
EXTERNAL = replace(
    CONFIG, backbone="i3d", proposals="external", per_class_boxes=False, multi_label=True,
    frame_step=2, head="light", head_channels=6, box_endpoint="Conv2d_2b_1x1", box_roi_size=4,
)  # fmt: skip


def disturbed(config: DetectorConfig) -> Detector:
    """A detector with random weights whose scores and boxes differ much, as a trained one's do."""
    torch.manual_seed(0)
    detector = build_detector(config)
    for name, value in detector.named_parameters():
        if name.startswith(("head.scores", "head.deltas")):
            torch.nn.init.normal_(value, std=0.3 if "scores" in name else 0.05)
    clips = torch.from_numpy(make_clip(0, config.frames, config))[None]
    labels = torch.ones(2, len(config.labels))
    boxes = torch.tensor([[5.0, 5, 30, 40], [20, 10, 60, 45]])
    zero = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        for seed in range(20):  # the norms' statistics
            detector(clips, zero, zero + config.frames // 2, [boxes], [labels], [seed])
    return detector.eval()


def make_clip(seed: int, length: int, config: DetectorConfig) -> np.ndarray:
    """(T, H, W, 3) of noise that changes slowly."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (length, 6, 8, 3), dtype=np.uint8)
    return coarse.repeat(config.height // 6, 1).repeat(config.width // 8, 2)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Path]:
    """A detector that finds people itself."""
    detector = disturbed(CONFIG)
    path = tmp_path_factory.mktemp("own") / "own.onnx"
    assert export_detector(detector, path, frames=48) == 48
    return detector, path


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Path]:
    """A detector that needs boxes, on clips of another length and by a newer operator set."""
    detector = disturbed(EXTERNAL)
    path = tmp_path_factory.mktemp("external") / "external.onnx"
    assert export_detector(detector, path, frames=20, opset=20) == 20
    return detector, path


def agree(a: Detections, b: Detections) -> None:
    """Row by row, boxes as fractions of the frame; 1e-3 is required."""
    np.testing.assert_array_equal(a.frame, b.frame)
    np.testing.assert_array_equal(a.label, b.label)
    np.testing.assert_allclose(a.score, b.score, atol=1e-4)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-4)


def predict_batch(predictor: Predictor, batch: ClipBatch, threshold: float = 0.01) -> Detections:
    return postprocess(predictor.predict(batch), predictor.config, threshold=threshold)


def one_batch(frames: np.ndarray, key_frames: list[float], people: Any = ()) -> ClipBatch:
    count = len(key_frames)
    clips = torch.from_numpy(frames)[None]
    places = torch.tensor(key_frames, dtype=torch.float64)
    return ClipBatch(clips, torch.zeros(count, dtype=torch.int64), places, np.arange(count), people)


@pytest.mark.parametrize("key_frames", [[20.0], [8.0, 20.5, 21.0, 33.0], list(range(8, 40))])
def test_onnx_finds_what_pytorch_finds(own: tuple[Detector, Path], key_frames: list[float]) -> None:
    detector, path = own
    batch = one_batch(make_clip(1, 48, CONFIG), key_frames)
    expected = predict_batch(TorchPredictor(detector), batch)
    found = predict_batch(load_onnx_predictor(path), batch)
    assert len(expected.score) >= 10 * len(key_frames) and np.ptp(expected.score) > 0.05
    agree(found, expected)


@pytest.mark.parametrize("counts", [[1], [4, 0, 2], [0, 0]])
def test_onnx_with_external_proposals(external: tuple[Detector, Path], counts: list[int]) -> None:
    detector, path = external
    rng = np.random.default_rng(2)
    people = []
    for count in counts:
        corner = rng.uniform(0, [30, 20], (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (count, 2))], axis=1)
        people.append(torch.from_numpy(boxes).float())
    batch = one_batch(make_clip(3, 20, EXTERNAL), [9.0, 10.0, 11.0][: len(counts)], people)
    expected = predict_batch(TorchPredictor(detector), batch)
    assert (len(expected.score) > 0) == (sum(counts) > 0)
    agree(predict_batch(load_onnx_predictor(path), batch), expected)


def test_windows_of_long_and_short_clips(external: tuple[Detector, Path]) -> None:
    """Of clips that are not the model's length, each key frame sees what it sees in its window."""
    detector, path = external
    model = load_onnx_predictor(path)
    box = torch.tensor([[10.0, 5, 40, 45]])
    frames = make_clip(4, 60, EXTERNAL)
    keys = [6.0, 9.5, 25.0, 31.0, 52.0]
    found = predict_batch(model, one_batch(frames, keys, [box] * 5))
    # 20 frames with 8 around a key frame: from 8 before it, at a multiple of 4.
    for number, start in enumerate([0, 0, 16, 20, 40]):
        alone = one_batch(frames[start : start + 20], [keys[number] - start], [box])
        expected = predict_batch(TorchPredictor(detector), alone)
        np.testing.assert_allclose(found.score[found.frame == number], expected.score, atol=1e-4)
    short = frames[:12]
    filled = np.concatenate([short, short[-1:].repeat(8, axis=0)])
    agree(
        predict_batch(model, one_batch(short, [6.0], [box])),
        predict_batch(TorchPredictor(detector), one_batch(filled, [6.0], [box])),
    )


def test_every_key_frame_has_its_context() -> None:
    """Whatever the lengths, no key frame is left out or looks beyond its window's ends."""
    for own_frames in (1, 8, 20, 21):
        config = replace(EXTERNAL, frames=own_frames)
        for clip_frames in (own_frames, own_frames + 3, own_frames + 7, own_frames + 40):
            model = OnnxPredictor(None, config, clip_frames, Path("model.onnx"))
            length = 100
            keys = np.arange(own_frames // 2, length - own_frames, 0.5).tolist()
            seen = []
            batch = one_batch(np.zeros((length, 1, 1, 3), np.uint8), keys)
            for clip, rows, start in model._windows(batch):
                assert clip == 0 and 0 <= start <= length - clip_frames
                for key in keys[rows]:
                    assert key - own_frames // 2 >= start
                    assert int(key) + own_frames - own_frames // 2 <= start + clip_frames
                seen += range(len(keys))[rows]
            assert seen == list(range(len(keys)))


def test_clip_batches_of_a_video(own: tuple[Detector, Path]) -> None:
    """The path of `actiontubes detect`: shared clips, longer than the model's, of a whole video."""
    model = load_onnx_predictor(own[1])
    frames = [(frame, None) for frame in make_clip(5, 90, CONFIG)]
    seen: list[int] = []
    for batch in iter_clip_batches(frames, ClipGeometry(CONFIG)):
        found = predict_batch(model, batch, threshold=0)
        seen += sorted(set(found.frame.tolist()))
    assert seen == list(range(90))


@pytest.mark.parametrize("keys", [1, 3, 40])
def test_batched_proposals(keys: int) -> None:
    """All key frames at once, against torchvision's network, which takes one by one."""
    torch.manual_seed(keys)
    network = ProposalNetwork(
        8, anchor_sides=(16, 32), anchor_ratios=(0.5, 1, 2), num_proposals=20
    ).eval()
    for value in network.rpn.head.parameters():
        torch.nn.init.normal_(value, std=0.3)
    grid = disturbed(CONFIG).grid(CONFIG.endpoint, 16)
    maps, size = torch.randn(keys, 8, 6, 8), (48, 64)
    with torch.inference_mode():
        expected, _ = network(maps, grid, size)
        (boxes, key), losses = BatchedProposals(network)(maps, grid, size)
    assert losses == {} and all(len(each) == 20 for each in expected)
    assert key.tolist() == [number for number in range(keys) for _ in range(20)]
    torch.testing.assert_close(boxes, torch.cat(expected), atol=1e-4, rtol=0)


def test_torch_export(tmp_path: Path, detect_key_frames: Callable[..., KeyFrameDetections]) -> None:
    """A program of torch.export with one of the trunk's blocks in the head, saved and loaded."""
    config = replace(CONFIG, backbone="i2d", proposal_endpoint="MaxPool_3a_3x3", frames=4)
    detector = disturbed(config)
    rest = Trunk(get_variant("i2d"), config.width_multiplier).truncate(config.endpoint)
    shapes = endpoint_shapes(config.width_multiplier)
    before, behind = (shapes[name][0] for name in (config.endpoint, "Mixed_3b"))
    blocks = torch.nn.Sequential(rest.Mixed_3b)
    detector.head = ActionHead(TrunkBlockFeatures(blocks, before, behind, size=3), 2).eval()
    torch.nn.init.normal_(detector.head.scores.weight)
    path = tmp_path / "model.pt2"
    assert export_detector(detector, path, frames=8) == 8
    record = {METADATA_KEY: ""}
    program = torch.export.load(path, extra_files=record)
    assert json.loads(record[METADATA_KEY])["settings"]["labels"] == ["stand up", "sit down"]
    clip = torch.from_numpy(make_clip(6, 8, config))
    for key_frames in ([4.0], [1.0, 3.0, 4.0, 6.0]):
        scores, boxes, key = program.module()(clip, torch.tensor(key_frames))
        zero = torch.zeros(len(key_frames), dtype=torch.int64)
        places = torch.tensor(key_frames)
        with torch.inference_mode():
            maps = detector.extract_features(clip[None])
            proposals, _ = detector.propose(maps, clip[None], zero, places)
            expected = detect_key_frames(detector, maps, 8, proposals, zero, places, threshold=0.0)
        assert key.bincount().tolist() == [len(each) for each in proposals]
        for number in range(len(key_frames)):
            best = scores[key == number].max()
            torch.testing.assert_close(
                best, expected.score[expected.key_frame_index == number].max()
            )
        assert boxes.shape == (len(scores), 1, 4)


def test_metadata_of_the_file(own: tuple[Detector, Path], external: tuple[Detector, Path]) -> None:
    for (detector, path), opset in ((own, 18), (external, 20)):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert metadata["labels"].split("\n") == list(detector.config.labels)
        assert load_onnx_predictor(path).config == detector.config
        assert "uint8" in model.doc_string
        values = {each.name: each for each in (*model.graph.input, *model.graph.output)}
        names = ["clip", "key_frames"] + (["boxes", "key"] if path.stem == "external" else [])
        assert list(values) == [*names, "scores", "refined_boxes", "key_of_box"]
        for name, value in values.items():
            sides = value.type.tensor_type.shape.dim
            assert bool(sides[0].dim_param) == (name != "clip")
            assert all(side.dim_value for side in sides[1:])


def test_a_detector_with_proposals_may_leave_them_out(own: tuple[Detector, Path]) -> None:
    detector, _ = own
    program = trace_detector(detector, 12, external_proposals=True)
    assert len(program.graph_signature.user_inputs) == 4
    assert detector.proposals is not None and detector.config.proposals == "features"


def test_boxes_for_a_model_that_finds_people_itself(own: tuple[Detector, Path]) -> None:
    with pytest.raises(InputError, match=r"finds people itself.*--external-proposals"):
        load_checkpoint(own[1], proposals="frame")


def test_wrong_options(own: tuple[Detector, Path], tmp_path: Path) -> None:
    detector, _ = own
    for name, options, words in (
        ("model.pt", {}, "must end in .onnx or .pt2"),
        ("model.onnx", {"opset": 17}, "--opset 17: must be 18 to 21"),
        ("model.onnx", {"frames": 7}, "--frames 7: this detector needs at least 8"),
    ):
        with pytest.raises(InputError, match=words):
            export_detector(detector, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_without_onnxscript(
    own: tuple[Detector, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(InputError, match="needs onnxscript; pip install onnxscript"):
        export_detector(own[0], tmp_path / "model.onnx")


@pytest.fixture
def changed(external: tuple[Detector, Path], tmp_path: Path) -> Iterator[Any]:
    """Writes the model of `external` with other config."""

    def write(**changes: object) -> Path:
        model = onnx.load(external[1])
        (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
        record = json.loads(entry.value)
        for name, value in changes.items():
            (record if name in record else record["settings"])[name] = value
        entry.value = json.dumps(record)
        onnx.save(model, tmp_path / "changed.onnx")
        return tmp_path / "changed.onnx"

    yield write


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": []}, "labels"),
        ({"frames": 10**9}, "frames"),
        ({"clip_frames": 4}, "clip_frames 4"),
        ({"clip_frames": 10**9}, "clip_frames"),
        ({"clip_frames": "many"}, "ValueError"),
        ({"settings": None}, "Error"),
        ({"proposals": "features"}, "its inputs are not clip, key_frames; export it again"),
    ],
)
def test_changed_settings(changed: Any, changes: dict[str, object], words: str) -> None:
    path = changed(**changes)
    with pytest.raises(InputError, match=words) as error:
        load_onnx_predictor(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
