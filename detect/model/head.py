"""The action head: class scores and a refined box for each proposal.

After the paper's section on detection and AVA (Gu et al. 2018, section 5): features of all time
steps are pooled in the proposal's box, averaged over time and classified, and the box is refined.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from ...backbones.grid import FeatureGrid
from ...backbones.layers import temporal_average_pool
from .roi_align import Rois, roi_align_3d, roi_align_at, window_starts

BOX_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Converts boxes into deltas and back: Fast R-CNN's regression targets with its weights."""
_BOX_CHANNELS, _NORM_GROUPS = 64, 8  # of the convolution that boxes are refined from


class MeanPoolFeatures(nn.Module):
    """Pools the mean of the window's time steps for the scores, and the key frame for the boxes.

    Each is followed by two fully connected layers (Fast R-CNN). A person who moves is at another
    place in every time step, so that only the key frame shows the place that the box needs. The
    mean of the poolings is the pooling of the mean, which costs a fifth with five steps.

    Args:
        channels: of the feature map.
        hidden: units of each layer.
        size: cells of the pooled features along each side of the box.
        norm: adds batch norms, without which a detector learns slowly from new weights.
    """

    def __init__(self, channels: int, hidden: int, *, size: int = 7, norm: bool = False) -> None:
        super().__init__()
        self.layers = _two_layers(channels, hidden, size, norm)
        self.box_layers = _two_layers(channels, hidden, size, norm)
        self.size, self.out_channels, self.box_channels = size, hidden, hidden

    def forward(
        self, features: Tensor, grid: FeatureGrid, rois: Rois, window: int
    ) -> tuple[Tensor, Tensor]:
        """See `ActionHead.forward`.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """
        steps = window_starts(rois.key_frames, grid, window, features.shape[2])[:, None]
        means = temporal_average_pool(features, window)
        pooled = roi_align_3d(means, rois.boxes, rois.clip_index, grid, self.size, steps)
        pooled_at_key = roi_align_at(features, grid, rois, self.size)
        return self.layers(pooled[:, :, 0]), self.box_layers(pooled_at_key)


def _two_layers(channels: int, hidden: int, size: int, norm: bool) -> nn.Sequential:
    layers = nn.Sequential(nn.BatchNorm2d(channels) if norm else nn.Identity())
    layers.append(nn.Flatten(1))
    for inputs in (channels * size**2, hidden):
        layers.append(nn.Linear(inputs, hidden, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU(inplace=True))
    return layers


class TrunkBlockFeatures(nn.Module):
    """Pools every time step of the window, and applies the trunk's remaining blocks.

    Scores are computed from the mean of the blocks' output over time and space, boxes from the key
    frame before the blocks, whose output no longer shows a box's edges: from I3D's Kinetics
    features on eight clips of UCF101-24, linear layers refined boxes of IoU 0.62 to 0.80 before the
    blocks, and did not improve them after.

    Args:
        blocks: of `Backbone.truncate`, (R, C, W, size, size) → (R, C', W', S', S').
        channels: C.
        out_channels: C'.
        size: cells of the pooled features along each side of the box.
        hidden: features for the boxes.
    """

    def __init__(
        self,
        blocks: nn.Module,
        channels: int,
        out_channels: int,
        *,
        size: int = 7,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.box_layers = nn.Sequential(
            nn.Conv2d(channels, _BOX_CHANNELS, 1), nn.GroupNorm(_NORM_GROUPS, _BOX_CHANNELS),
            nn.ReLU(inplace=True), nn.Flatten(1), nn.Linear(_BOX_CHANNELS * size**2, hidden),
            nn.ReLU(inplace=True),
        )  # fmt: skip
        self.size, self.out_channels, self.box_channels = size, out_channels, hidden

    def forward(
        self, features: Tensor, grid: FeatureGrid, rois: Rois, window: int
    ) -> tuple[Tensor, Tensor]:
        """See `ActionHead.forward`.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """
        count = rois.boxes.shape[0]  # len() would be a constant in `torch.export`
        if not count:
            # The blocks need a box, and other processes wait for a gradient of all weights.
            rois = Rois(*(column.new_zeros(1, *column.shape[1:]) for column in rois))
        starts = window_starts(rois.key_frames, grid, window, features.shape[2])
        steps = starts[:, None] + torch.arange(window, device=starts.device)
        pooled = roi_align_3d(features, rois.boxes, rois.clip_index, grid, self.size, steps)
        pooled = pooled.contiguous(memory_format=torch.channels_last_3d)
        box_features = self.box_layers(roi_align_at(features, grid, rois, self.size))
        return self.blocks(pooled).mean((2, 3, 4))[:count], box_features[:count]


@contextmanager
def _norms_in_evaluation(module: nn.Module) -> Iterator[None]:
    """Batch norms use their running statistics: fewer than two boxes have no variance.

    Synchronized batch norms do not change, as other processes have boxes, too.
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
        features: pools the boxes' features.
        classes: number of classes, without background.
        multi_label: a sigmoid for each class (AVA: several labels a person) instead of one softmax
            over the classes and background (JHMDB, UCF101-24).
        separate_background: a sigmoid for whether the box contains an action at all, from the
            features for scores and for boxes, and a softmax over the classes for which one (as
            YOLO's objectness, Redmon et al. 2016). In a single softmax the many background
            proposals dominate what a network with new weights learns first: on the demo's figures,
            after 100 steps, 71 % of true boxes got their class instead of 30 %.
        per_class_boxes: a refined box for each class instead of one for all.
        dropout: probability of dropping a feature for the scores.
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
        self.classes, self.multi_label = classes, multi_label
        self.separate_background = separate_background
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features.out_channels, classes + (not multi_label))
        self.deltas = nn.Linear(features.box_channels, 4 * (classes if per_class_boxes else 1))
        self.background = nn.Linear(features.box_channels, 1) if separate_background else None
        # As Fast R-CNN: at first refined boxes are the proposals, nearly.
        for layer, std in ((self.scores, 0.01), (self.deltas, 0.001), (self.background, 0.001)):
            if layer is not None:
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(
        self, features: Tensor, grid: FeatureGrid, rois: Rois, window: int
    ) -> tuple[Tensor, Tensor]:
        """Logits and box deltas of R proposals.

        Args:
            features: (N, C, T', H', W') feature maps of N clips.
            grid: of the feature maps.
            rois: the proposals.
            window: time steps pooled around the key frame; fewer where the map has fewer.

        Returns:
            Logits (R, classes + 1), background first, or (R, classes) with `multi_label`; and box
            deltas (R, 1, 4) or (R, classes, 4), see `BOX_CODER`.
        """
        window = min(window, features.shape[2])
        few_boxes = self.training and len(rois.boxes) < 2
        with _norms_in_evaluation(self.features) if few_boxes else nullcontext():
            score_features, box_features = self.features(features, grid, rois, window)
        logits = self.scores(self.dropout(score_features)).float()
        if self.background is not None:
            background, classes = logits.split([1, self.classes], dim=1)
            background = background + self.background(box_features).float()
            logits = torch.cat([background, classes], dim=1)
        return logits, self.deltas(box_features).float().unflatten(1, (-1, 4))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(R, classes) from the logits that `forward` returns."""
        if self.multi_label:
            return logits.sigmoid()
        if self.separate_background:
            return logits[:, :1].neg().sigmoid() * logits[:, 1:].softmax(dim=1)
        return logits.softmax(dim=1)[:, 1:]
