"""From the head's outputs to detections: boxes are decoded and clipped, then NMS in each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from .head import BOX_CODER


class RoiScores(NamedTuple):
    """The head's outputs for R proposals.

    Attributes:
        probabilities: (R, classes).
        deltas: (R, 1, 4), or (R, classes, 4) with a box for each class; see `head.BOX_CODER`.
        proposals: (R, 4) in pixels of the clip.
    """

    probabilities: Tensor
    deltas: Tensor
    proposals: Tensor


@dataclass(frozen=True)
class KeyFrameDetections:
    """Detections on K key frames, R rows sorted by key frame and falling score.

    Attributes:
        key_frame_index: (R,) int64, which of the K key frames.
        label: (R,) int64 class, from 0.
        score: (R,) probability.
        boxes: (R, 4) x1 y1 x2 y2 in pixels of the clip.
    """

    key_frame_index: Tensor
    label: Tensor
    score: Tensor
    boxes: Tensor


def decode_boxes(deltas: Tensor, proposals: Tensor, size: tuple[int, int]) -> Tensor:
    """Proposals moved by their deltas and clipped to the frame.

    Args:
        deltas: (R, 1, 4) or (R, classes, 4), see `head.BOX_CODER`.
        proposals: (R, 4) in pixels of the clip.
        size: (height, width) of the clip.

    Returns:
        Boxes of the shape of `deltas`, in pixels of the clip.
    """
    boxes = BOX_CODER.decode_single(deltas.flatten(1), proposals).unflatten(1, (-1, 4))
    return clip_boxes_to_image(boxes, size)


def actionness(probabilities: Tensor, multi_label: bool) -> Tensor:
    """(R, classes) → (R,) probability of any action: one minus that of the background.

    With `multi_label` there is no background class, and it is the greatest probability.
    """
    return probabilities.amax(1) if multi_label else probabilities.sum(1)


def select_detections(
    probabilities: Tensor,
    boxes: Tensor,
    key_frame_index: Tensor,
    *,
    threshold: float = 0.01,
    nms_iou: float = 0.5,
    max_detections: int = 100,
) -> KeyFrameDetections:
    """The detections of each class that are left after NMS.

    Args:
        probabilities: (R, classes).
        boxes: (R, 1, 4) or (R, classes, 4), of `decode_boxes`.
        key_frame_index: (R,) int64, the key frame of each row.
        threshold: a detection's score is above it.
        nms_iou: a box is dropped if its IoU with a better one of its class is greater.
        max_detections: the best this many of each key frame are kept.
    """
    classes = probabilities.shape[1]
    boxes = boxes.expand(-1, classes, -1)
    # A box wholly outside the frame is clipped to nothing.
    inside = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    row, label = torch.nonzero((probabilities > threshold) & inside, as_tuple=True)
    score, boxes, frame = probabilities[row, label], boxes[row, label], key_frame_index[row]
    kept = batched_nms(boxes.float(), score.float(), frame * classes + label, nms_iou)
    # NMS sorts by score; a stable sort by key frame keeps that order within each.
    kept = kept[torch.argsort(frame[kept], stable=True)]
    sorted_frame = frame[kept]
    rank = torch.arange(len(kept), device=kept.device)
    rank = rank - torch.searchsorted(sorted_frame, sorted_frame)
    kept = kept[rank < max_detections]
    return KeyFrameDetections(
        key_frame_index=frame[kept], label=label[kept], score=score[kept], boxes=boxes[kept]
    )
