"""The losses of the action head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from .head import BOX_CODER
from .sampling import POSITIVE_IOU, RoiSamples


def action_losses(
    logits: Tensor,
    deltas: Tensor,
    samples: RoiSamples,
    *,
    multi_label: bool = False,
    separate_background: bool = False,
) -> dict[str, Tensor]:
    """The head's losses, as Fast R-CNN's: action and action_boxes.

    They are divided by the number of samples that was requested, not drawn, so that the mean over
    processes is the loss of all their clips in one batch.

    Args:
        logits, deltas: of `ActionHead.forward`, for the R samples.
        samples: of `sample_rois`.
        multi_label, separate_background: of the head. A separate background has a third loss,
            background, at half weight, and the loss action is of positive samples only. Its sigmoid
            learns the IoU of the refined box with a person, where that is 0.5 or more (as YOLO's
            objectness, Redmon et al. 2016, section 2.2), so that the most accurate of a person's
            boxes scores highest; its gradient does not reach the boxes.
    """
    labels, positive = samples.labels, samples.labels.any(dim=1)
    # With a box for each class, the one of the (first) true class is trained.
    first = labels.argmax(dim=1)
    column = first if deltas.shape[1] > 1 else torch.zeros_like(first)
    refined = deltas[torch.arange(len(deltas), device=deltas.device), column]
    boxes = F.smooth_l1_loss(
        refined[positive], samples.deltas[positive], beta=1 / 9, reduction="sum"
    )
    losses: dict[str, Tensor] = {}
    if multi_label:
        per_class = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        losses["action"] = per_class.sum() / labels.shape[1] / samples.loss_normalizer
    elif separate_background:
        decoded = BOX_CODER.decode_single(refined.detach(), samples.boxes)
        iou = box_iou(decoded, samples.target_boxes).diagonal().to(logits)
        truth = 1 - iou * (iou >= POSITIVE_IOU)
        background = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="sum")
        action = F.cross_entropy(logits[positive][:, 1:], first[positive], reduction="sum")
        losses["background"] = background / samples.loss_normalizer / 2
        losses["action"] = action / samples.positive_normalizer
    else:
        target = torch.where(positive, first + 1, 0)
        losses["action"] = (
            F.cross_entropy(logits, target, reduction="sum") / samples.loss_normalizer
        )
    return losses | {"action_boxes": boxes / samples.loss_normalizer}
