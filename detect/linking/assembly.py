"""Linked boxes into a table of tubes: averaged, without gaps, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes


@dataclass(frozen=True, eq=False)
class TubeBoxes:
    """Boxes, or tubelets, with the number of the tube that each belongs to.

    Attributes:
        frame: (R,) the first frame of each.
        tube: (R,) its tube.
        group: (R,) video number x number of labels + label.
        score: (R,).
        boxes: (R, K, 4).
    """

    frame: np.ndarray
    tube: np.ndarray
    group: np.ndarray
    score: np.ndarray
    boxes: np.ndarray

    def rows(self, chosen: np.ndarray) -> TubeBoxes:
        """Some of them, by (R,) bool."""
        return TubeBoxes(*(values[chosen] for values in vars(self).values()))

    @classmethod
    def concatenate(cls, parts: Sequence[TubeBoxes]) -> TubeBoxes:
        """One after the other."""
        if not parts:
            whole = np.empty(0, np.int64)
            return cls(whole, whole, whole, np.empty(0), np.empty((0, 1, 4)))
        columns = zip(*(vars(part).values() for part in parts))
        return cls(*(np.concatenate(column) for column in columns))


def assemble_tubes(
    linked: TubeBoxes,
    video_names: tuple[str, ...],
    label_names: tuple[str, ...],
    min_score: float = 0.0,
    min_length: int = 1,
    score_top: int | None = None,
) -> Tubes:
    """Makes tubes of linked boxes.

    Args:
        linked: each tube's boxes, in any order; those of one frame are averaged.
        video_names, label_names: what `group` is made of.
        min_score: tubes of a lower score are dropped.
        min_length: tubes of fewer frames, gaps included, are dropped.
        score_top: a tube's score is the mean of so many best scores; None is all.

    Returns:
        tubes numbered from 0 by video, class and start, without gaps: boxes and scores between two
        found ones lie on a line.
    """
    length = linked.boxes.shape[1]
    tube, place = np.unique(linked.tube, return_inverse=True)
    begin = np.full(len(tube), np.iinfo(np.int64).max)
    end = np.full(len(tube), -1)
    np.minimum.at(begin, place, linked.frame)
    np.maximum.at(end, place, linked.frame + length - 1)
    group = np.zeros(len(tube), np.int64)
    group[place] = linked.group
    score = tube_scores(place, linked.score, len(tube), score_top)
    kept = (score >= min_score) & (end - begin + 1 >= min_length)
    number = np.full(len(tube), -1)
    order = np.flatnonzero(kept)
    order = order[np.lexsort((-score[order], begin[order], group[order]))]
    number[order] = np.arange(len(order))
    rows = np.flatnonzero(kept[place])
    columns = np.column_stack(
        [linked.boxes[rows].reshape(-1, 4), np.repeat(linked.score[rows], length)]
    )
    frame = (linked.frame[rows][:, None] + np.arange(length)).reshape(-1)
    new_tube = np.repeat(number[place[rows]], length)
    frame, new_tube, columns = _means(frame, new_tube, columns)
    frame, new_tube, columns = fill_gaps(frame, new_tube, columns)
    video, label = np.divmod(group[order], max(len(label_names), 1))
    return Tubes(
        video=video[new_tube].astype(np.int32),
        frame=frame.astype(np.int32),
        label=label[new_tube].astype(np.int32),
        boxes=np.ascontiguousarray(columns[:, :4]),
        tube=new_tube,
        video_names=video_names,
        label_names=label_names,
        score=columns[:, 4].copy(),
        tube_score=score[order][new_tube],
    )


def tube_scores(
    tube: np.ndarray, score: np.ndarray, tubes: int, top: int | None = None
) -> np.ndarray:
    """(T,) mean of each tube's scores, or of its `top_k_hits` best.

    Args:
        tube: (R,) 0 to `tubes` - 1.
        score: (R,).
        tubes: how many there are.
        top: how many count; None is all.
    """
    if top is not None:
        order = np.lexsort((-score, tube))
        start = np.searchsorted(tube[order], np.arange(tubes))
        best = order[np.arange(len(order)) - start[tube[order]] < top]
        tube, score = tube[best], score[best]
    count = np.bincount(tube, minlength=tubes)
    return np.bincount(tube, weights=score, minlength=tubes) / np.maximum(count, 1)


def fill_gaps(
    frame: np.ndarray, tube: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for the frames that a tube skips, on a line between the rows before and after.

    Args:
        frame, tube: (R,) sorted by tube, then frame.
        columns: (R, C) what to interpolate.

    Returns:
        the three again, with the new rows in their places.
    """
    if not len(frame):
        return frame, tube, columns
    steps = np.ones(len(frame), np.int64)
    steps[:-1] = np.where(np.diff(tube) == 0, np.diff(frame), 1)
    source = np.repeat(np.arange(len(frame)), steps)
    inside = np.arange(len(source)) - np.repeat(np.cumsum(steps) - steps, steps)
    after = np.minimum(source + 1, len(frame) - 1)
    part = (inside / steps[source])[:, None]
    filled = columns[source] + part * np.where(part > 0, columns[after] - columns[source], 0)
    return frame[source] + inside, tube[source], filled


def _means(
    frame: np.ndarray, tube: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted by tube and frame, rows of the same two averaged."""
    order = np.lexsort((frame, tube))
    frame, tube, columns = frame[order], tube[order], columns[order]
    if not len(order):
        return frame, tube, columns
    first = np.flatnonzero((np.diff(frame, prepend=-1) != 0) | (np.diff(tube, prepend=-1) != 0))
    if len(first) == len(order):
        return frame, tube, columns
    count = np.diff([*first, len(order)])
    return frame[first], tube[first], np.add.reduceat(columns, first) / count[:, None]
