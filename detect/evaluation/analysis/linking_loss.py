"""How many detections became how many tubes, and why the rest did not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....datasets.tables import Detections, Tubes
from ...boxes.iou import rowwise_iou
from ...boxes.joins import join, row_keys

_SAME_BOX = 0.5  # least IoU of a detection with the box that a linker made of it, perhaps smoothed

REASONS = (
    "in a tube",
    "beside one that is, a second detection of the same person",
    "on a frame of a tube of its class, but elsewhere",
    "in a video with a tube of its class, but at another time",
    "in a video without a tube of its class",
)


@dataclass(frozen=True)
class LinkedDetections:
    """What became of the detections.

    Attributes:
        counts: number of detections, by `REASONS`.
        median_scores: theirs, None where there are none.
        num_tubes, num_boxes: of the tubes.
        num_filled: boxes of tubes on whose frame no detection of the class is near.
    """

    counts: dict[str, int]
    median_scores: dict[str, float | None]
    num_tubes: int
    num_boxes: int
    num_filled: int


def count_linked(detections: Detections, tubes: Tubes) -> LinkedDetections:
    """Compares detections with the tubes made of them, whatever the linker.

    Args:
        detections, tubes: aligned with each other.
    """
    keys, tube_keys = row_keys([detections, tubes], "video", "frame", "label")
    order = np.argsort(tube_keys, kind="stable")
    left, right = join(keys, tube_keys[order])
    right = order[right]
    iou = rowwise_iou(detections.boxes.take(left, axis=0), tubes.boxes.take(right, axis=0))
    near = iou >= _SAME_BOX
    # Of the detections near a box of a tube, the nearest is the one in it.
    near_left, near_right, near_iou = left[near], right[near], iou[near]
    by_box = np.lexsort((-near_iou, near_right))
    is_first = np.diff(near_right[by_box], prepend=-1) != 0
    video_keys, tube_video_keys = row_keys([detections, tubes], "video", "label")
    reason = np.where(np.isin(video_keys, tube_video_keys), 3, 4)
    reason[left] = 2
    reason[near_left] = 1
    reason[near_left[by_box[is_first]]] = 0
    scores = [detections.score[reason == number] for number in range(len(REASONS))]
    return LinkedDetections(
        counts={name: len(each) for name, each in zip(REASONS, scores)},
        median_scores={name: float(np.median(each)) if len(each) else None
                       for name, each in zip(REASONS, scores)},
        num_tubes=len(np.unique(tubes.tube)), num_boxes=len(tubes),
        num_filled=len(tubes) - len(np.unique(near_right)),
    )  # fmt: skip
