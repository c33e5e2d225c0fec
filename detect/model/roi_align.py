"""ROI pooling in space-time: a box at every time step of a clip's feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, roi_align

from ...backbones.grid import FeatureGrid
from .separable_roi_align import separable_roi_align, use_separable_roi_align


class Rois(NamedTuple):
    """R boxes on key frames, in which features are pooled.

    Attributes:
        boxes: (R, 4) x1 y1 x2 y2 in pixels of the clip, where 0 is the frame's edge.
        clip_index: (R,) int64, the clip of each box.
        key_frames: (R,) its frame in that clip, from 0; may lie between two of them.
    """

    boxes: Tensor
    clip_index: Tensor
    key_frames: Tensor


Combine = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps of the time steps before and after key frames (K, C, H, W), and where these lie between them
(K, 1, 1, 1) in 0 to 1 → (K, C', H, W). Linear in the maps, each cell by itself."""


def window_starts(key_frames: Tensor, grid: FeatureGrid, window: int, steps: int) -> Tensor:
    """The first of the `window` time steps around each key frame.

    The window whose center is nearest to the key frame, the earlier of two, within the map: a clip
    of 20 frames at stride 4 has five steps, which every window of five is.

    Args:
        key_frames: (K,) frames of the clip, from 0.
        grid: of the feature map.
        window: steps pooled, at most `steps`.
        steps: time steps of the feature map.

    Returns:
        (K,) int64.
    """
    middle = (key_frames - grid.origin[0]) / grid.stride[0] - (window - 1) / 2
    return torch.ceil(middle - 0.5).long().clamp(0, steps - window)


def roi_align_3d(
    features: Tensor,
    boxes: Tensor,
    clip_index: Tensor,
    grid: FeatureGrid,
    size: int = 7,
    steps: Tensor | None = None,
) -> Tensor:
    """3D ROIAlign: `torchvision.ops.roi_align` at every time step of the box's clip, or at some.

    Args:
        features: (N, C, T, H, W) feature map.
        boxes: (R, 4) x1 y1 x2 y2, the same box at every time step as in the paper, or (R, T, 4), a
            box for each; in pixels of the trunk's input, where 0 is the frame's edge.
        clip_index: (R,) int64, the clip of each box.
        grid: of the feature map, `Backbone.grid`; the padding of the layers below moves a cell by
            up to half a cell from where ROIAlign assumes it.
        size: cells of the result along each side of the box.
        steps: (R, S) time steps to pool at, instead of all T; boxes are then (R, 4) or (R, S, 4).

    Returns:
        (R, C, T, size, size), or (R, C, S, size, size).
    """
    n, channels, length, height, width = features.shape
    if steps is None:
        steps = torch.arange(length, device=clip_index.device).expand(len(boxes), -1)
    # Half precision has too few digits for coordinates, and for the indices of many clips.
    exact = torch.promote_types(features.dtype, torch.float32)
    boxes = boxes.to(exact)
    if boxes.ndim == 2:
        boxes = boxes[:, None].expand(-1, steps.shape[1], -1)
    # ROIAlign (aligned) assumes the center of cell 0 at (stride - 1) / 2 in pixel centers.
    _, stride, stride_x = grid.stride
    assert stride == stride_x, "cells are square"
    _, y0, x0 = grid.origin
    shift = boxes.new_tensor([x0, y0, x0, y0]) - (stride - 1) / 2
    image = clip_index[:, None] * length + steps
    rois = torch.cat([image[..., None].to(boxes), boxes - shift], dim=-1).reshape(-1, 5)
    images = features.to(exact).permute(0, 2, 1, 3, 4).reshape(n * length, channels, height, width)
    if use_separable_roi_align(images):
        pooled = separable_roi_align(images, rois, size, 1 / stride)
    else:
        pooled = roi_align(images, rois, size, 1 / stride, aligned=True)
    pooled = pooled.to(features.dtype)
    return pooled.reshape(*steps.shape, channels, size, size).transpose(1, 2)


def neighboring_steps(
    key_frames: Tensor, grid: FeatureGrid, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The time steps before and after each key frame, and where it is between them.

    Args:
        key_frames: (K,) frames of the clip, from 0; may lie between two of them.
        grid: of the feature map.
        steps: time steps of the feature map; key frames beyond the first or last are moved there.

    Returns:
        (K,) int64 step before, (K,) int64 step after, and (K,) weight of the one after, 0 to 1.
    """
    position = ((key_frames - grid.origin[0]) / grid.stride[0]).clamp(0, steps - 1)
    before = position.floor().long()
    return before, (before + 1).clamp(max=steps - 1), position - before


def features_at_key_frames(
    features: Tensor,
    grid: FeatureGrid,
    clip_index: Tensor,
    key_frames: Tensor,
    combine: Combine = torch.lerp,
) -> Tensor:
    """Features of key frames, interpolated between two time steps, by default linearly.

    Args:
        features: (N, C, T, H, W).
        grid: of the features.
        clip_index: (K,) int64, the clip of each key frame.
        key_frames: (K,) its frame in that clip, from 0.
        combine: of the two steps.

    Returns:
        (K, C, H, W), or as `combine` returns.
    """
    before, after, weight = neighboring_steps(key_frames, grid, features.shape[2])
    steps = features.transpose(1, 2)
    weight = weight.to(features.dtype)[:, None, None, None]
    return combine(steps[clip_index, before], steps[clip_index, after], weight)


def roi_align_at(
    features: Tensor, grid: FeatureGrid, rois: Rois, size: int, combine: Combine = torch.lerp
) -> Tensor:
    """ROIAlign at the key frame, interpolated between two time steps, by default linearly.

    Args:
        features, grid, size: see `roi_align_3d`.
        combine: of the two steps.

    Returns:
        (R, C, size, size).
    """
    # Neither an export nor tensors without data allow shapes that depend on data.
    if torch.compiler.is_exporting() or features.is_meta:
        before, after, weight = neighboring_steps(rois.key_frames, grid, features.shape[2])
        steps = torch.stack([before, after], dim=1)
        pooled = roi_align_3d(features, rois.boxes, rois.clip_index, grid, size, steps)
        weight = weight.to(pooled.dtype)[:, None, None, None]
        return combine(pooled[:, :, 0], pooled[:, :, 1], weight)
    # All are linear: the maps of a few key frames are interpolated sooner than many poolings.
    columns = torch.stack([rois.clip_index.to(rois.key_frames), rois.key_frames])
    (clip_index, key_frames), index = columns.unique(dim=1, return_inverse=True)
    maps = features_at_key_frames(features, grid, clip_index.long(), key_frames, combine)
    return roi_align_3d(maps[:, :, None], rois.boxes, index, grid, size)[:, :, 0]


def scale_boxes(boxes: Tensor, factor: float, min_side: float = 0.0) -> Tensor:
    """(..., 4) boxes x1 y1 x2 y2 scaled about their centers.

    Args:
        boxes: in pixels.
        factor: of width and height.
        min_side: the least width and height after scaling.
    """
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) * factor).clamp(min=min_side) / 2
    return torch.cat([center - half, center + half], dim=-1)


def expand_boxes(
    boxes: Tensor, factor: float, width: int, height: int, min_side: float = 0.0
) -> Tensor:
    """Boxes scaled about their centers, then clipped to the frame; all lengths in pixels.

    Args:
        boxes: (..., 4) x1 y1 x2 y2.
        factor: of width and height.
        width, height: of the frame.
        min_side: the least width and height after scaling.
    """
    return clip_boxes_to_image(scale_boxes(boxes, factor, min_side), (height, width))
