"""Boxes of one person, found once for each class or proposal, merged to one."""

from __future__ import annotations

import numpy as np

from .iou import rowwise_iou


def merge_overlapping(
    key: np.ndarray, score: np.ndarray, boxes: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Groups the boxes of each frame around the best ones, whatever their class.

    As in non-maximum suppression the best box of a frame takes those that overlap it by `iou` or
    more, then the best of the rest does, and so on; but what it takes is averaged, weighted by
    score, in place of dropped: errors of several boxes of a person cancel out.

    Args:
        key: (R,) integers from 0, equal for the boxes of one frame of a video.
        score: (R,) in 0 to 1.
        boxes: (R, 4) x1 y1 x2 y2.
        iou: least IoU with the best box.

    Returns:
        (R,) the number of each box's group, from 0, ascending with `key`; and (G, 4) their boxes.
    """
    order = np.lexsort((-score, key))
    leader = np.full(len(key), -1)
    remaining = order
    while len(remaining):
        is_best = np.diff(key[remaining], prepend=-1) != 0
        best = remaining[is_best][np.cumsum(is_best) - 1]
        overlap = rowwise_iou(boxes.take(remaining, axis=0), boxes.take(best, axis=0))
        taken = is_best | (overlap >= iou)
        leader[remaining[taken]] = best[taken]
        remaining = remaining[~taken]
    leads = order[leader[order] == order]
    number = np.empty(len(key), np.int64)
    number[leads] = np.arange(len(leads))
    group = number[leader]
    weight = np.maximum(score, 1e-6)
    total = np.bincount(group, weight, len(leads))
    merged = [np.bincount(group, weight * column, len(leads)) / total for column in boxes.T]
    return group, np.stack(merged, axis=1)
