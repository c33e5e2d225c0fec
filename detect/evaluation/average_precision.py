"""Precision and recall curves, and the area under them."""

from __future__ import annotations

from typing import Literal

import numpy as np

APMethod = Literal["trapezoid", "envelope"]
"""What is called AP.

* "trapezoid": under straight lines between the points of the raw curve, from (recall 0,
  precision 1) (ACT's pr_to_ap).
* "envelope": under the precision made non-increasing, as steps (PASCAL VOC 2010 and later).
"""


def precision_recall_curve(
    hits: np.ndarray, positives: int, epsilon: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The curve of one class.

    Args:
        hits: (D,) bool, detections by falling score: does it match a ground truth?
        positives: how many ground truths there are, at least 1.
        epsilon: added to `positives` (YOWO's video-mAP adds 1e-5).

    Returns:
        precision and recall, each (D,) float64: after the first, second, ... detection.
    """
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / (positives + epsilon)


def split_area(recall: np.ndarray, shares: np.ndarray, area: APMethod) -> np.ndarray:
    """Splits the square under precision 1 among the rows of `shares`, the first being precision.

    Args:
        recall: (D,) non-decreasing.
        shares: (S, D); row 0 is precision, all rows together should add to 1 in each column (the
            errors' shares of the detections so far, say).
        area: which area; an error's share is taken at the same points as the precision.

    Returns:
        (S,) areas. They add to the last recall.
    """
    if not len(recall):
        return np.zeros(len(shares))
    steps = np.diff(recall, prepend=0.0)
    if area == "trapezoid":
        before = np.zeros_like(shares)
        before[:, 1:] = shares[:, :-1]
        before[0, 0] = 1.0
        return 0.5 * ((shares + before) * steps).sum(axis=1)
    # Where the envelope takes its value from: the best precision from here on, the last of equals.
    backwards = shares[0, ::-1]
    best = np.maximum.accumulate(backwards)
    fresh = np.diff(best, prepend=-1.0) > 0
    source = np.maximum.accumulate(np.where(fresh, np.arange(len(best)), 0))
    at = len(best) - 1 - source[::-1]
    return (shares[:, at] * steps).sum(axis=1)


def average_precision(precision: np.ndarray, recall: np.ndarray, area: APMethod) -> float:
    """Area under one class's curve, 0..1.

    Args:
        precision, recall: (D,) from `precision_recall_curve`.
        area: which area.
    """
    return float(split_area(recall, precision[None], area)[0])
