"""ROI pooling in space-time: a box at every time step of a clip's feature map."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, roi_align

from ...backbones.grid import FeatureGrid


def window_starts(key_frames: Tensor, grid: FeatureGrid, window: int, steps: int) -> Tensor:
    """The first of the `window` time steps around each key frame.

    The window's centre is the nearest one to the key frame, the earlier of two, as far as the map
    reaches: in a clip of 20 frames at stride 4 its five steps are all there is.

    Args:
        key_frames: (K,) frames of the clip, from 0.
        grid: of the feature map.
        window: steps pooled, at most `steps`.
        steps: time steps of the feature map.

    Returns:
        (K,) int64.
    """
    middle = (key_frames - grid.first[0]) / grid.stride[0] - (window - 1) / 2
    return torch.ceil(middle - 0.5).long().clamp(0, steps - window)


def roi_align_3d(
    features: Tensor,
    boxes: Tensor,
    clip: Tensor,
    grid: FeatureGrid,
    size: int = 7,
    steps: Tensor | None = None,
) -> Tensor:
    """3D ROIAlign: `torchvision.ops.roi_align` at every time step of the box's clip, or at some.

    Args:
        features: (N, C, T, H, W) feature map.
        boxes: (R, 4) x1 y1 x2 y2, the same box at every time step as in the paper, or (R, T, 4), a
            box for each; in pixels of the trunk's input, edges counted from the picture's edge.
        clip: (R,) integers, the clip that each box lies in.
        grid: of the feature map, `inception.receptive_grid`; a map cell is not where ROIAlign
            assumes it, but up to half a cell away, by the padding of the layers below.
        size: cells of the result along each side of the box.
        steps: (R, S) time steps to pool at, instead of all T; boxes are then (R, 4) or (R, S, 4).

    Returns:
        (R, C, T, size, size), or (R, C, S, size, size).
    """
    n, channels, length, height, width = features.shape
    if steps is None:
        steps = torch.arange(length, device=clip.device).expand(len(boxes), -1)
    # Half precision has too few digits for places in a picture, and for many clips.
    exact = torch.promote_types(features.dtype, torch.float32)
    boxes = boxes.to(exact)
    if boxes.ndim == 2:
        boxes = boxes[:, None].expand(-1, steps.shape[1], -1)
    # ROIAlign (aligned) takes the centre of cell 0 to be at (stride - 1) / 2 pixel centres.
    _, stride, stride_x = grid.stride
    assert stride == stride_x, "cells are square"
    _, y0, x0 = grid.first
    shift = boxes.new_tensor([x0, y0, x0, y0]) - (stride - 1) / 2
    place = clip[:, None] * length + steps
    rois = torch.cat([place[..., None].to(boxes), boxes - shift], dim=-1).reshape(-1, 5)
    maps = features.to(exact).permute(0, 2, 1, 3, 4).reshape(n * length, channels, height, width)
    pooled = roi_align(maps, rois, size, 1 / stride, aligned=True).to(features.dtype)
    return pooled.reshape(*steps.shape, channels, size, size).transpose(1, 2)


def neighboring_steps(
    key_frames: Tensor, grid: FeatureGrid, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The time steps before and after each key frame, and how far it lies from one to the other.

    Args:
        key_frames: (K,) frames of the clip, from 0; may lie between two of them.
        grid: of the feature map.
        steps: time steps of the feature map, beyond whose first and last nothing is seen.

    Returns:
        (K,) int64, (K,) int64 and (K,) from 0 to 1.
    """
    place = ((key_frames - grid.first[0]) / grid.stride[0]).clamp(0, steps - 1)
    before = place.floor().long()
    return before, (before + 1).clamp(max=steps - 1), place - before


def roi_align_at(
    features: Tensor, boxes: Tensor, clip: Tensor, grid: FeatureGrid, size: int, key_frames: Tensor
) -> Tensor:
    """ROIAlign on the key frame itself: between two time steps their weighted mean.

    Args:
        features, boxes, clip, grid, size: see `roi_align_3d`; boxes are (R, 4).
        key_frames: (R,) the frame of its clip that each box lies in.

    Returns:
        (R, C, size, size).
    """
    before, after, share = neighboring_steps(key_frames, grid, features.shape[2])
    pooled = roi_align_3d(features, boxes, clip, grid, size, torch.stack([before, after], dim=1))
    share = share.to(pooled.dtype)[:, None, None, None]
    return torch.lerp(pooled[:, :, 0], pooled[:, :, 1], share)


def expand_boxes(
    boxes: Tensor, factor: float, width: int, height: int, least: float = 0.0
) -> Tensor:
    """Boxes (..., 4) scaled about their centres, each side to at least `least`, then clipped
    to the frame; all in pixels."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) * factor).clamp(min=least) / 2
    boxes = torch.cat([centre - half, centre + half], dim=-1)
    return clip_boxes_to_image(boxes, (height, width))
