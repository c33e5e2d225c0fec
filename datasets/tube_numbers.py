"""The numbers of tubes: unique in a table, and one label each."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from .tables import Tubes


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


def divide_by_label(tubes: Tubes, source: object) -> Tubes:
    """Tubes of one label each: a tube with several becomes one for each stretch of one label.

    A stretch ends where the tube has boxes of other labels only.

    Warns:
        how many tubes were divided.
    """
    order = np.lexsort((tubes.label, tubes.tube))
    tube, label = tubes.tube[order], tubes.label[order]
    mixed = np.unique(tube[1:][(np.diff(tube) == 0) & (np.diff(label) != 0)])
    if not len(mixed):
        return tubes
    number, next_number = tubes.tube.copy(), int(tubes.tube.max()) + 1
    bounds = zip(np.searchsorted(tube, mixed), np.searchsorted(tube, mixed, side="right"))
    for start, stop in bounds:
        rows = order[start:stop]
        frames = np.unique(tubes.frame[rows])
        for code in np.unique(tubes.label[rows]):
            own = rows[tubes.label[rows] == code]
            own = own[np.argsort(tubes.frame[own], kind="stable")]
            place = np.searchsorted(frames, tubes.frame[own])
            stretch = np.cumsum(np.diff(place, prepend=place[0]) > 1)
            number[own] = next_number + stretch
            next_number += int(stretch[-1]) + 1
    warnings.warn(
        f"{source}: {len(mixed)} tubes have several labels (the first is tube {mixed[0]}); each "
        "stretch of one label is read as a tube of its own",
        stacklevel=3,
    )
    return replace(tubes, tube=number)
