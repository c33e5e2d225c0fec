"""Joins of sorted integer keys, without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def pack_keys(*columns: tuple[np.ndarray, int]) -> np.ndarray:
    """One integer for each row of several columns of integers, ordered as the columns are.

    Args:
        columns: each (R,) integers from 0, and a bound that all of them are below.

    Returns:
        (R,) int64; different rows have different numbers while the bounds' product is below 2^63.
    """
    key = np.zeros(len(columns[0][0]), np.int64)
    for values, bound in columns:
        key *= bound
        key += values
    return key


def row_keys(tables: Sequence[Any], *columns: str) -> list[np.ndarray]:
    """One integer for each row of tables; rows of any of them with equal columns have equal ones.

    Args:
        tables: with the same names of videos and labels.
        columns: names of columns of integers from 0; keys are ordered by the first, then the next.

    Returns:
        (R,) int64 for each table.
    """
    values = [[getattr(table, name) for name in columns] for table in tables]
    bounds = [1 + max(int(each.max(initial=0)) for each in column) for column in zip(*values)]
    return [pack_keys(*zip(table_values, bounds)) for table_values in values]


def find_runs(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The run of equal keys in `right` for each key of `left`.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        (L,) index of the run's first key in `right`, and (L,) its length, perhaps 0 (and then the
        index where the key would stand).
    """
    start = np.searchsorted(right, left)
    return start, np.searchsorted(right, left, "right") - start


def expand_runs(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All members of runs.

    Args:
        start: (L,) first index of each run.
        count: (L,) its length, perhaps 0.

    Returns:
        two (P,) arrays, P the sum of `count`: the number of the run, ascending, and an index in it,
        ascending within the run.
    """
    run = np.repeat(np.arange(len(start)), count)
    first = np.cumsum(count) - count  # position of each run's first member in the result
    return run, np.arange(len(run)) + np.repeat(start - first, count)


def join(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows with the same key.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        two (P,) index arrays, into `left` (ascending) and `right` (ascending for each of `left`).
    """
    return expand_runs(*find_runs(left, right))
