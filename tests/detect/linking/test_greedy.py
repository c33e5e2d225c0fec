"""ACT's linking, and linking frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubelets, Tubes, select_rows
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.experiments.plain_loop import plain_link
from actiontubes.detect.linking.greedy import ACT, MOC, RETINANET, SINGH, GreedyConfig, GreedyLinker
from actiontubes.detect.linking.linker import link
from hypothesis import given, settings
from hypothesis import strategies as st

PRESETS = {"act": ACT, "moc": MOC, "singh": SINGH, "3d-retinanet": RETINANET}
EVERYTHING = replace(ACT, min_score=0.0, min_length=1)


def link_with(detections: Detections | Tubelets, config: GreedyConfig) -> Tubes:
    return link(detections, GreedyLinker(config))


def boxes_along(
    frames: list[int], left: list[float], score: list[float], label: int = 0
) -> Detections:
    """One 10 x 10 box a frame, of one video and class."""
    x = np.array(left, np.float64)
    zero = np.zeros_like(x)
    return Detections(
        np.zeros(len(x), np.int32),
        np.array(frames, np.int32),
        np.full(len(x), label, np.int32),
        np.array(score),
        np.stack([x, zero, x + 9, zero + 9], axis=1),
        ("one",),
        ("run", "walk"),
    )


@pytest.mark.parametrize("dataset", ["jhmdb", "ucf101-24"])
def test_the_tubes_of_the_original(shared: Callable[[str], Path], dataset: str) -> None:
    detections = read_table(Detections, shared(f"reference/{dataset}.detections.parquet"))
    expected = read_table(Tubes, shared(f"reference/{dataset}.tubes.parquet"))
    found = link(detections)
    assert len(np.unique(found.tube)) == len(np.unique(expected.tube))
    first, second = comparable(found), comparable(expected)
    assert first[0] == second[0]
    np.testing.assert_allclose(first[1], second[1], atol=1e-3)


def comparable(tubes: Tubes) -> tuple[list[tuple[str, str, int]], np.ndarray]:
    """Rows in one order whatever the tubes' numbers, and their boxes and scores."""
    assert tubes.tube_score is not None
    order = np.lexsort((tubes.frame, np.round(tubes.tube_score, 5), tubes.label, tubes.video))
    named = [
        (tubes.video_names[tubes.video[i]], tubes.label_names[tubes.label[i]], tubes.frame[i])
        for i in order
    ]
    values = np.column_stack([tubes.boxes, tubes.tube_score])[order]
    return named, values


def test_equals_the_plain_loop() -> None:
    _, detections = synthetic_detections(0.03)
    found = link(detections)
    assert found.tube_score is not None
    expected = plain_link(detections)
    first = np.unique(found.tube, return_index=True)[1]
    assert sorted(
        zip(found.video[first], found.label[first], np.round(found.tube_score[first], 9))
    ) == sorted((video, label, round(score, 9)) for video, label, score, _ in expected)


def test_gap_by_hand() -> None:
    """Found on frames 0, 2 and 7: five frames without a box are bridged, on a line."""
    tubes = link_with(boxes_along([0, 2, 7], [0, 2, 4], [0.5, 0.7, 0.9]), EVERYTHING)
    assert tubes.frame.tolist() == list(range(8))
    assert tubes.boxes[:, 0].tolist() == pytest.approx([0, 1, 2, 2.4, 2.8, 3.2, 3.6, 4])
    assert tubes.score.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.74, 0.78, 0.82, 0.86, 0.9])
    assert tubes.tube_score.tolist() == pytest.approx([0.7] * 8)
    # Six frames after the last box is too late.
    assert len(np.unique(link_with(boxes_along([0, 6], [0, 0], [0.5, 0.5]), EVERYTHING).tube)) == 2


def test_the_better_tube_is_served_first() -> None:
    """Two tubes want the same box; the one of higher mean score gets it."""
    detections = boxes_along([0, 0, 1], [0, 12, 6], [0.4, 0.8, 0.6])
    tubes = link_with(detections, replace(EVERYTHING, iou=0.15))
    longer = tubes.tube[np.flatnonzero(tubes.frame == 1)[0]]
    assert tubes.boxes[tubes.tube == longer, 0].tolist() == [12, 6]


