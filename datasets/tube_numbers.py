"""The numbers of tubes: unique in a table, and one label each."""

from __future__ import annotations

import warnings

import numpy as np


def unique_tubes(video: np.ndarray, tube: np.ndarray) -> np.ndarray:
    """Tube numbers unique in the table; kept as they are where they already were."""
    order = np.lexsort((video, tube))
    if not ((np.diff(tube[order]) == 0) & (np.diff(video[order]) != 0)).any():
        return tube
    order = np.lexsort((tube, video))
    new = np.empty(len(tube), np.int64)
    steps = (np.diff(video[order]) != 0) | (np.diff(tube[order]) != 0)
    new[order] = np.concatenate([[0], np.cumsum(steps)])
    return new


def divide_by_label(
    tube: np.ndarray, frame: np.ndarray, label: np.ndarray, source: object
) -> np.ndarray:
    """Numbers of tubes of one label each: one with several is divided into stretches of a label.

    A stretch ends where the tube has boxes of other labels only.

    Args:
        tube, frame, label: (R,) of each row.
        source: the file, for messages.

    Returns:
        (R,) the numbers, those of tubes of one label unchanged.

    Warns:
        how many tubes were divided.
    """
    order = np.lexsort((label, tube))
    same = np.diff(tube[order]) == 0
    mixed = np.unique(tube[order[1:]][same & (np.diff(label[order]) != 0)])
    if not len(mixed):
        return tube
    number, next_number = tube.copy(), int(tube.max()) + 1
    starts = np.searchsorted(tube[order], mixed)
    stops = np.searchsorted(tube[order], mixed, side="right")
    for start, stop in zip(starts, stops):
        rows = order[start:stop]
        frames = np.unique(frame[rows])
        for code in np.unique(label[rows]):
            own = rows[label[rows] == code]
            own = own[np.argsort(frame[own], kind="stable")]
            place = np.searchsorted(frames, frame[own])
            stretch = np.cumsum(np.diff(place, prepend=place[0]) > 1)
            number[own] = next_number + stretch
            next_number += int(stretch[-1]) + 1
    warnings.warn(
        f"{source}: {len(mixed)} tubes have several labels (the first is tube {mixed[0]}); each "
        "stretch of one label is read as a tube of its own",
        stacklevel=3,
    )
    return number
