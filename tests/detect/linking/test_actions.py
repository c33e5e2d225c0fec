"""One action of a person at a time, chosen by hand-computed rules."""

from __future__ import annotations

import numpy as np
from actiontubes.datasets.tables import Actions, Tubes
from actiontubes.detect.linking.actions import Spans, boxes_of_actions, choose_actions


def spans(*rows: tuple[int, int, int, int, float]) -> Spans:
    """Person, label, first and last frame and score of each."""
    columns = np.array(rows).reshape(-1, 5)
    person, label, first, last = columns[:, :4].astype(np.int64).T
    return Spans(person, label, first, last, columns[:, 4])


def listed(chosen: Spans) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.stack([*vars(chosen).values()], axis=1).tolist()]


def test_the_best_comes_first_and_the_rest_is_trimmed() -> None:
    chosen = choose_actions(
        spans(
            (1, 0, 0, 99, 0.9),
            (1, 1, 50, 199, 0.8),  # keeps 100 to 199
            (1, 2, 90, 120, 0.7),  # has nothing left
            (1, 3, 180, 239, 0.6),  # keeps 200 to 239
            (2, 1, 0, 99, 0.5),  # somebody else
        )
    )
    assert listed(chosen) == [
        (1, 0, 0, 99, 0.9), (1, 1, 100, 199, 0.8), (1, 3, 200, 239, 0.6), (2, 1, 0, 99, 0.5),
    ]  # fmt: skip
    assert listed(choose_actions(spans())) == []


def test_the_boxes_of_actions() -> None:
    """A person with two tubes that overlap, and somebody whose tube is no action."""
    frame = np.concatenate([np.arange(10), np.arange(5, 20), np.arange(10)]).astype(np.int32)
    counts = [10, 15, 10]
    tubes = Tubes(
        np.zeros(35, np.int32), frame, np.repeat([0, 1, 1], counts).astype(np.int32),
        np.zeros((35, 4)), np.repeat([0, 1, 2], counts), ("a",), ("run", "sit"),
        person=np.repeat([1, 1, 2], counts).astype(np.int32),
    )  # fmt: skip
    one = np.zeros(2, np.int32)
    actions = Actions(
        one, one + 1, np.array([1, 0], np.int32), one * 0.1, one + 0.1,
        np.array([0, 10], np.int32), np.array([9, 19], np.int32), one + 0.5, ("a",),
        ("sit", "run"),
    )  # fmt: skip
    shown = boxes_of_actions(tubes, actions)
    assert shown.frame.tolist() == list(range(20)) and shown.tube.tolist() == [0] * 10 + [1] * 10
