"""Which rows of followed people can be linked now: ended tracks, and the first parts of long ones.

A track that is half as long again as a part, or longer, is divided, so that memory does not grow
with the time that somebody stays in sight. Where depends on the track alone, not on when its rows
come. The box at which it is divided is in both parts, so that nothing lies between them; its frame
is the second part's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...datasets.tables import select_rows
from .person_tubes import ClassScores, People


@dataclass(eq=False)
class TrackParts:
    """K tracks, or the first parts of them.

    Attributes:
        track: (K,) their numbers, ascending.
        video: (K,) of each.
        first, last: (K,) first and last frame of the track so far.
        is_open: (K,) whether the track may get more boxes.
        goes_on: (K,) whether more parts follow.
    """

    track: np.ndarray
    video: np.ndarray
    first: np.ndarray
    last: np.ndarray
    is_open: np.ndarray
    goes_on: np.ndarray


class Divided(NamedTuple):
    """Rows that can be linked, and the rest."""

    parts: TrackParts
    people: People
    scores: ClassScores
    other_people: People
    other_scores: ClassScores


def take_parts(
    people: People, scores: ClassScores, active: np.ndarray, part_length: int
) -> Divided:
    """Divides the rows of people.

    Args:
        people: all rows that were not taken yet.
        scores: of these tracks.
        active: numbers of the tracks that may get more boxes.
        part_length: frames of a part; the last one has half as many to half as many more.
    """
    track, any_row, index = np.unique(people.track, return_index=True, return_inverse=True)
    first = np.full(len(track), np.iinfo(np.int64).max)
    last = np.full(len(track), -1)
    np.minimum.at(first, index, people.frame)
    np.maximum.at(last, index, people.frame)
    is_open = np.isin(track, active)
    goes_on = 2 * (last - first + 1) >= 3 * part_length
    end = np.where(is_open & ~goes_on, first - 1, last)  # the last frame that is taken
    beyond = goes_on[index] & (people.frame >= first[index] + part_length)
    np.minimum.at(end, index[beyond], people.frame[beyond])
    begin = end + ~goes_on  # the first frame that stays
    score_index = np.searchsorted(track, scores.track)
    parts = TrackParts(track, people.video[any_row], first, last, is_open, goes_on)
    return Divided(
        parts=select_rows(parts, end >= first),
        people=select_rows(people, people.frame <= end[index]),
        scores=select_rows(scores, scores.frame <= end[score_index]),
        other_people=select_rows(people, people.frame >= begin[index]),
        other_scores=select_rows(scores, scores.frame >= begin[score_index]),
    )


def iter_groups(
    people: People, scores: ClassScores, num_labels: int, most: int
) -> Iterator[tuple[People, ClassScores]]:
    """The rows of some tracks at a time, by the number of the track.

    Args:
        people, scores: of whole tracks, or of parts.
        num_labels: above each label of the scores.
        most: how many scores a group has, where no single track has more: one for each box and
            label that has a score somewhere in its track.
    """
    track, index, boxes = np.unique(people.track, return_inverse=True, return_counts=True)
    score_index = np.searchsorted(track, scores.track)
    sequences = np.unique(score_index * num_labels + scores.label) // num_labels
    count = np.bincount(sequences, minlength=len(track)) * boxes
    group = np.cumsum(count) // most
    for number in np.unique(group).tolist():
        mine = group == number
        if mine.all():
            yield people, scores
        else:
            yield select_rows(people, mine[index]), select_rows(scores, mine[score_index])
