"""Areas under curves small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.detect.evaluation.average_precision import (
    average_precision,
    precision_recall_curve,
    split_area,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def test_by_hand() -> None:
    precision, recall = precision_recall_curve(np.array([True, False, True, False]), 4)
    assert precision.tolist() == [1, 1 / 2, 2 / 3, 2 / 4]
    assert recall.tolist() == [1 / 4, 1 / 4, 2 / 4, 2 / 4]
    # Trapezoids: 1/4 wide at 1 and 1, then 1/4 wide between 1/2 and 2/3.
    trapezoid = 1 / 4 + 1 / 4 * (1 / 2 + 2 / 3) / 2
    assert average_precision(precision, recall, "trapezoid") == pytest.approx(trapezoid)
    assert average_precision(precision, recall, "envelope") == pytest.approx(1 / 4 + 1 / 4 * 2 / 3)


def test_a_miss_first() -> None:
    precision, recall = precision_recall_curve(np.array([False, True]), 1)
    assert average_precision(precision, recall, "trapezoid") == pytest.approx((0 + 1 / 2) / 2)
    assert average_precision(precision, recall, "envelope") == pytest.approx(1 / 2)


@pytest.mark.parametrize("area", ["trapezoid", "envelope"])
def test_nothing_detected(area: str) -> None:
    assert average_precision(*precision_recall_curve(np.empty(0, bool), 3), area) == 0  # type: ignore[arg-type]


def voc_area(precision: list[float], recall: list[float]) -> float:
    """PASCAL VOC's definition, literally: the best precision at each recall or beyond."""
    total, before = 0.0, 0.0
    for reached in sorted(set(recall)):
        best = max(p for p, r in zip(precision, recall) if r >= reached)
        total += (reached - before) * best
        before = reached
    return total


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_envelope_is_voc(hits: list[bool], missed: int) -> None:
    positives = max(sum(hits) + missed, 1)
    precision, recall = precision_recall_curve(np.array(hits), positives)
    expected = voc_area(precision.tolist(), recall.tolist())
    assert average_precision(precision, recall, "envelope") == pytest.approx(expected)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(0, 5),
    st.sampled_from(["trapezoid", "envelope"]),
)
def test_shares_fill_the_square(kinds: list[int], missed: int, area: str) -> None:
    kind = np.array(kinds)
    so_far = np.cumsum(kind[None] == np.arange(4)[:, None], axis=1)
    recall = so_far[0] / max(so_far[0, -1] + missed, 1)
    shares = so_far / np.arange(1, len(kind) + 1)
    areas = split_area(recall, shares, area)  # type: ignore[arg-type]
    assert areas.sum() == pytest.approx(recall[-1])
    assert areas[0] == pytest.approx(average_precision(shares[0], recall, area))  # type: ignore[arg-type]
