"""Live linking: the same tubes as from the whole video, at any moment, in bounded memory."""

from __future__ import annotations

from copy import deepcopy
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
    GreedyLinker,
)
from actiontubes.detect.linking.linker import LINKERS, link, make_linker


def one_video() -> Detections:
    _, detections = synthetic_detections(0.01)
    return select_rows(detections, detections.video == 0)


def on_frame(frame: int, label: list[int], score: list[float], boxes: list) -> Detections:
    count = len(label)
    return Detections(
        video=np.zeros(count, np.int32),
        frame=np.full(count, frame, np.int32),
        label=np.array(label, np.int32),
        score=np.array(score, float),
        boxes=np.array(boxes, float).reshape(-1, 4),
        video_names=("live",),
        label_names=("run", "walk"),
    )


def same(first: Tubes, second: Tubes) -> None:
    assert first.frame.tolist() == second.frame.tolist()
    assert first.label.tolist() == second.label.tolist()
    np.testing.assert_allclose(first.boxes, second.boxes)
    np.testing.assert_allclose(first.tube_score, second.tube_score)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [ACT, MOC, SINGH, RETINANET])
def test_at_any_moment_the_tubes_of_the_frames_so_far(config: GreedyConfig) -> None:
    detections = one_video()
    linker = GreedyLinker(config)
    for frame in range(detections.frame.max() + 1):
        linker.assign(select_rows(detections, detections.frame == frame))
        if frame % 25 == 24:
            so_far = select_rows(detections, detections.frame <= frame)
            same(deepcopy(linker).finish().tubes, link(so_far, GreedyLinker(config)))
    assert len(linker.finish().tubes)


@pytest.mark.parametrize("name", LINKERS)
def test_streaming_gives_the_tubes_of_the_whole(name: str) -> None:
    """A few frames at a time, some calls without any, and tubes returned once they end."""
    detections = one_video()
    linker = make_linker(name)
    tables = [
        linker.update(select_rows(detections, detections.frame // 7 == part)).tubes
        for part in range(detections.frame.max() // 7 + 3)
    ]
    tables.append(linker.finish().tubes)
    whole = link(detections, name)
    numbers = [np.unique(table.tube).tolist() for table in tables]
    flat = [number for part in numbers for number in part]
    assert len(flat) == len(set(flat)) == len(np.unique(whole.tube))

    def rows(tubes: Tubes) -> list[tuple]:
        columns = (tubes.label, tubes.frame, tubes.score, tubes.tube_score, *tubes.boxes.T)
        return list(zip(*(column.tolist() for column in columns if column is not None)))

    assert sorted(row for table in tables for row in rows(table)) == sorted(rows(whole))


def test_each_box_gets_the_number_of_its_tube() -> None:
    linker = GreedyLinker(replace(SINGH, min_length=1))
    boxes = [[0.0, 0, 9, 9], [1, 0, 10, 9], [50, 0, 59, 9], [0, 0, 9, 9]]
    # The second overlaps the first and is suppressed, the third's score is too low.
    first = linker.assign(on_frame(0, [0, 0, 0, 1], [0.9, 0.8, 0.0001, 0.7], boxes))
    assert first[1] == first[2] == -1
    assert first[0] != first[3]
    second = linker.assign(on_frame(1, [0, 1], [0.5, 0.5], [boxes[0], boxes[3]]))
    assert second.tolist() == [first[0], first[3]]


def test_a_closed_tube_grows_no_more() -> None:
    linker = GreedyLinker(replace(SINGH, min_length=1))
    box = [[0.0, 0, 9, 9]]
    (first,) = linker.assign(on_frame(0, [0], [0.9], box))
    linker.close(np.array([first]))
    (second,) = linker.assign(on_frame(1, [0], [0.9], box))
    assert second != first
    tubes = linker.pop_closed()
    assert tubes.frame.tolist() == [0]
    assert linker.finish().tubes.tube.tolist() == [tubes.tube[0] + 1]
    # What comes after `finish` starts a new tube, with a number of its own.
    linker.assign(on_frame(2, [0], [0.9], box))
    assert linker.finish().tubes.tube.tolist() == [tubes.tube[0] + 2]


def test_frames_without_boxes_close_tubes() -> None:
    linker = GreedyLinker(replace(SINGH, min_length=1))
    linker.assign(on_frame(0, [0], [0.9], [[0.0, 0, 9, 9]]))
    for frame in range(1, SINGH.gap + 1):
        linker.assign(on_frame(frame, [], [], []), last_frame=frame)
        assert len(linker.pop_closed()) == 0
    linker.assign(on_frame(0, [], [], []), last_frame=SINGH.gap + 1)
    assert linker.pop_closed().frame.tolist() == [0]


def test_closed_tubes_are_returned_once() -> None:
    detections = one_video()
    detections = select_rows(detections, detections.frame < 200)
    config = replace(SINGH, min_length=1, min_score=0.0)
    whole = link(detections, GreedyLinker(config))
    linker = GreedyLinker(config)
    taken = 0
    for frame in range(200):
        linker.assign(select_rows(detections, detections.frame == frame), last_frame=frame)
        if frame % 20 == 19:
            taken += len(np.unique(linker.pop_closed().tube))
    # Only open tubes stay in memory.
    rest = linker.finish().tubes
    assert taken + len(np.unique(rest.tube)) == len(np.unique(whole.tube))
    assert len(rest) < len(whole) / 2


@pytest.mark.parametrize("name", LINKERS)
def test_no_detections(name: str) -> None:
    assert len(make_linker(name).finish().tubes) == 0
    linker = make_linker(name)
    assert len(linker.update(on_frame(0, [], [], [])).tubes) == 0
    assert len(linker.finish().tubes) == 0
