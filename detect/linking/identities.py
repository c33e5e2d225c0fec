"""Who comes back: tracks of one person within a shot, joined by appearance."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np


class TrackLooks(NamedTuple):
    """What is needed of a track to know its person again.

    Attributes:
        video: number of its video.
        first, last: frames.
        mean: (D,) mean appearance, of length 1; D is 0 where appearance is not known.
        spread: mean of 1 - cosine between the appearances on single frames and `mean`.
    """

    video: int
    first: int
    last: int
    mean: np.ndarray
    spread: float


class Identities:
    """Numbers the people of each video from 1."""

    def __init__(self) -> None:
        self._count: dict[int, int] = defaultdict(int)
        self._people: dict[int, dict[int, TrackLooks]] = defaultdict(dict)

    def number(self, track: TrackLooks) -> int:
        """The person's number; call it by rising first frame.

        A track is of an earlier person if that one was gone before it began and looks alike: the
        two mean appearances differ by no more than the single frames of the two tracks differ from
        their mean, and of several such people the nearest.
        """
        people = self._people[track.video]
        differences = {
            number: 1 - float(other.mean @ track.mean)
            for number, other in people.items()
            if len(track.mean) and other.last < track.first
        }
        alike = {
            number: difference
            for number, difference in differences.items()
            if difference <= (people[number].spread + track.spread) / 2
        }
        if alike:
            number = min(alike, key=alike.__getitem__)
        else:
            self._count[track.video] += 1
            number = self._count[track.video]
        people[number] = track
        return number

    def end_shot(self) -> None:
        """Forgets what people look like; nobody after it has the number of somebody before."""
        self._people.clear()


def describe_track(video: int, frame: np.ndarray, appearance: np.ndarray) -> TrackLooks:
    """The looks of a track, from its rows: (N,) rising frames and (N, D) appearances."""
    length = np.linalg.norm(appearance, axis=1, keepdims=True)
    unit = appearance / np.maximum(length, 1e-12)
    mean = unit.mean(axis=0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
    spread = float(1 - (unit @ mean).mean())
    return TrackLooks(video, int(frame[0]), int(frame[-1]), mean, spread)
