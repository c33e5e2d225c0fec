"""The action head: what is done in each box, and where the box should be.

After the paper's section on detection and AVA (Gu et al. 2018, section 5): features of all time
steps are pooled in the proposal's box, averaged over time, classified, and the box refined.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from ...backbones.grid import FeatureGrid
from ...backbones.layers import temporal_average_pool
from .roi_align import roi_align_3d, roi_align_at, window_starts

BOX_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""What the deltas of boxes mean: Fast R-CNN's regression targets with its weights."""
_NARROW, _GROUPS = 64, 8  # channels that boxes are refined from, and groups that share a norm


class MeanPoolFeatures(nn.Module):
    """Pools the mean of the window's time steps for the scores, and the key frame for the boxes.

    Two fully connected layers each (Fast R-CNN). Who moves is somewhere else in every time step, so
    that where he is on the key frame is seen there alone. The mean of the poolings is the pooling
    of the mean, which costs a fifth with five steps.

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
        self,
        maps: Tensor,
        grid: FeatureGrid,
        boxes: Tensor,
        clip: Tensor,
        key_frames: Tensor,
        window: int,
    ) -> tuple[Tensor, Tensor]:
        """See `ActionHead.forward`.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """
        starts = window_starts(key_frames, grid, window, maps.shape[2])
        means = temporal_average_pool(maps, window)
        pooled = roi_align_3d(means, boxes, clip, grid, self.size, starts[:, None])
        on_key_frames = roi_align_at(maps, boxes, clip, grid, self.size, key_frames)
        return self.layers(pooled[:, :, 0]), self.box_layers(on_key_frames)


def _two_layers(channels: int, hidden: int, size: int, norm: bool) -> nn.Sequential:
    layers = nn.Sequential(nn.BatchNorm2d(channels) if norm else nn.Identity())
    layers.append(nn.Flatten(1))
    for width in (channels * size**2, hidden):
        layers.append(nn.Linear(width, hidden, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU(inplace=True))
    return layers


class TrunkBlockFeatures(nn.Module):
    """Pools every time step of the window, and puts it through the trunk's remaining blocks.

    What is done is named by their mean over time and space. Where, is seen on the key frame before
    the blocks: behind them a box's edges are lost (of I3D's Kinetics features on eight clips
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
            nn.Conv2d(channels, _NARROW, 1), nn.GroupNorm(_GROUPS, _NARROW),
            nn.ReLU(inplace=True), nn.Flatten(1), nn.Linear(_NARROW * size**2, hidden),
            nn.ReLU(inplace=True),
        )  # fmt: skip
        self.size, self.out_channels, self.box_channels = size, out_channels, hidden

    def forward(
        self,
        maps: Tensor,
        grid: FeatureGrid,
        boxes: Tensor,
        clip: Tensor,
        key_frames: Tensor,
        window: int,
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
        on_key_frames = roi_align_at(maps, boxes, clip, grid, self.size, key_frames)
        for_boxes = self.box_layers(on_key_frames)
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
        features: `MeanPoolFeatures` or `TrunkBlockFeatures`.
        classes: number of classes, without background.
        multi_label: a sigmoid for each class (AVA: several labels a person) instead of one softmax
            over the classes and background (JHMDB, UCF101-24).
        separate_background: a sigmoid says whether the box holds an action at all, by the features
            of the scores and of the boxes, and a softmax over the classes which it would be (as
            YOLO's objectness, Redmon et al. 2016). In one softmax the many proposals of the
            background decide what a network with new weights learns first: on the demo's figures,
            after 100 steps, 71 % of true boxes got their class, not 30 %.
        per_class_boxes: a refined box for each class instead of one for all.
        dropout: of the features that scores are made of.
    """

    def __init__(
        self,
        features: MeanPoolFeatures | TrunkBlockFeatures,
        classes: int,
        *,
        multi_label: bool = False,
        separate_background: bool = False,
        per_class_boxes: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = features
        self.classes, self.multi_label, self.separate_background = (
            classes,
            multi_label,
            separate_background,
        )
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features.out_channels, classes + (not multi_label))
        self.deltas = nn.Linear(features.box_channels, 4 * (classes if per_class_boxes else 1))
        self.background = nn.Linear(features.box_channels, 1) if separate_background else None
        # Fast R-CNN's: refinement starts from the proposals themselves.
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.zeros_(self.scores.bias)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.deltas.bias)
        if self.background is not None:
            nn.init.normal_(self.background.weight, std=0.001)
            nn.init.zeros_(self.background.bias)

    def forward(
        self,
        maps: Tensor,
        grid: FeatureGrid,
        boxes: Tensor,
        clip: Tensor,
        key_frames: Tensor,
        window: int,
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
        if self.separate_background:
            return logits[:, :1].neg().sigmoid() * logits[:, 1:].softmax(dim=1)
        return logits.softmax(dim=1)[:, 1:]
