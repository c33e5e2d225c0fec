"""The balanced draw of positive and negative examples that Faster R-CNN trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .head import BOX_CODER

_NOWHERE = (-2.0, -2.0, -1.0, -1.0)
_COVERS = 0.5  # the least IoU of a box with a person that it covers


def sample(
    positive: Tensor, negative: Tensor, count: int, fraction: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Row numbers of at most `count` examples drawn, at most `fraction` of them positive.

    torchvision's BalancedPositiveNegativeSampler draws by the process's random state; here the seed
    alone decides, so that resumed and distributed runs draw the same.

    Args:
        positive, negative: (R,) bool.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(mask: Tensor, most: int) -> Tensor:
        rows = torch.nonzero(mask)[:, 0]
        return rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]

    chosen = draw(positive, int(count * fraction))
    return chosen, draw(negative, count - len(chosen))


class SeededSampler:
    """`sample` as torchvision's RegionProposalNetwork calls its sampler.

    Attributes:
        seeds: one for each picture of the next call.
        share: of the examples asked for in the last call, or of those there are, how many it drew.
    """

    def __init__(self, count: int, fraction: float) -> None:
        self.count, self.fraction = count, fraction
        self.seeds: Sequence[int] = ()
        self.share = 1.0

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per picture (anchors,) masks of positives and negatives; labels are 1, 0 or ignored."""
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        drawn = 0
        for one, seed in zip(labels, self.seeds, strict=True):
            pair = sample(one >= 1, one == 0, self.count, self.fraction, seed)
            for masks, rows in zip(chosen, pair):
                mask = torch.zeros_like(one, dtype=torch.uint8)
                mask[rows] = 1
                masks.append(mask)
                drawn += len(rows)
        self.share = drawn / sum(min(self.count, len(one)) for one in labels)
        return chosen


@dataclass(frozen=True)
class RoiSamples:
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


def sample_rois(
    proposals: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    seeds: Sequence[int],
    *,
    count: int = 64,
    positives: float = 0.5,
) -> RoiSamples:
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
    return RoiSamples(
        boxes=joined[0], key=joined[1], labels=joined[2], deltas=joined[3], truth=joined[4], of=of,
        of_covered=positives * of,
    )  # fmt: skip


def jitter_boxes(boxes: Tensor, seed: int, copies: int = 8) -> Tensor:
    """Proposals made of the ground truth, to see what a detector would do with good ones.

    Args:
        boxes: (G, 4).
        seed: decides the draw.
        copies: of each box, whose sides move by at most a quarter of its width and height.

    Returns:
        (G · copies, 4).
    """
    generator = torch.Generator().manual_seed(seed)
    moves = torch.rand(copies, len(boxes), 4, generator=generator) * 2 - 1
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return (boxes + 0.25 * moves.to(boxes) * size).flatten(0, 1)
