"""The first part of the action head: features of boxes, pooled in the trunk's feature maps.

All of them look at a window of time steps around the key frame for the class, and at the key frame
alone for the box: a person who moves is at another place in every time step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...backbones.grid import FeatureGrid
from ...backbones.layers import conv3d, temporal_average_pool
from .roi_align import Rois, roi_align_3d, roi_align_at, scale_boxes, window_starts

_BOX_CHANNELS, _NORM_GROUPS = 64, 8  # of the convolution that the mixed head refines boxes from
_FINE_CHANNELS, _FINE_CONTEXT = 32, 1.25  # of the finer map; width and height pooled, in boxes
_NO_PADDING = ((0, 0), (0, 0), (0, 0))


class FeatureMap(NamedTuple):
    """A feature map of N clips, as the head needs it.

    Attributes:
        features: (N, C, T', H', W').
        grid: where its cells lie.
        window: time steps around a key frame that are used, at most T'.
    """

    features: Tensor
    grid: FeatureGrid
    window: int


class RoiFeatures(Protocol):
    """Features of boxes, a `torch.nn.Module`.

    Attributes:
        out_channels: number of features for the scores.
        box_channels: number of features for the boxes.
    """

    out_channels: int
    box_channels: int

    def modules(self) -> Iterator[nn.Module]: ...  # of torch.nn.Module, which is no protocol

    def __call__(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """Features of R boxes.

        Args:
            maps: of the head's endpoints: boxes use the first, classes the last.
            rois: the boxes.

        Returns:
            (R, out_channels) for the scores, and (R, box_channels) for the boxes.
        """


class MeanPoolFeatures(nn.Module):
    """Pools the mean of the window's time steps for the scores, and the key frame for the boxes.

    Each is followed by two fully connected layers (Fast R-CNN): the head of the paper. The mean of
    the poolings is the pooling of the mean, which costs a fifth with five steps.

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

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """See `RoiFeatures`."""
        (map_,) = maps
        pooled = _pool_window_mean(map_, rois, self.size)
        pooled_at_key = roi_align_at(map_.features, map_.grid, rois, self.size)
        return self.layers(pooled), self.box_layers(pooled_at_key)


def _pool_window_mean(map_: FeatureMap, rois: Rois, size: int) -> Tensor:
    """ROIAlign of the mean over the window's time steps: (R, C, size, size)."""
    features, grid, window = map_
    steps = window_starts(rois.key_frames, grid, window, features.shape[2])[:, None]
    means = temporal_average_pool(features, window)
    return roi_align_3d(means, rois.boxes, rois.clip_index, grid, size, steps)[:, :, 0]


def _two_layers(channels: int, hidden: int, size: int, norm: bool) -> nn.Sequential:
    layers = nn.Sequential(nn.BatchNorm2d(channels) if norm else nn.Identity())
    layers.append(nn.Flatten(1))
    for inputs in (channels * size**2, hidden):
        layers.append(nn.Linear(inputs, hidden, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU(inplace=True))
    return layers


class LightPoolFeatures(nn.Module):
    """As `MeanPoolFeatures`, from few channels, with one layer for each box.

    The idea of R-FCN (Dai et al. 2016) and Light-Head R-CNN (Li et al. 2017): what is computed once
    on the map is cheap, what is computed for each box is not. A 1x1 convolution reduces the map's
    channels before the poolings. It is linear, and so are the mean over time and ROIAlign: the
    result is that of pooling all channels first. Norm and ReLU follow the poolings.

    Args:
        channels: of the feature map.
        hidden: units of each layer.
        reduced: channels that are pooled for the scores; half as many are for the boxes, which need
            fewer: on the demo's figures 32 for both kept box losses and doubled class losses.
        size: cells of the pooled features along each side of the box.
        norm: batch norms, as in `MeanPoolFeatures`; else a group norm of the pooled features.
    """

    def __init__(
        self, channels: int, hidden: int, *, reduced: int, size: int = 7, norm: bool = False
    ) -> None:
        super().__init__()
        for_boxes = reduced // 2
        self.reduction = nn.Conv3d(channels, reduced + for_boxes, 1)
        self.layers = _one_layer(reduced, hidden, size, norm)
        self.box_layers = _one_layer(for_boxes, hidden, size, norm)
        self.split, self.size = (reduced, for_boxes), size
        self.out_channels, self.box_channels = hidden, hidden

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """See `RoiFeatures`."""
        (map_,) = maps
        weight, bias = self.reduction.weight, self.reduction.bias
        features = conv3d(map_.features, weight, bias, (1, 1, 1), _NO_PADDING)
        for_scores, for_boxes = features.split(self.split, dim=1)
        pooled = _pool_window_mean(map_._replace(features=for_scores), rois, self.size)
        pooled_at_key = roi_align_at(for_boxes, map_.grid, rois, self.size)
        return self.layers(pooled), self.box_layers(pooled_at_key)


def _one_layer(channels: int, hidden: int, size: int, norm: bool) -> nn.Sequential:
    pooled_norm = (
        nn.BatchNorm2d(channels)
        if norm
        else nn.GroupNorm(math.gcd(_NORM_GROUPS, channels), channels)
    )
    layers = nn.Sequential(pooled_norm, nn.ReLU(inplace=True), nn.Flatten(1))
    layers.append(nn.Linear(channels * size**2, hidden, bias=not norm))
    if norm:
        layers.append(nn.BatchNorm1d(hidden))
    return layers.append(nn.ReLU(inplace=True))


class FineBoxFeatures(nn.Module):
    """Adds features of an earlier, finer map to those for the boxes.

    A box's edges are known to a fraction of a cell, so that stride 4 finds them better than stride
    8 or 16; what the edges belong to, the coarser map knows. The fine map is pooled around the box,
    too, where the edges are if the proposal is too small. A 1x1 convolution reduces its channels
    and finds the key frame between two time steps: linear interpolation alone would show limbs
    where they were before and are afterwards.

    Args:
        features: of the other maps.
        channels: of the fine map.
        hidden: features for the boxes.
        size: cells of the fine map's pooled features along each side of the box.
        norm: batch norms, as in `MeanPoolFeatures`; else a group norm of the pooled features.
    """

    def __init__(
        self, features: RoiFeatures, channels: int, hidden: int, *, size: int, norm: bool
    ) -> None:
        super().__init__()
        self.features = features
        self.reduction = nn.Conv2d(3 * channels, _FINE_CHANNELS, 1, bias=False)
        self.layers = _one_layer(_FINE_CHANNELS, hidden, size, norm)
        self.joint = nn.Sequential(
            nn.Linear(features.box_channels + hidden, hidden, bias=not norm),
            nn.BatchNorm1d(hidden) if norm else nn.Identity(), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.size, self.out_channels, self.box_channels = size, features.out_channels, hidden

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """See `RoiFeatures`; the first map is the fine one."""
        fine, *others = maps
        score_features, box_features = self.features(others, rois)
        around = rois._replace(boxes=scale_boxes(rois.boxes, _FINE_CONTEXT))
        pooled = roi_align_at(fine.features, fine.grid, around, self.size, self._reduce)
        joined = torch.cat([box_features, self.layers(pooled)], dim=1)
        return score_features, self.joint(joined)

    def _reduce(self, before: Tensor, after: Tensor, weight: Tensor) -> Tensor:
        """Linear interpolation, and what it lacks between the steps; see `roi_align.Combine`."""
        between = 4 * weight * (1 - weight)
        steps = torch.lerp(before, after, weight), between * before, between * after
        return self.reduction(torch.cat(steps, dim=1))


class DeepPoolFeatures(nn.Module):
    """Pools the trunk's last feature map for the scores, and an earlier one for the boxes.

    The last map, which the trunk computes once for all boxes, is averaged over the window and the
    box. It no longer shows a box's edges: from I3D's Kinetics features on eight clips of UCF101-24,
    linear layers refined boxes of IoU 0.62 to 0.80 before the last blocks, and did not improve them
    after. It hardly shows either whether a person is in the box, so the scores use the features for
    the boxes, too.

    Args:
        channels: of the map for the boxes.
        last_channels: of the last map.
        size: cells of the pooled features along each side of the box.
        hidden: features for the boxes.
    """

    def __init__(
        self, channels: int, last_channels: int, *, size: int = 7, hidden: int = 256
    ) -> None:
        super().__init__()
        self.box_layers = _box_layers(channels, hidden, size)
        self.size, self.out_channels, self.box_channels = size, last_channels + hidden, hidden

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """See `RoiFeatures`."""
        box_map, class_map = maps
        pooled = _pool_window_mean(class_map, rois, self.size).mean((2, 3))
        on_key_frame = roi_align_at(box_map.features, box_map.grid, rois, self.size)
        box_features = self.box_layers(on_key_frame)
        return torch.cat([pooled, box_features], dim=1), box_features


class TrunkBlockFeatures(nn.Module):
    """Pools every time step of the window, and applies the trunk's remaining blocks to each box.

    The head "mixed" of version 0.1, which `DeepPoolFeatures` replaces: at 40 proposals a frame
    these blocks cost several times as much as the rest of the network.

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
        self.box_layers = _box_layers(channels, hidden, size)
        self.size, self.out_channels, self.box_channels = size, out_channels, hidden

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """See `RoiFeatures`."""
        ((features, grid, window),) = maps
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


def _box_layers(channels: int, hidden: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, _BOX_CHANNELS, 1), nn.GroupNorm(_NORM_GROUPS, _BOX_CHANNELS),
        nn.ReLU(inplace=True), nn.Flatten(1), nn.Linear(_BOX_CHANNELS * size**2, hidden),
        nn.ReLU(inplace=True),
    )  # fmt: skip
