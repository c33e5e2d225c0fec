"""Matching all frames at once equals serving the detections one by one."""

from __future__ import annotations

import numpy as np
from actiontubes.detect.boxes.iou import rowwise_iou
from actiontubes.detect.boxes.joins import join, pack_keys
from actiontubes.detect.boxes.matching import first_of_each, greedy_match, sort_by_preference
from hypothesis import given, settings
from hypothesis import strategies as st

Pair = tuple[int, int, float]

pairs = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 6), st.sampled_from([0.5, 0.6, 0.7, 0.8])),
    unique_by=lambda pair: pair[:2],
).map(sorted)


def one_by_one(listed: list[Pair]) -> set[tuple[int, int]]:
    """The loop that every public evaluator has."""
    taken: set[int] = set()
    made = set()
    for proposer in sorted({pair[0] for pair in listed}):
        free = [
            (-worth, target) for p, target, worth in listed if p == proposer if target not in taken
        ]
        if free:
            _, target = min(free)
            taken.add(target)
            made.add((proposer, target))
    return made


@settings(deadline=None)
@given(pairs)
def test_equals_the_loop(listed: list[Pair]) -> None:
    proposer = np.array([pair[0] for pair in listed], np.int64)
    target = np.array([pair[1] for pair in listed], np.int64)
    order = sort_by_preference(proposer, target, np.array([pair[2] for pair in listed]))
    proposer, target = proposer[order], target[order]
    made = greedy_match(proposer, target, 7)
    assert set(zip(proposer[made].tolist(), target[made].tolist())) == one_by_one(listed)


@settings(deadline=None)
@given(pairs)
def test_first_choices(listed: list[Pair]) -> None:
    proposer = np.array([pair[0] for pair in listed], np.int64)
    target = np.array([pair[1] for pair in listed], np.int64)
    order = sort_by_preference(proposer, target, np.array([pair[2] for pair in listed]))
    first = order[first_of_each(proposer[order])]
    expected = [
        min((-worth, t) for p, t, worth in listed if p == one)[1]
        for one in sorted({pair[0] for pair in listed})
    ]
    assert target[first].tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)).map(sorted))
def test_join(left: list[int], right: list[int]) -> None:
    rows, others = join(np.array(left, np.int64), np.array(right, np.int64))
    expected = [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b]
    assert list(zip(rows.tolist(), others.tolist())) == expected


def test_box_iou_by_hand() -> None:
    box, other = np.array([[0.0, 0, 9, 9]]), np.array([[5.0, 0, 14, 9]])
    # 10 x 10 pixels each, 5 x 10 of them shared.
    assert rowwise_iou(box, other, "inclusive") == 50 / 150
    assert rowwise_iou(box, other, "continuous") == 36 / 126
    # The detection becomes x 1..11, y 1..11, the ground truth stays x 5..14, y 0..9.
    assert rowwise_iou(box, other, "shifted") == 48 / (100 + 81 - 48)


def test_boxes_without_area_or_apart() -> None:
    point = np.array([[3.0, 3, 3, 3]])
    assert rowwise_iou(point, point, "continuous") == 0
    assert rowwise_iou(point, point, "inclusive") == 1
    # Both extents are negative: their product must not count.
    assert rowwise_iou(np.array([[0.0, 0, 10, 10]]), np.array([[20.0, 20, 30, 30]])) == 0


def test_combined_key_tells_rows_apart() -> None:
    columns = np.array([[0, 0, 1, 2], [0, 3, 0, 3]])
    key = pack_keys((columns[0], 3), (columns[1], 4))
    assert key.tolist() == [0, 3, 4, 11]
