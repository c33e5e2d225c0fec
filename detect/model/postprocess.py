"""What a detector finds: boxes refined by the head, the best of each class where they overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from .head import BOX_CODER


@dataclass(frozen=True)
class KeyFrameDetections:
    """Boxes found on key frames, R rows, sorted by key frame and falling score.

    Attributes:
        key: (R,) which key frame.
        label: (R,) class, from 0.
        score: (R,) probability.
        boxes: (R, 4) in pixels of the clip.
    """

    key: Tensor
    label: Tensor
    score: Tensor
    boxes: Tensor


def postprocess(
    probabilities: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    key: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.01,
    nms_iou: float = 0.5,
    most: int = 100,
) -> KeyFrameDetections:
    """Refines the boxes, and keeps the best of each class where they overlap.

    Args:
        probabilities: (R, classes).
        deltas: (R, 1, 4) or (R, classes, 4).
        proposals: (R, 4) in pixels of the clip.
        key: (R,) which key frame, in rising order.
        size: (height, width) of the clip, at whose edges boxes are cut; one wholly outside is none.
        threshold: the lowest score kept.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
        most: boxes kept of each key frame.
    """
    refined = decode_boxes(deltas, proposals, size)
    return select_detections(
        probabilities, refined, key, threshold=threshold, nms_iou=nms_iou, most=most
    )


def decode_boxes(deltas: Tensor, proposals: Tensor, size: tuple[int, int]) -> Tensor:
    """Proposals moved by their deltas and cut at the picture's edges; see `postprocess`.

    Returns:
        (R, 1, 4) or (R, classes, 4) in pixels of the clip.
    """
    refined = BOX_CODER.decode_single(deltas.flatten(1), proposals).unflatten(1, (-1, 4))
    return clip_boxes_to_image(refined, size)


def select_detections(
    probabilities: Tensor,
    boxes: Tensor,
    key: Tensor,
    *,
    threshold: float = 0.01,
    nms_iou: float = 0.5,
    most: int = 100,
) -> KeyFrameDetections:
    """The best boxes of each class where they overlap, of boxes that are refined already.

    Args:
        boxes: (R, 1, 4) or (R, classes, 4) of `decode_boxes`.
        probabilities, key, threshold, nms_iou, most: see `postprocess`.
    """
    classes = probabilities.shape[1]
    refined = boxes.expand(-1, classes, -1)
    inside = (refined[..., 2:] > refined[..., :2]).all(dim=-1)
    row, label = torch.nonzero((probabilities > threshold) & inside, as_tuple=True)
    score, chosen, of = probabilities[row, label], refined[row, label], key[row]
    kept = batched_nms(chosen.float(), score.float(), of * classes + label, nms_iou)
    # NMS sorts by score; a stable sort by key frame keeps that order within each.
    kept = kept[torch.argsort(of[kept], stable=True)]
    of = of[kept]
    rank = torch.arange(len(of), device=of.device) - torch.searchsorted(of, of)
    kept = kept[rank < most]
    return KeyFrameDetections(key[row][kept], label[kept], score[kept], chosen[kept])
