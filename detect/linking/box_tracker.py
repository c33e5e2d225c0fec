"""People followed from frame to frame by where they are and how they move, in many videos at once.

Each frame the boxes are assigned to the tracks with the greatest sum of IoU x the mean score of the
track x the score of the box, the IoU being that with where the motion of the track leads (see
`motion`). A box that no track takes starts a track of its own, whatever its score.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np

from ...datasets.options import Options, at_least, between, greater_than
from ...datasets.tables import concatenate_rows, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import join
from .motion import MotionState, predict_boxes, start_motion, update_motion


@dataclass(frozen=True, kw_only=True)
class TrackingConfig(Options):
    """Parameters of following people.

    Attributes:
        iou: least IoU of a box with where its track leads.
        gap: a track ends when it gets no box up to `gap` frames after its last one, or earlier,
            after `patience` times as many frames as it had boxes.
        patience: see `gap`.
        motion: variance of a change of velocity in a frame, by that of a box's position: higher
            follows the boxes more closely, lower gives steadier tracks.
    """

    iou: Annotated[float, between(0, 1)] = 0.2
    gap: Annotated[int, between(0, 100_000)] = 20
    patience: Annotated[float, at_least(0)] = 2.0
    motion: Annotated[float, greater_than(0)] = 0.03


class BoxTracker:
    """Numbers the boxes of the same person alike; keeps the tracks that may still go on.

    Attributes:
        config: the parameters.
        key_frame_step: frames from one frame with boxes to the next.
        active: numbers of the tracks that may go on after the last frame.
    """

    def __init__(self, config: TrackingConfig, key_frame_step: int = 1) -> None:
        self.config, self.key_frame_step = config, key_frame_step
        self._next_track = 0
        nothing = np.empty(0, np.int64)
        self._tracks = _start_tracks(nothing, nothing, 0, np.empty((0, 4)), np.empty(0))

    @property
    def active(self) -> np.ndarray:
        return self._tracks.track

    def update(
        self, frame: int, video: np.ndarray, boxes: np.ndarray, score: np.ndarray
    ) -> np.ndarray:
        """Takes the people of the next frame.

        Args:
            frame: above that of the last call.
            video: (N,) ascending; people of different videos are never the same.
            boxes: (N, 4) x1 y1 x2 y2, one a person.
            score: (N,) that it is a person, in 0 to 1.

        Returns:
            (N,) the number of each one's track; no number ever stands for two tracks.
        """
        self.end_before(frame)
        tracks = self._tracks
        steps = frame - tracks.last
        row, column = join(tracks.video, video)
        predicted = predict_boxes(tracks.motion, steps)
        iou = rowwise_iou(boxes.take(column, axis=0), predicted.take(row, axis=0))
        near = np.flatnonzero(iou >= self.config.iou)
        row, column, iou = row[near], column[near], iou[near]
        # One box is no evidence yet: the mean counts a box of score 0 besides.
        mean = tracks.total / (tracks.count + 1)
        row, column = assign(row, column, iou * mean[row] * score[column], tracks.video)
        number = np.full(len(boxes), -1)
        number[column] = tracks.track[row]
        tracks.extend(row, frame, boxes[column], score[column], self.config.motion)
        new = np.flatnonzero(number < 0)
        number[new] = self._next_track + np.arange(len(new))
        self._next_track += len(new)
        started = _start_tracks(number[new], video[new], frame, boxes[new], score[new])
        self._tracks = concatenate_tracks(tracks, started)
        return number

    def end_before(self, frame: int) -> None:
        """Ends the tracks whose last box is too long before `frame`."""
        tracks = self._tracks
        trusted = self.config.patience * tracks.count * self.key_frame_step
        may_go_on = frame - tracks.last <= np.minimum(self.config.gap, trusted)
        if not may_go_on.all():
            self._tracks = tracks.select(np.flatnonzero(may_go_on))

    def end_all(self) -> None:
        """Ends all tracks, as at a cut."""
        self._tracks = self._tracks.select(np.empty(0, np.int64))


@dataclass(eq=False)
class _Tracks:
    """The tracks that may go on.

    Attributes:
        track: (T,) their numbers.
        video: (T,) of each.
        last: (T,) frame of the last box.
        count: (T,) how many boxes.
        total: (T,) sum of their scores.
        motion: of each.
    """

    track: np.ndarray
    video: np.ndarray
    last: np.ndarray
    count: np.ndarray
    total: np.ndarray
    motion: MotionState

    def extend(
        self, rows: np.ndarray, frame: int, boxes: np.ndarray, score: np.ndarray, noise: float
    ) -> None:
        """Adds one box to each of the tracks `rows`."""
        if len(rows):
            update_motion(self.motion, rows, frame - self.last[rows], boxes, noise)
            self.last[rows] = frame
            self.count[rows] += 1
            self.total[rows] += score

    def select(self, rows: np.ndarray) -> _Tracks:
        selected = select_rows(self, rows)
        selected.motion = select_rows(self.motion, rows)
        return selected


def concatenate_tracks(tracks: _Tracks, others: _Tracks) -> _Tracks:
    if not len(others.track):
        return tracks
    both = concatenate_rows([tracks, others])
    both.motion = concatenate_rows([tracks.motion, others.motion])
    return both


def _start_tracks(
    track: np.ndarray, video: np.ndarray, frame: int, boxes: np.ndarray, score: np.ndarray
) -> _Tracks:
    last, count = np.full(len(track), frame), np.ones(len(track), np.int64)
    return _Tracks(track, video, last, count, score.copy(), start_motion(boxes))


def assign(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The one-to-one pairs of rows and columns with the greatest sum of values.

    Where no two rows of a group value the same column most, each simply gets it; only the other
    groups are solved by `scipy.optimize.linear_sum_assignment`, one after the other.

    Args:
        row: (P,) ascending, `column` ascending for each row: the pairs that may be.
        column: (P,) of each pair.
        value: (P,) of each pair, 0 or more; pairs of value 0 are not chosen.
        group: (rows,) of each row; each group has its own columns, next to each other.

    Returns:
        (M,) row and (M,) column of each chosen pair.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to import, and --help needs none

    possible = np.flatnonzero(value > 0)
    row, column, value = row[possible], column[possible], value[possible]
    if not len(row):
        return row, column
    order = np.lexsort((-value, row))
    best = order[np.diff(row[order], prepend=-1) != 0]
    contested = np.bincount(column[best])[column[best]] > 1
    pair_group = group[row]
    is_open = np.isin(pair_group, pair_group[best[contested]])
    chosen = [best[~is_open[best]]]
    rest = np.flatnonzero(is_open)
    rest = rest[np.argsort(pair_group[rest], kind="stable")]
    starts = np.flatnonzero(np.diff(pair_group[rest], prepend=-1))
    bounds = [*starts.tolist(), len(rest)]
    # Within each group rows and columns count from 0, so that its matrix is small.
    i = np.cumsum(np.diff(row[rest], prepend=-1) != 0)
    i -= np.repeat(i[starts], np.diff(bounds))
    j = column[rest]
    j = j - np.repeat(np.minimum.reduceat(j, starts), np.diff(bounds)) if len(rest) else j
    for low, high in pairwise(bounds):
        shape = int(i[high - 1]) + 1, int(j[low:high].max()) + 1
        matrix, pair = np.zeros(shape), np.full(shape, -1)
        matrix[i[low:high], j[low:high]] = value[rest[low:high]]
        pair[i[low:high], j[low:high]] = rest[low:high]
        matched = pair[linear_sum_assignment(matrix, maximize=True)]
        chosen.append(matched[matched >= 0])
    pairs = np.concatenate(chosen)
    return row[pairs], column[pairs]
