"""Intersection over union of boxes (x1, y1, x2, y2): row by row, or every pair."""

from __future__ import annotations

from typing import Literal

import numpy as np

BoxExtent = Literal["inclusive", "continuous", "shifted"]
"""How wide and high a box is: a choice of the evaluation protocol, never of a table.

* "inclusive": x2 - x1 + 1, the corner pixels belong to the box (ACT, YOWO).
* "continuous": x2 - x1, the corners are points (PASCAL VOC in Python, MultiSports).
* "shifted": the ground truth is x2 - x1 wide; the detection is x2 - x1 + 1 wide and lies one pixel
  further right and down (Singh's compute_spatio_temporal_iou.m, which adds 1 to x, y, w and h).
"""


def rowwise_iou(
    boxes: np.ndarray, others: np.ndarray, extent: BoxExtent = "continuous"
) -> np.ndarray:
    """Intersection over union of row i of `boxes` with row i of `others`.

    Args:
        boxes: (P, 4) x1 y1 x2 y2 in pixels; the detections, which "shifted" moves. Other shapes
            (..., 4) are broadcast.
        others: (P, 4), the ground truth.
        extent: how wide a box is.

    Returns:
        (P,) float64 in 0..1; 0 where both areas are 0.
    """
    x1, y1, x2, y2 = np.moveaxis(boxes, -1, 0)
    u1, v1, u2, v2 = np.moveaxis(others, -1, 0)
    if extent == "shifted":
        x1, y1, x2, y2 = x1 + 1, y1 + 1, x2 + 2, y2 + 2
    added = 1 if extent == "inclusive" else 0
    width = np.minimum(x2, u2) - np.maximum(x1, u1) + added
    height = np.minimum(y2, v2) - np.maximum(y1, v1) + added
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (x2 - x1 + added) * (y2 - y1 + added) + (u2 - u1 + added) * (v2 - v1 + added)
    union = areas - shared
    return np.divide(shared, union, out=np.zeros(union.shape), where=union > 0)


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with every other, boxes being x2 - x1 wide.

    Args:
        boxes: (A, 4 or more) x1 y1 x2 y2; further columns are ignored.
        others: (B, 4 or more).

    Returns:
        (A, B) float64 in 0..1; 0 where both areas are 0.
    """
    return rowwise_iou(boxes[:, None, :4], others[None, :, :4])
