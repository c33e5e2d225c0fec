"""Frames that nobody annotated do not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.annotation_format import GroundTruth
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.evaluation.evaluate import evaluate

NAMES = (("a",), ("run",))


def boxes_on(frames: range) -> np.ndarray:
    return np.stack([np.array([10.0 + f, 20, 50 + f, 80]) for f in frames])


def tubes_on(frames: range, score: float | None = None) -> Tubes:
    zeros = np.zeros(len(frames), np.int32)
    scores = None if score is None else np.full(len(frames), score)
    return Tubes(
        zeros, np.array(frames, np.int32), zeros, boxes_on(frames), zeros.astype(np.int64), *NAMES,
        tube_score=scores,
    )  # fmt: skip


def detections_on(frames: range) -> Detections:
    zeros = np.zeros(len(frames), np.int32)
    return Detections(
        zeros,
        np.array(frames, np.int32),
        zeros,
        np.full(len(frames), 0.9),
        boxes_on(frames),
        *NAMES,
    )


@pytest.mark.parametrize("protocol", ["act", "multisports", "road"])
def test_every_fifth_frame(protocol: str) -> None:
    truth, boxes = tubes_on(range(0, 40, 5)), detections_on(range(40))
    tubes = tubes_on(range(40), 0.9)
    with pytest.raises(InputError, match=r"stand 5 frames apart; give --annotated-frames boxed"):
        evaluate(truth, boxes, tubes, protocol=protocol)
    with pytest.warns(UserWarning, match="32 of 40 rows are on frames that nobody annotated"):
        boxed = evaluate(truth, boxes, tubes, protocol=protocol, annotated_frames="boxed")
    assert boxed.frame_map[0.5] == pytest.approx(100) and boxed.video_map[0.5] == 100
    whole = evaluate(truth, boxes, tubes, protocol=protocol, annotated_frames="all")
    assert whole.frame_map[0.5] < 40 and whole.video_map[0.5] == 0  # 8 of 40 frames


def test_a_format_that_knows_its_frames() -> None:
    """The eight of it, and one more on which nobody is: a box there is false."""
    tubes = tubes_on(range(0, 40, 5))
    frames = np.array([[0, f] for f in (*range(0, 40, 5), 7)])
    truth = GroundTruth(path=Path("truth"), tubes=tubes, annotated_frames=frames)
    with pytest.warns(UserWarning, match="31 of 40 rows"):
        result = evaluate(truth, detections_on(range(40)))
    assert 80 < result.frame_map[0.5] < 100


def test_a_tube_for_each_box() -> None:
    truth = tubes_on(range(0, 40, 5))
    single = replace(truth, tube=np.arange(len(truth)))
    with pytest.raises(InputError, match="stand 5 frames apart"):
        evaluate(single, detections_on(range(40)))


def test_a_gap_here_and_there_is_nobody() -> None:
    frames = [f for f in range(40) if f not in (10, 11, 30)]
    whole = tubes_on(range(40))
    kept = np.isin(whole.frame, frames)
    zeros = np.zeros(len(frames), np.int32)
    truth = Tubes(
        zeros, whole.frame[kept], zeros, whole.boxes[kept], zeros.astype(np.int64), *NAMES
    )
    result = evaluate(truth, detections_on(range(40)))
    assert result.frame_map[0.5] is not None and result.frame_map[0.5] < 100
