"""Trimming in time against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from actiontubes.datasets.tables import Tubes
from actiontubes.detect.linking.trimming import (
    best_subarray,
    mean_tube_lengths,
    trim_max_subarray,
    trim_two_labels,
)
from hypothesis import given, settings
from hypothesis import strategies as st

scores = st.lists(st.floats(0, 1), min_size=1, max_size=9)


def tubes_with(score_lists: list[list[float]]) -> Tubes:
    """One tube a list, from frame 10 times its number."""
    lengths = [len(each) for each in score_lists]
    tube = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([10 * i + np.arange(n) for i, n in enumerate(lengths)])
    score = np.concatenate([np.array(each, np.float64) for each in score_lists])
    return Tubes(
        np.zeros(len(tube), np.int32),
        frame.astype(np.int32),
        np.zeros(len(tube), np.int32),
        np.zeros((len(tube), 4)),
        tube,
        ("one",),
        ("run",),
        score=score,
        tube_score=np.zeros(len(tube)),
    )


def best_labelling(score: list[float], switch: float) -> float:
    """The highest worth of all 2^n labellings."""
    return max(
        worth(score, labels, switch) for labels in itertools.product((0, 1), repeat=len(score))
    )


def worth(score: list[float], labels: tuple[int, ...], switch: float) -> float:
    gains = sum(1 - s if label else s for s, label in zip(score, labels))
    return gains - switch * sum(a != b for a, b in itertools.pairwise(labels))


@settings(max_examples=100, deadline=None)
@given(st.lists(scores, min_size=1, max_size=3), st.sampled_from([0.0, 0.3, 1.0]))
def test_two_labels_are_the_best_of_all(lists: list[list[float]], switch: float) -> None:
    tubes = tubes_with(lists)
    trimmed = trim_two_labels(tubes, switch, min_length=1)
    kept = set(trimmed.frame.tolist())
    for number, score in enumerate(lists):
        labels = tuple(0 if 10 * number + i in kept else 1 for i in range(len(score)))
        assert worth(score, labels, switch) == pytest.approx(best_labelling(score, switch))


def test_two_labels_by_hand() -> None:
    score = [0.1, 0.1, 0.9, 0.9, 0.9, 0.2, 0.9, 0.1, 0.1]
    trimmed = trim_two_labels(tubes_with([score]), switch=0.5, min_length=3, score_top=2)
    # One low frame is not worth two switches.
    assert trimmed.frame.tolist() == [2, 3, 4, 5, 6]
    assert trimmed.tube_score.tolist() == pytest.approx([0.9] * 5)
    split = trim_two_labels(tubes_with([score]), switch=0.1, min_length=1)
    assert [split.frame[split.tube == i].tolist() for i in (0, 1)] == [[2, 3, 4], [6]]
    assert len(trim_two_labels(tubes_with([[0.1, 0.2]]))) == 0


@settings(max_examples=100, deadline=None)
@given(scores, st.floats(1, 12), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_best_stretch_is_the_best_of_all(
    score: list[float], typical: float, penalty: float
) -> None:
    def value(begin: int, end: int) -> float:
        return float(np.mean(score[begin:end])) - penalty * abs(end - begin - typical) / typical

    begin, end, mean = best_subarray(np.array(score), typical, penalty)
    assert mean == pytest.approx(np.mean(score[begin:end]))
    everything = [value(a, b) for a in range(len(score)) for b in range(a + 1, len(score) + 1)]
    assert value(begin, end) == pytest.approx(max(everything))


def test_max_subarray_by_hand() -> None:
    tubes = tubes_with([[0.1, 0.8, 0.9, 0.8, 0.1], [0.5, 0.5]])
    trimmed = trim_max_subarray(tubes, {"run": 3.0})
    assert trimmed.frame.tolist() == [1, 2, 3, 10, 11]
    assert trimmed.tube.tolist() == [0, 0, 0, 1, 1]
    assert trimmed.tube_score.tolist() == pytest.approx([2.5 / 3] * 3 + [0.5] * 2)


def test_typical_lengths() -> None:
    assert mean_tube_lengths(tubes_with([[0.0] * 4, [0.0] * 6])) == {"run": 5.0}
