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
    vote_iou: float = 1.0,
    max_detections: int = 100,
) -> KeyFrameDetections:
    """The detections of each class that are left after NMS.

    Args:
        probabilities: (R, classes).
        boxes: (R, 1, 4) or (R, classes, 4), of `decode_boxes`.
        key_frame_index: (R,) int64, the key frame of each row.
        threshold: a detection's score is above it.
        nms_iou: a box is dropped if its IoU with a better one of its class is greater.
        vote_iou: see `vote_boxes`; 1 leaves boxes as they are.
        max_detections: the best this many of each key frame are kept.
    """
    classes = probabilities.shape[1]
    boxes = boxes.expand(-1, classes, -1)
    # A box wholly outside the frame is clipped to nothing.
    inside = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    row, label = torch.nonzero((probabilities > threshold) & inside, as_tuple=True)
    score, boxes, frame = probabilities[row, label], boxes[row, label], key_frame_index[row]
    group = frame * classes + label
    kept = batched_nms(boxes.float(), score.float(), group, nms_iou)
    if vote_iou < 1:
        boxes = boxes.index_copy(0, kept, vote_boxes(boxes, score, group, kept, vote_iou))
    # NMS sorts by score; a stable sort by key frame keeps that order within each.
    kept = kept[torch.argsort(frame[kept], stable=True)]
    sorted_frame = frame[kept]
    rank = torch.arange(len(kept), device=kept.device)
    rank = rank - torch.searchsorted(sorted_frame, sorted_frame)
    kept = kept[rank < max_detections]
    return KeyFrameDetections(
        key_frame_index=frame[kept], label=label[kept], score=score[kept], boxes=boxes[kept]
    )


def vote_boxes(
    boxes: Tensor, score: Tensor, group: Tensor, kept: Tensor, vote_iou: float
) -> Tensor:
    """Box voting (Gidaris & Komodakis 2015): what NMS keeps moves to where the others agree.

    Args:
        boxes: (R, 4).
        score: (R,) above 0.
        group: (R,) int64, the key frame and class of each.
        kept: (K,) int64, the rows that NMS keeps.
        vote_iou: least IoU with a kept box of the boxes that vote on it.

    Returns:
        (K, 4) for each kept box the mean of the boxes of its group that overlap it so much,
        weighted by their scores.
    """
    order = torch.argsort(group, stable=True)
    in_order = group[order]
    start = torch.searchsorted(in_order, group[kept])
    size = torch.searchsorted(in_order, group[kept], right=True) - start
    target = torch.arange(len(kept), device=kept.device).repeat_interleave(size)
    offset = torch.arange(len(target), device=kept.device) - (size.cumsum(0) - size)[target]
    voter = order[start[target] + offset]
    a, b = boxes[kept[target]], boxes[voter]
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    weight = torch.where(shared >= vote_iou * union, score[voter], 0)[:, None].to(boxes.dtype)
    columns = torch.cat([weight * b, weight], dim=1)
    total = columns.new_zeros(len(kept), 5).index_add(0, target, columns)
    return total[:, :4] / total[:, 4:]
