"""The action head: what is done in each box, and where the box should be.

After the paper's section on detection and AVA (Gu et al. 2018, section 5): features of all time
steps are pooled in the proposal's box, averaged over time, classified, and the box refined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from ..backbones.inception import Grid
from ..backbones.layers import mean_over_time
from .roi import roi_align_3d, window_starts
from .sampling import sample

_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))  # Fast R-CNN's weights of the regression targets
_NARROW = 64  # channels that boxes are refined from


class TemporalMean(nn.Module):
    """Pools the mean of the window's time steps for the scores, and its middle step for the boxes.

    Two fully connected layers each (Fast R-CNN). Who moves is somewhere else in every time step, so
    that where he is on the key frame is seen in the middle one. The mean of the poolings is the
    pooling of the mean, which costs a fifth with five steps.

    Args:
        channels: of the feature map.
        hidden: of each layer.
        size: cells of the pooled features along each side of the box.
        norm: with batch norms, without which a detector learns slowly from new weights.
    """

    def __init__(self, channels: int, hidden: int, size: int = 7, norm: bool = False) -> None:
        super().__init__()
        self.layers = _two_layers(channels, hidden, size, norm)
        self.box_layers = _two_layers(channels, hidden, size, norm)
        self.size, self.out_channels, self.box_channels = size, hidden, hidden

    def forward(
        self, maps: Tensor, grid: Grid, boxes: Tensor, clip: Tensor, key_frames: Tensor, window: int
    ) -> tuple[Tensor, Tensor]:
        """See `ActionHead.forward`.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """
        starts = window_starts(key_frames, grid, window, maps.shape[2])
        means = mean_over_time(maps, window)
        pooled = roi_align_3d(means, boxes, clip, grid, self.size, starts[:, None])
        middle = roi_align_3d(maps, boxes, clip, grid, self.size, starts[:, None] + window // 2)
        return self.layers(pooled[:, :, 0]), self.box_layers(middle[:, :, 0])


def _two_layers(channels: int, hidden: int, size: int, norm: bool) -> nn.Sequential:
    layers = nn.Sequential(nn.BatchNorm2d(channels) if norm else nn.Identity())
    layers.append(nn.Flatten(1))
    for width in (channels * size**2, hidden):
        layers.append(nn.Linear(width, hidden, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU(inplace=True))
    return layers


class RemainingBlocks(nn.Module):
    """Pools every time step of the window, and puts it through the trunk's remaining blocks.

    What is done is named by their mean over time and space. Where, is seen in the middle time step
    before the blocks: behind them a box's edges are lost (of I3D's Kinetics features on eight clips
    of UCF101-24, linear layers refined boxes of IoU 0.62 to 0.80 before the blocks, and to none
    better behind them).

    Args:
        blocks: of `inception.cut`, (R, C, W, 7, 7) to (R, C', W', S', S').
        channels: C.
        out_channels: C'.
        size: cells of the pooled features along each side of the box.
        hidden: features for the boxes.
    """

    def __init__(
        self, blocks: nn.Module, channels: int, out_channels: int, size: int = 7, hidden: int = 256
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.box_layers = nn.Sequential(
            nn.Conv2d(channels, _NARROW, 1), nn.ReLU(inplace=True), nn.Flatten(1),
            nn.Linear(_NARROW * size**2, hidden), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.size, self.out_channels, self.box_channels = size, out_channels, hidden

    def forward(
        self, maps: Tensor, grid: Grid, boxes: Tensor, clip: Tensor, key_frames: Tensor, window: int
    ) -> tuple[Tensor, Tensor]:
        """See `ActionHead.forward`.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """
        count = boxes.shape[0]  # len() would be a constant in `torch.export`
        if not count:
            # The blocks need one, and all weights a gradient, which other processes wait for.
            boxes, clip, key_frames = (
                boxes.new_zeros(1, 4),
                clip.new_zeros(1),
                key_frames.new_zeros(1),
            )
        starts = window_starts(key_frames, grid, window, maps.shape[2])
        steps = starts[:, None] + torch.arange(window, device=starts.device)
        pooled = roi_align_3d(maps, boxes, clip, grid, self.size, steps)
        pooled = pooled.contiguous(memory_format=torch.channels_last_3d)
        for_boxes = self.box_layers(pooled[:, :, window // 2])
        return self.blocks(pooled).mean((2, 3, 4))[:count], for_boxes[:count]


@contextmanager
def _settled_norms(module: nn.Module) -> Iterator[None]:
    """Batch norms by their running statistics: no box has no mean, and one has no spread.

    Those that processes share go on, for there are other processes' boxes.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [norm for norm in module.modules() if isinstance(norm, kinds) and norm.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


