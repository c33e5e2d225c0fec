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


def join(left: Array, right: Array) -> tuple[Array, Array]:
    """All pairs of rows with the same key.

    Args:
        left: (L,) keys in any order.
        right: (R,) keys, sorted.

    Returns:
        Two (P,) index arrays, into `left` (ascending) and `right` (ascending for each of `left`).
    """
    start = np.searchsorted(right, left, "left")
    count = np.searchsorted(right, left, "right") - start
    rows = np.repeat(np.arange(len(left)), count)
    # The position within a row's own run of pairs, added to where that run starts in `right`.
    first = np.cumsum(count) - count
    return rows, np.arange(len(rows)) + np.repeat(start - first, count)


def group_starts(keys: Array) -> Array:
    """Where each run of equal values starts in a sorted array; the same length as the runs."""
    if not len(keys):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(np.diff(keys)) + 1])
