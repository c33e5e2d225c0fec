"""Rows that lie outside their video are counted and said; frames from 1 are recognised."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections, Tubes, make_videos
from actiontubes.detect.evaluation.align import align_to_ground_truth, extend_labels

VIDEOS = make_videos(["a", "b"], [4, 9], [200, 200], [100, 100])


def truth(*labels: str) -> Tubes:
    zeros = np.zeros(len(labels), np.int32)
    number = np.arange(len(labels), dtype=np.int32)
    boxes = np.tile([10.0, 20, 30, 40], (len(labels), 1))
    return Tubes(zeros, zeros, number, boxes, number.astype(np.int64), ("a", "b"), labels)


def detections(
    frames: list[int], label: str = "run", box: tuple[float, ...] = (10, 20, 30, 40)
) -> Detections:
    zeros = np.zeros(len(frames), np.int32)
    boxes = np.tile(np.array(box, float), (len(frames), 1))
    score = np.full(len(frames), 0.5)
    return Detections(zeros, np.array(frames, np.int32), zeros, score, boxes, ("a",), (label,))


def test_frames_that_count_from_1() -> None:
    with pytest.raises(
        InputError, match=r"x: frames seem to count from 1: .* give --first-frame 1"
    ):
        align_to_ground_truth(detections([1, 2, 3, 4]), truth("run"), "x", VIDEOS)
    with pytest.warns(UserWarning, match=r"x: 1 of 4 rows lie behind the end .*frame 4 of a"):
        aligned = align_to_ground_truth(
            detections([1, 2, 3, 4]), truth("run"), "x", VIDEOS, frames_are_certain=True
        )
    assert len(aligned) == 4
    with pytest.warns(UserWarning, match="x: 2 of 3 rows lie behind the end"):
        assert len(align_to_ground_truth(detections([0, 4, 5]), truth("run"), "x", VIDEOS)) == 3


def test_boxes_outside_the_frame() -> None:
    with pytest.warns(UserWarning, match=r"x: 2 of 2 boxes lie outside the frame .*200x100"):
        aligned = align_to_ground_truth(
            detections([0, 1], box=(200, 10, 240, 30)), truth("run"), "x", VIDEOS
        )
    assert len(aligned) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        align_to_ground_truth(detections([0], box=(-5, 0, 240, 130)), truth("run"), "x", VIDEOS)


@pytest.mark.parametrize("label", ["run fast", "Run_Fast", "RUN  fast"])
def test_spellings_of_a_class(label: str) -> None:
    whole = truth("walk", "run_fast")
    table = detections([0], label)
    assert extend_labels(whole, table, "x").label_names == whole.label_names
    assert align_to_ground_truth(table, whole, "x").label.tolist() == [1]
