"""Boxes between and after frames with detections, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.detect.boxes.carrying import (
    carry_among,
    carry_between,
    carry_forward,
    detected_frames,
    match_boxes,
)

WALKER = np.array([[10.0, 20, 50, 120, 0.8]])
WALKED = np.array([[18.0, 20, 62, 128, 0.4]])
LEAVING = np.array([[200.0, 20, 240, 120, 0.9]])
COMING = np.array([[300.0, 20, 340, 120, 0.7]])


def test_a_person_on_both_frames_moves_in_a_straight_line() -> None:
    carried = carry_between(WALKER, WALKED, 4)
    expected = [[12, 20, 53, 122, 0.7], [14, 20, 56, 124, 0.6], [16, 20, 59, 126, 0.5]]
    np.testing.assert_allclose(np.concatenate(carried), expected)


@pytest.mark.parametrize(
    "gap, leaving, coming", [(2, [1], []), (4, [1, 2], [3]), (5, [1, 2], [3, 4])]
)
def test_others_are_carried_half_of_the_way(
    gap: int, leaving: list[int], coming: list[int]
) -> None:
    """Also at a cut, where nobody is on both frames."""
    first, second = np.concatenate([LEAVING, WALKER]), np.concatenate([WALKED, COMING])
    for step, boxes in enumerate(carry_between(first, second, gap), start=1):
        others = [LEAVING] * (step in leaving) + [COMING] * (step in coming)
        np.testing.assert_allclose(boxes[1:], np.concatenate(others))
        assert boxes[0, 0] == pytest.approx(10 + 8 * step / gap)


def test_frames_without_people() -> None:
    nobody = np.empty((0, 5))
    assert [len(each) for each in carry_between(nobody, nobody, 3)] == [0, 0]
    assert [len(each) for each in carry_between(LEAVING, nobody, 5)] == [1, 1, 0, 0]
    assert [len(each) for each in carry_between(nobody, COMING, 5)] == [0, 0, 1, 1]
    assert carry_between(WALKER, WALKED, 1) == []


def test_the_best_pairs_are_taken_and_far_ones_left() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [6, 0, 16, 10], [50, 0, 60, 10]])
    others = np.array([[58.0, 0, 68, 10], [5, 0, 15, 10], [1, 0, 11, 10]])
    rows, columns = match_boxes(boxes, others)
    assert rows.tolist() == [0, 1] and columns.tolist() == [2, 1]


def test_every_step_th_frame_and_the_last() -> None:
    assert detected_frames(9, 4) == [0, 4, 8]
    assert detected_frames(8, 4) == [0, 4, 7]
    assert detected_frames(1, 4) == [0]
    carried = carry_among([WALKER, WALKED, WALKED], [0, 4, 5])
    assert [each[0, 0] for each in carried] == pytest.approx([10, 12, 14, 16, 18, 18])
    assert carry_among([WALKER], [0]) == [WALKER]


def test_forward_at_the_velocity_of_the_center() -> None:
    """The walker's center came 10 pixels right and 4 down in 4 frames; its size stays."""
    previous = WALKER[:, :4]
    latest = np.concatenate([COMING, WALKED])[:, :4]
    moved = carry_forward(previous, latest, 4, 2, (400, 300))
    np.testing.assert_allclose(moved, [[300, 20, 340, 120], [23, 22, 67, 130]])


def test_forward_out_of_the_frame() -> None:
    previous, latest = np.array([[14.0, 0, 34, 50]]), np.array([[8.0, 0, 28, 50]])
    assert carry_forward(previous, latest, 4, 4, (400, 300)).tolist() == [[2, 0, 22, 50]]
    assert carry_forward(previous, latest, 4, 10, (400, 300)).tolist() == [[0, 0, 13, 50]]
    assert len(carry_forward(previous, latest, 4, 20, (400, 300))) == 0
