"""Who comes back: tracks of one person within a shot, joined by appearance."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


@dataclass
class LookSum:
    """What is summed up of how the person of a track looks.

    Attributes:
        total: (D,) sum of the appearances on single frames, each of length 1.
        count: how many.
    """

    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    count: int = 0

    @property
    def mean(self) -> np.ndarray:
        """(D,) the mean appearance, of length 1."""
        return self.total / max(float(np.linalg.norm(self.total)), 1e-12)

    @property
    def spread(self) -> float:
        """Mean of 1 - cosine between the appearances on single frames and their mean."""
        return 1 - float(np.linalg.norm(self.total)) / max(self.count, 1)


class _Person(NamedTuple):
    """The last track of a person: its last frame (infinite while it goes on), and their looks."""

    last: float
    mean: np.ndarray
    spread: float


class Identities:
    """Numbers the people of each video from 1."""

    def __init__(self) -> None:
        self._count: dict[int, int] = defaultdict(int)
        self._people: dict[int, dict[int, _Person]] = defaultdict(dict)

    def number(
        self, video: int, first: int, last: int | None, looks: LookSum, known: int | None = None
    ) -> int:
        """The number of a track's person; call it by rising first frame.

        A track is of an earlier person if that one was gone before it began and looks alike: the
        two mean appearances differ by no more than the single frames of the two tracks differ from
        their mean, and of several such people the nearest.

        Args:
            video: number of its video.
            first, last: its frames; None while the track goes on.
            looks: see `LookSum`; without any, the person is new.
            known: the number of this track by an earlier call, of which more is known now.
        """
        people = self._people[video]
        track = _Person(math.inf if last is None else last, looks.mean, looks.spread)
        differences = {
            number: 1 - float(other.mean @ track.mean)
            for number, other in people.items()
            if looks.count and len(other.mean) and other.last < first
        }
        alike = {
            number: difference
            for number, difference in differences.items()
            if difference <= (people[number].spread + track.spread) / 2
        }
        if known is not None:
            number = known
        elif alike:
            number = min(alike, key=alike.__getitem__)
        else:
            self._count[video] += 1
            number = self._count[video]
        people[number] = track
        return number

    def end_shot(self) -> None:
        """Forgets what people look like; nobody after it has the number of somebody before."""
        self._people.clear()


def add_looks(looks: dict[int, LookSum], track: np.ndarray, appearance: np.ndarray) -> None:
    """Adds what people look like on single frames to the sums of their tracks.

    Args:
        looks: by number of the track.
        track: (R,) of each row.
        appearance: (R, D), any vectors; rows of zeros say nothing.
    """
    length = np.linalg.norm(appearance, axis=1)
    for row in np.flatnonzero(length > 0).tolist():
        known = looks.setdefault(int(track[row]), LookSum())
        unit = appearance[row] / length[row]
        known.total = known.total + unit if known.count else unit
        known.count += 1
