"""Cuts: where a video goes on with another shot."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

_SIDE = 32  # frames are compared at about so many columns and rows
_LEAST_CHANGE = 25.0  # mean difference of the colors, of 255
_LEAST_RATIO = 3.0  # of the change to those of the frames before
_RECENT = 8  # frames whose changes are compared
_STILL = 2.0  # least change that counts as usual: noise of a still picture


def mark_cuts(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Frames, each with whether a new shot begins with it; the next frame is read first.

    A frame begins a shot if it differs much from the one before, much more than the next frame
    from it and the frames shortly before from theirs; and if the next frame differs as much from
    the one before: after a flash or a damaged frame the shot goes on.

    Args:
        frames: (H, W, 3 or more) uint8 RGB, all of one size; channels after the third are ignored.
    """
    recent: deque[float] = deque(maxlen=_RECENT)
    before: np.ndarray | None = None
    waiting: tuple[np.ndarray, np.ndarray] | None = None
    for frame in frames:
        small = _shrink(frame)
        if waiting is not None:
            is_cut, is_flash = _compare(before, waiting[1], small, recent)
            yield waiting[0], is_cut
            before = before if is_flash else waiting[1]
        waiting = frame, small
    if waiting is not None:
        yield waiting[0], _compare(before, waiting[1], waiting[1], recent)[0]


def _shrink(frame: np.ndarray) -> np.ndarray:
    rows, columns = (max(1, side // _SIDE) for side in frame.shape[:2])
    return frame[rows // 2 :: rows, columns // 2 :: columns, :3].astype(np.float32)


def _compare(
    before: np.ndarray | None, now: np.ndarray, after: np.ndarray, recent: deque[float]
) -> tuple[bool, bool]:
    """Whether a shot begins with `now`, and whether it is a flash, after which the shot goes on.

    The change is added to those of `recent` frames, which a cut empties.
    """
    if before is None:
        return False, False
    change = float(np.abs(now - before).mean())
    usual = max(float(np.mean(recent)) if recent else 0.0, _STILL)
    least = max(_LEAST_CHANGE, _LEAST_RATIO * usual)
    if change >= least and float(np.abs(after - before).mean()) < least:
        return False, True
    following = float(np.abs(after - now).mean())
    if change < max(least, _LEAST_RATIO * following):
        recent.append(change)
        return False, False
    recent.clear()
    return True, False
