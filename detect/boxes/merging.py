"""Groups of boxes of one person, detected once for each class or proposal."""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections
from .iou import rowwise_iou
from .matching import rank_by_score


def group_overlapping(
    detections: Detections, key: np.ndarray, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Groups the boxes of each frame around the best ones, whatever their class.

    As in non-maximum suppression the best box of a frame takes those that overlap it by `iou` or
    more, then the best of the rest does, and so on. The box of a group is that of its best: on the
    demo means weighted by score were no better (spatial IoU of tracks .778 against .785).

    Args:
        detections: R boxes.
        key: (R,) integers from 0, equal for the boxes of one frame of a video.
        iou: least IoU with the best box.

    Returns:
        (G,) the best row of each group, by key and falling score; and (R,) the number of each
        box's group.
    """
    boxes = detections.boxes
    order = rank_by_score(detections, key)
    leader = np.full(len(key), -1)
    remaining = order
    while len(remaining):
        is_best = np.diff(key[remaining], prepend=-1) != 0
        better = remaining[is_best][np.cumsum(is_best) - 1]
        overlap = rowwise_iou(boxes.take(remaining, axis=0), boxes.take(better, axis=0))
        taken = is_best | (overlap >= iou)
        leader[remaining[taken]] = better[taken]
        remaining = remaining[~taken]
    best = order[leader[order] == order]
    number = np.empty(len(key), np.int64)
    number[best] = np.arange(len(best))
    return best, number[leader]
