"""What the action head is trained on: proposals matched with the ground truth, and its losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from .head import BOX_CODER
from .sampling import _COVERS, RoiSamples


def action_losses(
    logits: Tensor,
    deltas: Tensor,
    examples: RoiSamples,
    *,
    multi_label: bool = False,
    separate_background: bool = False,
) -> dict[str, Tensor]:
    """The head's losses, as Fast R-CNN's: action and action_boxes.

    Divided by the number of examples asked for, not found, so that the mean over processes is the
    loss of all their clips in one.

    Args:
        logits, deltas: of `ActionHead`.
        examples: of `sample_rois`.
        multi_label, separate_background: of the head. Where background has a sigmoid of its own
            there is a third loss, background, at half weight, and action is over covered examples
            alone. That sigmoid learns how well the refined box covers a person, by its IoU, where
            that is 0.5 or more (as YOLO's objectness, Redmon et al. 2016, section 2.2), so that the
            best placed of a person's boxes scores highest; it moves no box.
    """
    labels, covered = examples.labels, examples.labels.any(dim=1)
    # With a box a class, the one of the (first) true class learns.
    first = labels.argmax(dim=1)
    which = first if deltas.shape[1] > 1 else torch.zeros_like(examples.key)
    refined = deltas[torch.arange(len(deltas), device=deltas.device), which]
    boxes = F.smooth_l1_loss(
        refined[covered], examples.deltas[covered], beta=1 / 9, reduction="sum"
    )
    losses: dict[str, Tensor] = {}
    if multi_label:
        per_class = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        losses["action"] = per_class.sum() / labels.shape[1] / examples.of
    elif separate_background:
        placed = BOX_CODER.decode_single(refined.detach(), examples.boxes)
        overlap = box_iou(placed, examples.truth).diagonal().to(logits)
        truth = 1 - overlap * (overlap >= _COVERS)
        background = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="sum")
        action = F.cross_entropy(logits[covered][:, 1:], first[covered], reduction="sum")
        losses["background"] = background / examples.of / 2
        losses["action"] = action / examples.of_covered
    else:
        target = torch.where(covered, first + 1, 0)
        losses["action"] = F.cross_entropy(logits, target, reduction="sum") / examples.of
    return losses | {"action_boxes": boxes / examples.of}
