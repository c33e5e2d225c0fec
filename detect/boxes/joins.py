"""Joins of sorted integer keys, without a loop over rows."""

from __future__ import annotations

import numpy as np


def pack_keys(*columns: tuple[np.ndarray, int]) -> np.ndarray:
    """One int64 number a row from several columns of whole numbers, each with its upper bound."""
    key = np.zeros(len(columns[0][0]), np.int64)
    for values, bound in columns:
        key *= bound
        key += values
    return key


def find_runs(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the keys of `left` stand in `right`.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        (L,) first index into `right`, and (L,) how many there are, perhaps 0.
    """
    if not len(right):
        return np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    starts = np.flatnonzero(np.diff(right, prepend=right[0] - 1))
    length = np.diff(starts, append=len(right))
    keys = right[starts]
    place = np.minimum(np.searchsorted(keys, left), len(keys) - 1)
    return starts[place], np.where(keys[place] == left, length[place], 0)


def expand_runs(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row beside each index of its run: two (P,) arrays, both ascending within a row."""
    rows = np.repeat(np.arange(len(start)), count)
    # The position within a row's own run, added to where that run starts.
    first = np.cumsum(count) - count
    return rows, np.arange(len(rows)) + np.repeat(start - first, count)


def join(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows with the same key.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        Two (P,) index arrays, into `left` (ascending) and `right` (ascending for each of `left`).
    """
    return expand_runs(*find_runs(left, right))
