"""Boxes on the frames between others of the same tube or person."""

from __future__ import annotations

import numpy as np

from ...datasets.errors import InputError

_MAX_FILLED = 1_000_000  # frames without a box, besides a hundred for each box


def fill_gaps(
    frame: np.ndarray, tube: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds rows on the frames that a tube skips, interpolated between the rows before and after.

    Args:
        frame, tube: (R,) sorted by tube, then frame.
        columns: (R, C) the values to interpolate.

    Returns:
        the three with the new rows in their places.

    Raises:
        InputError: most of the tubes would be interpolated, and they would not fit into memory.
    """
    if not len(frame):
        return frame, tube, columns
    steps = np.ones(len(frame), np.int64)
    steps[:-1] = np.where(np.diff(tube) == 0, np.diff(frame), 1)
    if steps.sum() > _MAX_FILLED + 100 * len(frame):
        widest = int(steps.argmax())
        raise InputError(
            f"a tube has no box between frames {frame[widest]} and {frame[widest + 1]}; such a gap "
            "is not interpolated, so check the frame numbers"
        )
    source = np.repeat(np.arange(len(frame)), steps)
    offset = np.arange(len(source)) - np.repeat(np.cumsum(steps) - steps, steps)
    following = np.minimum(source + 1, len(frame) - 1)
    share = (offset / steps[source])[:, None]
    change = np.where(share > 0, columns[following] - columns[source], 0)
    return frame[source] + offset, tube[source], columns[source] + share * change


def average_frames(
    frame: np.ndarray, tube: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted by tube and frame; rows of the same tube and frame are averaged."""
    order = np.lexsort((frame, tube))
    frame, tube, columns = frame[order], tube[order], columns[order]
    first = np.flatnonzero((np.diff(frame, prepend=-1) != 0) | (np.diff(tube, prepend=-1) != 0))
    if len(first) == len(order):
        return frame, tube, columns
    count = np.diff(first, append=len(order))
    return frame[first], tube[first], np.add.reduceat(columns, first) / count[:, None]
