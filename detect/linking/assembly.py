"""Linked boxes become a table of tubes: averaged, without gaps, scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...datasets.tables import Tubes, concatenate_rows, select_rows
from ..boxes.interpolation import average_frames, fill_gaps
from ..boxes.joins import expand_runs, row_keys
from .interface import LinkResult


@dataclass(frozen=True, eq=False)
class TubeBoxes:
    """Boxes, or tubelets of K frames, each with the number of its tube.

    Attributes:
        frame: (R,) int64, the first frame of each.
        tube: (R,) int64, the tube's number.
        group: (R,) int64, video x number of labels + label.
        score: (R,) float64.
        boxes: (R, K, 4) float64.
    """

    frame: np.ndarray
    tube: np.ndarray
    group: np.ndarray
    score: np.ndarray
    boxes: np.ndarray


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
        video_names, label_names: the names that `group` encodes.
        min_score: tubes of a lower score are dropped.
        min_length: tubes of fewer frames, gaps included, are dropped.
        score_top: a tube's score is the mean of this many best scores; None is all.

    Returns:
        tubes numbered from 0 by video, class, start and falling score, without gaps: on a frame
        without a box, box and score are interpolated linearly.
    """
    length = linked.boxes.shape[1]
    tube, index = np.unique(linked.tube, return_inverse=True)
    begin = np.full(len(tube), np.iinfo(np.int64).max)
    end = np.full(len(tube), -1)
    np.minimum.at(begin, index, linked.frame)
    np.maximum.at(end, index, linked.frame + length - 1)
    group = np.zeros(len(tube), np.int64)
    group[index] = linked.group
    score = tube_scores(index, linked.score, len(tube), score_top)
    kept = (score >= min_score) & (end - begin + 1 >= min_length)
    number = np.full(len(tube), -1)
    order = np.flatnonzero(kept)
    order = order[np.lexsort((-score[order], begin[order], group[order]))]
    number[order] = np.arange(len(order))
    rows = np.flatnonzero(kept[index])
    columns = np.column_stack(
        [linked.boxes[rows].reshape(-1, 4), np.repeat(linked.score[rows], length)]
    )
    frame = (linked.frame[rows][:, None] + np.arange(length)).reshape(-1)
    new_tube = np.repeat(number[index[rows]], length)
    frame, new_tube, columns = average_frames(frame, new_tube, columns)
    frame, new_tube, columns = fill_gaps(frame, new_tube, columns)
    video, label = np.divmod(group[order], max(len(label_names), 1))
    return Tubes(
        video=video[new_tube].astype(np.int32), frame=frame.astype(np.int32),
        label=label[new_tube].astype(np.int32), boxes=np.ascontiguousarray(columns[:, :4]),
        tube=new_tube, video_names=video_names, label_names=label_names,
        score=columns[:, 4].copy(), tube_score=score[order][new_tube],
    )  # fmt: skip


def no_tubes(video_names: tuple[str, ...], label_names: tuple[str, ...]) -> Tubes:
    """A table without rows, with scores."""
    return assemble_tubes(no_boxes(), video_names, label_names)


def no_boxes() -> TubeBoxes:
    """Without rows."""
    none = np.empty(0, np.int64)
    boxes = np.empty((0, 1, 4))
    return TubeBoxes(frame=none, tube=none, group=none, score=np.empty(0), boxes=boxes)


def merge_tubes(tables: Sequence[Tubes]) -> Tubes:
    """The tubes of several tables with the same names, in the order of `assemble_tubes`.

    Args:
        tables: one at least; with scores, each tube's rows together, no number in two tables.

    Returns:
        one table; tubes are numbered from 0 by video, class, start and falling score.
    """
    tables = [table for table in tables if len(table)] or tables[:1]
    return tables[0] if len(tables) == 1 else number_tubes(concatenate_rows(tables))


def number_tubes(tubes: Tubes) -> Tubes:
    """Numbers tubes from 0 by video, class, start and falling score, and sorts them so.

    Args:
        tubes: with scores, each tube's rows together.
    """
    assert tubes.tube_score is not None
    first = np.flatnonzero(np.diff(tubes.tube, prepend=-1))
    length = np.diff(first, append=len(tubes))
    sort_keys = (-tubes.tube_score, tubes.frame, tubes.label, tubes.video)
    order = np.lexsort([key[first] for key in sort_keys])
    number, rows = expand_runs(first[order], length[order])
    return replace(select_rows(tubes, rows), tube=number)


def merge_results(results: Sequence[LinkResult]) -> LinkResult:
    """One result of several with the same names; tubes are merged as by `merge_tubes`."""
    tracks = [result.tracks for result in results if result.tracks is not None]
    return LinkResult(
        merge_tubes([result.tubes for result in results]),
        concatenate_rows(tracks) if tracks else None,
        num_dropped=sum(result.num_dropped for result in results),
        person_of={track: each for result in results for track, each in result.person_of.items()},
    )


def join_parts(tubes: Tubes) -> Tubes:
    """Tubes of one person and label that follow each other without a gap are one.

    Its score is the mean of theirs, by length.

    Args:
        tubes: as `merge_tubes` gives them; those without persons are returned as they are.
    """
    if tubes.person is None or tubes.tube_score is None or not len(tubes):
        return tubes
    first = np.flatnonzero(np.diff(tubes.tube, prepend=-1))
    length = np.diff(first, append=len(tubes))
    (key,) = row_keys([tubes], "video", "person", "label")
    order = np.lexsort((tubes.frame[first], key[first]))
    start, stop = tubes.frame[first[order]], tubes.frame[first[order]] + length[order]
    follows = (np.diff(key[first[order]], prepend=-1) == 0) & (start == np.append(-1, stop[:-1]))
    if not follows.any():
        return tubes
    number, rows = expand_runs(first[order], length[order])
    tube = (np.cumsum(~follows) - 1)[number]
    total = np.bincount(tube, tubes.tube_score[rows])
    score = total / np.bincount(tube)
    joined = replace(select_rows(tubes, rows), tube=tube, tube_score=score[tube])
    return number_tubes(joined)


def tube_scores(
    tube: np.ndarray, score: np.ndarray, num_tubes: int, top: int | None = None
) -> np.ndarray:
    """Mean score of each tube.

    Args:
        tube: (R,) 0 to `num_tubes` - 1.
        score: (R,).
        num_tubes: T.
        top: only this many best scores of a tube count; None is all.

    Returns:
        (T,) float64.
    """
    if top is not None:
        order = np.lexsort((-score, tube))
        start = np.searchsorted(tube[order], np.arange(num_tubes))
        best = order[np.arange(len(order)) - start[tube[order]] < top]
        tube, score = tube[best], score[best]
    count = np.bincount(tube, minlength=num_tubes)
    return np.bincount(tube, weights=score, minlength=num_tubes) / np.maximum(count, 1)
