"""Which frames a proposal source sees, and which boxes the others get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections
from actiontubes.datasets.video.live_queue import LiveFrame
from actiontubes.detect.inference.action_detector import check_proposal_step
from actiontubes.detect.inference.clip_batches import ClipBatch
from actiontubes.detect.inference.live.batches import LivePeople, iter_live_batches
from actiontubes.detect.inference.onnx_predictor import OnnxPredictor
from actiontubes.detect.inference.predictor import TorchPredictor
from actiontubes.detect.inference.proposal_frames import with_person_boxes
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource
from actiontubes.detect.people.table import TableSource

SIZE = (40, 20)  # (width, height) of the clip; frames are twice as large


def frames(count: int) -> Iterator[np.ndarray]:
    """The color is the number of the frame."""
    return (np.full((40, 80, 3), number, np.uint8) for number in range(count))


def walker(seen: list[int]) -> FunctionSource:
    """A box that moves by half a pixel in each frame; the frames asked for go to `seen`."""

    def propose(images: np.ndarray, first_frame: int) -> list[np.ndarray]:
        numbers = range(first_frame, first_frame + len(images))
        assert images[:, 0, 0, 0].tolist() == list(numbers)
        seen.extend(numbers)
        return [np.array([[n / 2, 0, n / 2 + 30, 40]]) for n in numbers]

    return FunctionSource(propose)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 13, 20])
@pytest.mark.parametrize("key_frame_step", [1, 2, 3])
@pytest.mark.parametrize("proposal_step", [1, 2, 4, 50])
def test_carried_boxes_equal_those_of_a_steady_walk(
    count: int, key_frame_step: int, proposal_step: int
) -> None:
    seen: list[int] = []
    found = list(
        with_person_boxes(
            frames(count), SIZE, slice(0, 3), walker(seen), key_frame_step, proposal_step
        )
    )
    assert [int(image[0, 0, 0]) for image, _ in found] == list(range(count))
    key_frames = list(range(0, count, key_frame_step))
    for number, (image, boxes) in enumerate(found):
        assert image.shape == (20, 40, 3)
        if number not in key_frames:
            assert boxes is None
        else:
            np.testing.assert_allclose(boxes, [[number / 4, 0, number / 4 + 15, 20]], atol=1e-5)
    assert seen == sorted({*key_frames[::proposal_step], key_frames[-1]})


def test_a_video_without_frames() -> None:
    source = walker([])
    assert list(with_person_boxes(iter(()), SIZE, slice(0, 3), source, 1, 4)) == []


@pytest.mark.parametrize("count", [8, 9])
def test_own_proposals_are_made_on_some_key_frames(count: int) -> None:
    config = DetectorConfig(
        labels=("run",), backbone="i2d", width_multiplier=0.1, endpoint="MaxPool_2a_3x3",
        proposals="features", proposal_endpoint="MaxPool_2a_3x3", proposal_count=5, hidden=4,
        frames=4, size=(32, 48),
    )  # fmt: skip
    torch.manual_seed(0)
    detector = build_detector(config).eval()
    asked: list[list[float]] = []

    def propose(
        features: object, clips: object, clip_index: torch.Tensor, key_frames: torch.Tensor
    ) -> tuple[list[torch.Tensor], dict]:
        asked.append(key_frames.tolist())
        return [torch.tensor([[k, 0.0, k + 9, 9]]) for k in asked[-1]], {}

    detector.propose = propose  # type: ignore[method-assign, assignment]
    batch = ClipBatch(
        clips=torch.zeros(1, 12, 32, 48, 3, dtype=torch.uint8),
        clip_index=torch.zeros(count, dtype=torch.int64),
        key_frame_positions=torch.arange(2.0, 2.0 + count), frame_numbers=np.arange(count),
    )  # fmt: skip
    predictor = TorchPredictor(detector)
    for step, expected in ((1, range(count)), (4, sorted({0, 4, count - 1}))):
        boxes = predictor.propose({}, replace(batch, proposal_step=step), slice(0, count))
        assert asked.pop() == [2 + row for row in expected]
        assert [each.tolist() for each in boxes] == [
            [[2 + row, 0, 11 + row, 9]] for row in range(count)
        ]


def test_live_boxes_move_on_until_the_next_detection() -> None:
    """Frame 5 was dropped: the third detection is on frame 9, and frame 10 follows it."""
    config = DetectorConfig(labels=("run",), frames=4, size=(20, 40))
    seen: list[int] = []
    numbers = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    live = (LiveFrame(n, n / 25, np.full((40, 80, 3), n, np.uint8), n / 25) for n in numbers)
    find = LivePeople(walker(seen), 4).find
    boxes: list[list[float]] = []
    for batch, _ in iter_live_batches(live, config, step=4, people=find):
        boxes += [each[0].tolist() for each in batch.person_boxes]
    assert seen == [0, 4, 9]
    moved = [0, 0, 0, 0, 4, 6, 7, 8, 9, 10]  # nothing is known of the motion before frame 4
    np.testing.assert_allclose(boxes, [[n / 4, 0, n / 4 + 15, 20] for n in moved], atol=1e-5)


def test_where_nothing_can_be_left_out(tmp_path: Path) -> None:
    config = DetectorConfig(labels=("run",), proposals="features")
    exported = OnnxPredictor(None, config, 60, tmp_path)
    table = TableSource(
        Detections(
            video=np.zeros(0, np.int32), frame=np.zeros(0, np.int32), label=np.zeros(0, np.int32),
            score=np.zeros(0), boxes=np.zeros((0, 4)), video_names=("a",), label_names=("person",),
        )
    )  # fmt: skip
    check_proposal_step(1, exported, table)
    with pytest.raises(InputError, match="table of person boxes"):
        check_proposal_step(2, exported, table)
    with pytest.raises(InputError, match="all key frames"):
        check_proposal_step(2, exported, None)
