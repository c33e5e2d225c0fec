"""Intersection over union of boxes, row by row, and the joins that say which rows to compare."""

from __future__ import annotations

from typing import Literal

import numpy as np

BoxExtent = Literal["inclusive", "continuous", "shifted"]
"""How wide a box is, a choice of the evaluation protocol.

* "inclusive": x2 - x1 + 1, the corner pixels belong to the box (ACT, YOWO).
* "continuous": x2 - x1, the corners are points (PASCAL VOC in Python, MultiSports).
* "shifted": the ground truth is x2 - x1 wide; the detection is x2 - x1 + 1 wide and lies one pixel
  further right and down (Singh's compute_spatio_temporal_iou.m, which adds 1 to x, y, w and h).
"""


def rowwise_iou(
    boxes: np.ndarray, others: np.ndarray, pixels: BoxExtent = "continuous"
) -> np.ndarray:
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


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, 4) and (B, 4) boxes x1 y1 x2 y2 → (A, B) intersection over union, 0 for empty boxes."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    other = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = np.clip(other - corner, 0, None).prod(axis=2)
    area_a, area_b = ((x[:, 2:4] - x[:, :2]).prod(axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
