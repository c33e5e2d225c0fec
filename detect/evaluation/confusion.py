"""Which class is taken for which: ground truth boxes against the detections over them."""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import expand_runs, find_runs, row_keys

MIN_SCORE = 0.25
MIN_IOU = 0.5


def confusion_matrix(
    truth: Tubes,
    detections: Detections,
    *,
    min_score: float = MIN_SCORE,
    min_iou: float = MIN_IOU,
) -> np.ndarray:
    """Counts of boxes by true class (rows) and detected class (columns).

    A ground truth box counts for its own class where a detection of that class lies over it, else
    for the class with the highest score there, else as missed. Several boxes of truth may count
    with one detection.

    Args:
        truth, detections: with the same names of videos and classes, C of these.
        min_score: detections below are left out.
        min_iou: the lowest overlap.

    Returns:
        (C + 1, C + 1) int64; the last column is missed boxes, the last row detections over no
        ground truth.
    """
    count = len(truth.label_names)
    shown = select_rows(detections, detections.score >= min_score)
    keys, truth_keys = row_keys([shown, truth], "video", "frame")
    order = np.argsort(truth_keys, kind="stable")
    detection, target = expand_runs(*find_runs(keys, truth_keys[order]))
    target = order[target]
    over = rowwise_iou(shown.boxes[detection], truth.boxes[target]) >= min_iou
    detection, target = detection[over], target[over]
    wrong = shown.label[detection] != truth.label[target]
    best = np.lexsort((-shown.score[detection], wrong))
    found, first = np.unique(target[best], return_index=True)
    predicted = np.full(len(truth), count)
    predicted[found] = shown.label[detection[best[first]]]
    matrix = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(matrix, (truth.label, predicted), 1)
    alone = ~np.isin(np.arange(len(shown)), detection)
    np.add.at(matrix[count], shown.label[alone], 1)
    return matrix
