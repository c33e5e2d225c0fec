"""Live linking: the same tubes as from the whole video, at any moment, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.greedy import (
    ACT,
    MOC,
    RETINANET,
    SINGH,
    GreedyConfig,
    OnlineGreedyLinker,
)
from actiontubes.detect.linking.linker import link


def one_video() -> Detections:
    _, detections = synthetic_detections(0.01)
    return select_rows(detections, detections.video == 0)


def fed(linker: OnlineGreedyLinker, detections: Detections, until: int) -> OnlineGreedyLinker:
    for frame in range(until):
        rows = np.flatnonzero(detections.frame == frame)
        linker.update(frame, detections.label[rows], detections.score[rows], detections.boxes[rows])
    return linker


def same(first: Tubes, second: Tubes) -> None:
    assert first.frame.tolist() == second.frame.tolist()
    assert first.label.tolist() == second.label.tolist()
    np.testing.assert_allclose(first.boxes, second.boxes)
    np.testing.assert_allclose(first.tube_score, second.tube_score)  # type: ignore[arg-type]


@pytest.mark.parametrize("rules", [ACT, MOC, SINGH, RETINANET])
def test_at_any_moment_the_tubes_of_the_frames_so_far(rules: GreedyConfig) -> None:
    detections = one_video()
    linker = OnlineGreedyLinker(detections.label_names, rules)
    rest = iter(range(detections.frame.max() + 1))
    for frame in rest:
        rows = np.flatnonzero(detections.frame == frame)
        linker.update(frame, detections.label[rows], detections.score[rows], detections.boxes[rows])
        if frame % 25 == 24:
            same(linker.tubes(), link(select_rows(detections, detections.frame <= frame), rules))
    assert len(linker.tubes())


def test_each_box_is_told_its_tube() -> None:
    linker = OnlineGreedyLinker(("run", "walk"), replace(SINGH, min_length=1))
    boxes = np.array([[0.0, 0, 9, 9], [1, 0, 10, 9], [50, 0, 59, 9], [0, 0, 9, 9]])
    label = np.array([0, 0, 0, 1])
    # The second overlaps the first and is suppressed, the third's score is too low.
    first = linker.update(0, label, np.array([0.9, 0.8, 0.0001, 0.7]), boxes)
    assert first[1] == first[2] == -1
    assert first[0] != first[3]
    second = linker.update(1, label[[0, 3]], np.array([0.5, 0.5]), boxes[[0, 3]])
    assert second.tolist() == [first[0], first[3]]


def test_closed_tubes_are_given_once() -> None:
    detections = one_video()
    rules = replace(SINGH, min_length=1, min_score=0.0)
    whole = fed(OnlineGreedyLinker(detections.label_names, rules), detections, 200).tubes()
    linker = OnlineGreedyLinker(detections.label_names, rules)
    taken = 0
    for frame in range(200):
        rows = np.flatnonzero(detections.frame == frame)
        linker.update(frame, detections.label[rows], detections.score[rows], detections.boxes[rows])
        if frame % 20 == 19:
            taken += len(np.unique(linker.take_closed().tube))
    # What still grows is all that is kept.
    left = linker.tubes()
    assert taken + len(np.unique(left.tube)) == len(np.unique(whole.tube))
    assert len(left) < len(whole) / 2


def test_nothing_seen_yet() -> None:
    linker = OnlineGreedyLinker(("run",))
    assert len(linker.tubes()) == 0
    nothing = np.empty(0)
    assert linker.update(0, nothing, nothing, np.empty((0, 4))).tolist() == []
    assert len(linker.take_closed()) == 0