class ActionHead(nn.Module):
    """Class scores and refined boxes of proposals.

    Args:
        features: `TemporalMean` or `RemainingBlocks`.
        classes: number of classes, without background.
        multi_label: a sigmoid for each class (AVA: several labels a person) instead of one softmax
            over the classes and background (JHMDB, UCF101-24).
        own_background: a sigmoid says whether the box holds an action at all, by the features of
            the scores and of the boxes, and a softmax over the classes which it would be (as YOLO's
            objectness, Redmon et al. 2016). In one softmax the many proposals of the background
            decide what a network with new weights learns first: on the demo's figures, after 100
            steps, 71 % of true boxes got their class, not 30 %.
        per_class_boxes: a refined box for each class instead of one for all.
        dropout: of the features that scores are made of.
    """

    def __init__(
        self,
        features: TemporalMean | RemainingBlocks,
        classes: int,
        *,
        multi_label: bool = False,
        own_background: bool = False,
        per_class_boxes: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = features
        self.classes, self.multi_label, self.own_background = classes, multi_label, own_background
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features.out_channels, classes + (not multi_label))
        self.deltas = nn.Linear(features.box_channels, 4 * (classes if per_class_boxes else 1))
        self.background = nn.Linear(features.box_channels, 1) if own_background else None
        # Fast R-CNN's: refinement starts from the proposals themselves.
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.zeros_(self.scores.bias)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)
        if self.background is not None:
            nn.init.normal_(self.background.weight, std=0.001)
            nn.init.zeros_(self.background.bias)

    def forward(
        self, maps: Tensor, grid: Grid, boxes: Tensor, clip: Tensor, key_frames: Tensor, window: int
    ) -> tuple[Tensor, Tensor]:
        """Logits and box deltas of R proposals.

        Args:
            maps: (N, C, T', H', W') feature maps of N clips.
            grid: of the maps.
            boxes: (R, 4) x1 y1 x2 y2 in pixels of the clip.
            clip: (R,) which clip each lies in.
            key_frames: (R,) which frame of that clip each lies in.
            window: time steps pooled around the key frame; fewer where the map has fewer.

        Returns:
            (R, classes + 1), background first, or (R, classes) with `multi_label`; and (R, 1, 4) or
            (R, classes, 4).
        """
        window = min(window, maps.shape[2])
        with _settled_norms(self.features if self.training and len(boxes) < 2 else nn.Identity()):
            return self.judge(*self.features(maps, grid, boxes, clip, key_frames, window))

    def judge(self, for_scores: Tensor, for_boxes: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` returns, from what `features` does."""
        logits = self.scores(self.dropout(for_scores)).float()
        if self.background is not None:
            whether, which = logits.split([1, self.classes], dim=1)
            logits = torch.cat([whether + self.background(for_boxes).float(), which], dim=1)
        return logits, self.deltas(for_boxes).float().unflatten(1, (-1, 4))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(R, classes) from what `forward` returns."""
        if self.multi_label:
            return logits.sigmoid()
        if self.own_background:
            return logits[:, :1].neg().sigmoid() * logits[:, 1:].softmax(dim=1)
        return logits.softmax(dim=1)[:, 1:]


@dataclass(frozen=True)
class Examples:
    """Proposals that the head is trained on, of all key frames one after the other.

    Attributes:
        boxes: (R, 4) in pixels of the clip.
        key: (R,) which key frame each lies in.
        labels: (R, classes) one or several 1s; all 0 on background.
        deltas: (R, 4) regression targets; 0 on background.
        of: number of examples that the losses are divided by.
        of_covered: the same for a loss of those that cover a ground truth box alone.
    """

    boxes: Tensor
    key: Tensor
    labels: Tensor
    deltas: Tensor
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
    iou: float = 0.5,
) -> Examples:
    """Matches the proposals of K key frames with their ground truth, and draws some of them.

    Args:
        proposals: K times (P, 4) in pixels of the clip; ground truth joins them.
        boxes, labels: K times (G, 4) and (G, classes), where G may be 0.
        seeds: K, so that the draw depends on nothing else.
        count: proposals drawn for each key frame, as many as there are.
        positives: the largest share of those that cover a ground truth box.
        iou: the least overlap of those.
    """
    matcher = Matcher(iou, iou)
    chosen_boxes, chosen_key, chosen_labels, chosen_deltas = [], [], [], []
    for key, (found, truth, classes, seed) in enumerate(zip(proposals, boxes, labels, seeds)):
        candidates = torch.cat([found.to(truth), truth])
        if len(truth):
            match = matcher(box_iou(truth, candidates))
        else:
            match = candidates.new_full((len(candidates),), -1, dtype=torch.int64)
        rows = torch.cat(sample(match >= 0, match < 0, count, positives, seed))
        covered = match[rows] >= 0
        target = match[rows].clamp(min=0)
        known = classes[target] if len(truth) else classes.new_zeros(len(rows), classes.shape[1])
        deltas = candidates.new_zeros(len(rows), 4)
        if covered.any():
            deltas[covered] = _CODER.encode_single(
                truth[target[covered]], candidates[rows][covered]
            )
        chosen_boxes.append(candidates[rows])
        chosen_key.append(rows.new_full((len(rows),), key))
        chosen_labels.append(known * covered[:, None])
        chosen_deltas.append(deltas)
    return Examples(
        torch.cat(chosen_boxes), torch.cat(chosen_key), torch.cat(chosen_labels),
        torch.cat(chosen_deltas), count * len(proposals), positives * count * len(proposals),
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
        truth = 1 - covered.to(logits)
        background = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="sum")
        action = F.cross_entropy(logits[covered][:, 1:], first[covered], reduction="sum")
        losses["background"] = background / examples.of / 2
        losses["action"] = action / examples.of_covered
    else:
        target = torch.where(covered, first + 1, 0)
        losses["action"] = F.cross_entropy(logits, target, reduction="sum") / examples.of
    return losses | {"action_boxes": boxes / examples.of}


@dataclass(frozen=True)
class Found:
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


def choose_found(
    probabilities: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    key: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.01,
    nms_iou: float = 0.5,
    most: int = 100,
) -> Found:
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
    refined = refine(deltas, proposals, size)
    return keep_best(probabilities, refined, key, threshold=threshold, nms_iou=nms_iou, most=most)


def refine(deltas: Tensor, proposals: Tensor, size: tuple[int, int]) -> Tensor:
    """Proposals moved by their deltas and cut at the picture's edges; see `choose_found`.

    Returns:
        (R, 1, 4) or (R, classes, 4) in pixels of the clip.
    """
    refined = _CODER.decode_single(deltas.flatten(1), proposals).unflatten(1, (-1, 4))
    return clip_boxes_to_image(refined, size)


def keep_best(
    probabilities: Tensor,
    boxes: Tensor,
    key: Tensor,
    *,
    threshold: float = 0.01,
    nms_iou: float = 0.5,
    most: int = 100,
) -> Found:
    """The best boxes of each class where they overlap, of boxes that are refined already.

    Args:
        boxes: (R, 1, 4) or (R, classes, 4) of `refine`.
        probabilities, key, threshold, nms_iou, most: see `choose_found`.
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
    return Found(key[row][kept], label[kept], score[kept], chosen[kept])
