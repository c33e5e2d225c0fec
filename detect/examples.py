"""What the action head is trained on: proposals matched with the ground truth, and its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from .action_head import BOX_CODER
from .sampling import sample

_NOWHERE = (-2.0, -2.0, -1.0, -1.0)
_COVERS = 0.5  # the least IoU of a box with a person that it covers


@dataclass(frozen=True)
class Examples:
    """Proposals that the head is trained on, of all key frames one after the other.

    Attributes:
        boxes: (R, 4) in pixels of the clip.
        key: (R,) which key frame each lies in.
        labels: (R, classes) one or several 1s; all 0 on background.
        deltas: (R, 4) regression targets; 0 on background.
        truth: (R, 4) the ground truth box that each overlaps best; on a key frame without any, one
            outside the picture.
        of: number of examples that the losses are divided by.
        of_covered: the same for a loss of those that cover a ground truth box alone.
    """

    boxes: Tensor
    key: Tensor
    labels: Tensor
    deltas: Tensor
    truth: Tensor
    of: int
    of_covered: float


def choose_examples(
    proposals: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    seeds: Sequence[int],
    *,
    count: int = 64,
    positives: float = 0.5,
) -> Examples:
    """Matches the proposals of K key frames with their ground truth, and draws some of them.

    Args:
        proposals: K times (P, 4) in pixels of the clip; ground truth joins them.
        boxes, labels: K times (G, 4) and (G, classes), where G may be 0.
        seeds: K, so that the draw depends on nothing else.
        count: proposals drawn for each key frame, as many as there are.
        positives: the largest share of those that cover a ground truth box.
    """
    columns: list[list[Tensor]] = []
    for key, (found, truth, classes, seed) in enumerate(zip(proposals, boxes, labels, seeds)):
        candidates = torch.cat([found.to(truth), truth])
        if not len(truth):
            truth, classes = truth.new_tensor([_NOWHERE]), classes.new_zeros(1, classes.shape[1])
        overlap, best = box_iou(truth, candidates).max(dim=0)
        covers = overlap >= _COVERS
        rows = torch.cat(sample(covers, overlap < _COVERS, count, positives, seed))
        own, target, covered = candidates[rows], truth[best[rows]], covers[rows]
        deltas = torch.zeros_like(own)
        deltas[covered] = BOX_CODER.encode_single(target[covered], own[covered])
        known = classes[best[rows]] * covered[:, None]
        columns.append([own, rows.new_full((len(rows),), key), known, deltas, target])
    joined = [torch.cat(column) for column in zip(*columns)]
    of = count * len(proposals)
    return Examples(
        boxes=joined[0], key=joined[1], labels=joined[2], deltas=joined[3], truth=joined[4], of=of,
        of_covered=positives * of,
    )  # fmt: skip


def action_losses(
    logits: Tensor,
    deltas: Tensor,
    examples: Examples,
    *,
    multi_label: bool = False,
    own_background: bool = False,
) -> dict[str, Tensor]:
    """The head's losses, as Fast R-CNN's: action and action_boxes.

    Divided by the number of examples asked for, not found, so that the mean over processes is the
    loss of all their clips in one.

    Args:
        logits, deltas: of `ActionHead`.
        examples: of `choose_examples`.
        multi_label, own_background: of the head. Where background has a sigmoid of its own there is
            a third loss, background, at half weight, and action is over covered examples alone.
            That sigmoid learns how well the refined box covers a person, by its IoU, where that
            is 0.5 or more (as YOLO's objectness, Redmon et al. 2016, section 2.2), so that the best
            placed of a person's boxes scores highest; it moves no box.
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
    elif own_background:
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