def test_the_score_decides_or_score_and_iou() -> None:
    detections = boxes_along([0, 1, 1], [0, 1, 6], [0.5, 0.6, 0.7])
    by_score = link_with(detections, replace(EVERYTHING, suppression=1.0))
    assert by_score.boxes[by_score.tube == by_score.tube[0], 0].tolist() == [0, 6]
    both = link_with(detections, replace(EVERYTHING, suppression=1.0, cost="score and iou"))
    assert both.boxes[both.tube == both.tube[0], 0].tolist() == [0, 1]


def test_classes_are_not_mixed() -> None:
    run, walk = boxes_along([0, 1], [0, 0], [0.5, 0.5]), boxes_along([2, 3], [0, 0], [0.5, 0.5], 1)
    both = Detections(
        *(np.concatenate([getattr(run, name), getattr(walk, name)])
          for name in ("video", "frame", "label", "score", "boxes")),
        ("one",),
        ("run", "walk"),
    )  # fmt: skip
    assert len(np.unique(link_with(both, EVERYTHING).tube)) == 2


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS.keys())
def test_no_box_is_used_twice(config: GreedyConfig) -> None:
    _, detections = synthetic_detections(0.02)
    tubes = link_with(detections, replace(config, soft=False))
    detected = Counter(
        zip(detections.video.tolist(), detections.frame.tolist(), detections.label.tolist(),
            map(tuple, detections.boxes.tolist()))
    )  # fmt: skip
    used = Counter(
        zip(tubes.video.tolist(), tubes.frame.tolist(), tubes.label.tolist(),
            map(tuple, tubes.boxes.tolist()))
    )  # fmt: skip
    repeated = [box for box, times in used.items() if times > detected.get(box, 1)]
    assert not repeated
    assert len(tubes) and set(used) & set(detected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_shuffled_rows_change_nothing(seed: int) -> None:
    _, detections = synthetic_detections(0.002, seed)
    detections = replace(detections, score=np.round(detections.score, 1))
    order = np.random.default_rng(seed).permutation(len(detections))
    first, second = link(detections), link(select_rows(detections, order))
    assert first.boxes.tolist() == second.boxes.tolist()
    assert first.tube.tolist() == second.tube.tolist()


def test_live_equals_batch() -> None:
    """Frames one at a time: each box gets one tube, and the tubes are those of the batch."""
    _, detections = synthetic_detections(0.01)
    detections = select_rows(detections, np.flatnonzero(detections.video == 0))
    config = replace(EVERYTHING, suppression=1.0, top=None)
    batch = link_with(detections, config)
    linker = GreedyLinker(config)
    tubes = np.empty(len(detections), np.int64)
    for frame in range(detections.frame.max() + 1):
        rows = np.flatnonzero(detections.frame == frame)
        tubes[rows] = linker.assign(select_rows(detections, rows))
        assert len(set(tubes[rows].tolist())) == len(rows)
    found = linker.finish().tubes
    assert tubes.min() == 0
    assert len(np.unique(tubes)) == len(np.unique(batch.tube)) == len(np.unique(found.tube))
    assert sorted(map(tuple, batch.boxes.tolist())) == sorted(map(tuple, found.boxes.tolist()))


def test_tubelets_of_three_frames() -> None:
    """Tubelets from frames 0, 1 and 2 cover 0 to 4, frames covered often get the mean."""
    starts = np.arange(3)
    frames = starts[:, None] + np.arange(3)
    left = 2.0 * frames + 0.3 * starts[:, None]
    boxes = np.stack([left, 0 * left, left + 9, 0 * left + 9], axis=2)
    tubelets = Tubelets(
        np.zeros(3, np.int32),
        starts.astype(np.int32),
        np.zeros(3, np.int32),
        np.array([0.9, 0.6, 0.3]),
        boxes,
        ("one",),
        ("run",),
    )
    tubes = link_with(tubelets, replace(EVERYTHING, min_length=5))
    assert tubes.frame.tolist() == [0, 1, 2, 3, 4]
    assert tubes.boxes[:, 0].tolist() == pytest.approx([0, 2.15, 4.3, 6.45, 8.6])
    assert tubes.score.tolist() == pytest.approx([0.9, 0.75, 0.6, 0.45, 0.3])
    assert tubes.tube_score.tolist() == pytest.approx([0.6] * 5)


def test_nothing_in_nothing_out() -> None:
    assert len(link(boxes_along([], [], []))) == 0
