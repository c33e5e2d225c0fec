"""Faster R-CNN's balanced sampling of positive and negative anchors and proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .head import BOX_CODER

POSITIVE_IOU = 0.5
"""The least IoU of a positive proposal with a ground truth box."""
_OUTSIDE_BOX = (-2.0, -2.0, -1.0, -1.0)  # overlaps no proposal


def sample_balanced(
    positive: Tensor, negative: Tensor, count: int, fraction: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Draws at most `count` rows, at most `fraction` of them positive.

    torchvision's BalancedPositiveNegativeSampler depends on the process's random state; this draw
    depends on the seed alone, so that resumed and distributed runs draw the same.

    Args:
        positive, negative: (R,) bool.

    Returns:
        Indices of the positive and of the negative rows drawn, int64.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(mask: Tensor, limit: int) -> Tensor:
        rows = torch.nonzero(mask)[:, 0]
        return rows[torch.randperm(len(rows), generator=generator)[:limit].to(rows.device)]

    chosen = draw(positive, int(count * fraction))
    return chosen, draw(negative, count - len(chosen))


class SeededSampler:
    """`sample_balanced` with the interface of the sampler in torchvision's RegionProposalNetwork.

    Attributes:
        seeds: one for each image of the next call.
        share: samples drawn in the last call, as a share of `count` or of all anchors if fewer.
    """

    def __init__(self, count: int, fraction: float) -> None:
        self.count, self.fraction = count, fraction
        self.seeds: Sequence[int] = ()
        self.share = 1.0

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the sampled positive and negative anchors, each (anchors,) for every image.

        Args:
            labels: for every image (anchors,): 1 is positive, 0 negative, others are ignored.
        """
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        drawn = 0
        for one, seed in zip(labels, self.seeds, strict=True):
            pair = sample_balanced(one >= 1, one == 0, self.count, self.fraction, seed)
            for masks, rows in zip(chosen, pair):
                mask = torch.zeros_like(one, dtype=torch.uint8)
                mask[rows] = 1
                masks.append(mask)
                drawn += len(rows)
        self.share = drawn / sum(min(self.count, len(one)) for one in labels)
        return chosen


@dataclass(frozen=True)
class RoiSamples:
    """The R proposals that the head is trained on, of all key frames in order.

    Attributes:
        boxes: (R, 4) in pixels of the clip.
        key_frame_index: (R,) int64, the key frame of each.
        labels: (R, classes) one or several 1s; all 0 for background.
        deltas: (R, 4) regression targets, see `head.BOX_CODER`; 0 for background.
        target_boxes: (R, 4) the ground truth box of greatest IoU; on a key frame without any, a box
            outside the frame.
        loss_normalizer: number of samples that the losses are divided by.
        positive_normalizer: the same for losses of positive samples only.
    """

    boxes: Tensor
    key_frame_index: Tensor
    labels: Tensor
    deltas: Tensor
    target_boxes: Tensor
    loss_normalizer: int
    positive_normalizer: float


def sample_rois(
    proposals: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    seeds: Sequence[int],
    *,
    count: int = 64,
    positive_fraction: float = 0.5,
) -> RoiSamples:
    """Matches the proposals of K key frames with their ground truth, and samples some of them.

    Args:
        proposals: K times (P, 4) in pixels of the clip; the ground truth boxes are added to them.
        boxes, labels: K times (G, 4) and (G, classes), where G may be 0.
        seeds: K integers that decide the draws.
        count: samples of each key frame; fewer where there are fewer proposals.
        positive_fraction: the greatest share of positive samples.
    """
    columns: list[list[Tensor]] = []
    for index, (proposed, truth, classes, seed) in enumerate(zip(proposals, boxes, labels, seeds)):
        candidates = torch.cat([proposed.to(truth), truth])
        if not len(truth):
            truth = truth.new_tensor([_OUTSIDE_BOX])
            classes = classes.new_zeros(1, classes.shape[1])
        iou, best = box_iou(truth, candidates).max(dim=0)
        is_positive = iou >= POSITIVE_IOU
        rows = torch.cat(
            sample_balanced(is_positive, iou < POSITIVE_IOU, count, positive_fraction, seed)
        )
        chosen, target, positive = candidates[rows], truth[best[rows]], is_positive[rows]
        deltas = torch.zeros_like(chosen)
        deltas[positive] = BOX_CODER.encode_single(target[positive], chosen[positive])
        chosen_labels = classes[best[rows]] * positive[:, None]
        columns.append([chosen, rows.new_full((len(rows),), index), chosen_labels, deltas, target])
    all_boxes, key_frame_index, all_labels, deltas, targets = map(torch.cat, zip(*columns))
    normalizer = count * len(proposals)
    return RoiSamples(
        boxes=all_boxes, key_frame_index=key_frame_index, labels=all_labels, deltas=deltas,
        target_boxes=targets, loss_normalizer=normalizer,
        positive_normalizer=positive_fraction * normalizer,
    )  # fmt: skip


def jitter_boxes(boxes: Tensor, seed: int, copies: int = 8) -> Tensor:
    """Proposals near the ground truth: copies whose sides are moved at random.

    Args:
        boxes: (G, 4) x1 y1 x2 y2.
        seed: decides the draw.
        copies: of each box; sides move by at most a quarter of its width and height.

    Returns:
        (copies · G, 4).
    """
    generator = torch.Generator().manual_seed(seed)
    moves = torch.rand(copies, len(boxes), 4, generator=generator) * 2 - 1
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return (boxes + 0.25 * moves.to(boxes) * size).flatten(0, 1)
