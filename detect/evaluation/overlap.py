"""Intersection over union of boxes, row by row, and the joins that say which rows to compare."""

from __future__ import annotations

from typing import Literal

import numpy as np

Array = np.ndarray

Pixels = Literal["inclusive", "continuous", "shifted"]
"""How wide a box is, a choice of the evaluation protocol.

* "inclusive": x2 - x1 + 1, the corner pixels belong to the box (ACT, YOWO).
* "continuous": x2 - x1, the corners are points (PASCAL VOC in Python, MultiSports).
* "shifted": the ground truth is x2 - x1 wide; the detection is x2 - x1 + 1 wide and lies one pixel
  further right and down (Singh's compute_spatio_temporal_iou.m, which adds 1 to x, y, w and h).
"""


def box_iou(boxes: Array, others: Array, pixels: Pixels = "continuous") -> Array:
    """Intersection over union of row i of `boxes` with row i of `others`.

    Args:
        boxes: (P, 4) x1 y1 x2 y2, the detections where `pixels` tells the two sides apart.
        others: (P, 4), the ground truth.
        pixels: how wide a box is.

    Returns:
        (P,) float64 in 0..1; 0 where both areas are 0.
    """
    x1, y1, x2, y2 = boxes.T
    u1, v1, u2, v2 = others.T
    if pixels == "shifted":
        x1, y1, x2, y2 = x1 + 1, y1 + 1, x2 + 2, y2 + 2
    one = 1 if pixels == "inclusive" else 0
    width = np.minimum(x2, u2) - np.maximum(x1, u1) + one
    height = np.minimum(y2, v2) - np.maximum(y1, v1) + one
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (x2 - x1 + one) * (y2 - y1 + one) + (u2 - u1 + one) * (v2 - v1 + one)
    union = areas - shared
    return np.divide(shared, union, out=np.zeros(len(union)), where=union > 0)


def combined_key(*columns: tuple[Array, int]) -> Array:
    """One int64 number a row from several columns of whole numbers, each with its upper bound."""
    key = np.zeros(len(columns[0][0]), np.int64)
    for values, bound in columns:
        key *= bound
        key += values
    return key


def runs(left: Array, right: Array) -> tuple[Array, Array]:
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


def run_pairs(start: Array, count: Array) -> tuple[Array, Array]:
    """Every row beside each index of its run: two (P,) arrays, both ascending within a row."""
    rows = np.repeat(np.arange(len(start)), count)
    # The position within a row's own run, added to where that run starts.
    first = np.cumsum(count) - count
    return rows, np.arange(len(rows)) + np.repeat(start - first, count)


def join(left: Array, right: Array) -> tuple[Array, Array]:
    """All pairs of rows with the same key.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        Two (P,) index arrays, into `left` (ascending) and `right` (ascending for each of `left`).
    """
    return run_pairs(*runs(left, right))
