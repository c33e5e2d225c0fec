"""3D ROIAlign against loops and against feature maps of coordinates; enlarged boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from actiontubes.backbones.family import (
    HOWTO100M_LAYOUT,
    Variant,
    endpoint_shapes,
    get_variant,
)
from actiontubes.backbones.grid import FeatureGrid
from actiontubes.backbones.inception import Trunk
from actiontubes.detect.model.roi_align import expand_boxes, roi_align_3d
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import roi_align

VARIANTS = {
    "i3d": get_variant("i3d"),
    "torchvision": get_variant("s3d"),
    "howto100m": replace(get_variant("s3d-g"), layout=HOWTO100M_LAYOUT),
}
SIZE = (64, 240, 320)


def coordinates(grid: FeatureGrid, shape: tuple[int, int, int]) -> Tensor:
    """(3, T, H, W): the frame, row and column, counted from 0, of each cell's center."""
    axes = [
        first + stride * torch.arange(length)
        for first, stride, length in zip(grid.origin, grid.stride, shape)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def map_of(variant: Variant, endpoint: str) -> tuple[FeatureGrid, Tensor]:
    _, time, space = endpoint_shapes()[endpoint]
    shape = (-(-SIZE[0] // time), -(-SIZE[1] // space), -(-SIZE[2] // space))
    with torch.device("meta"):
        grid = Trunk(variant).grid(endpoint, SIZE)
    return grid, coordinates(grid, shape)


@pytest.mark.parametrize("endpoint", ["Mixed_4e", "Mixed_5c"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_pooled_coordinates_are_the_center_of_the_box(variant: Variant, endpoint: str) -> None:
    grid, features = map_of(variant, endpoint)
    # Boxes between the outermost cells' centres: beyond them features are extended, not continued.
    boxes = torch.tensor([[60.0, 50, 131, 170], [100, 60, 108, 68], [48, 48, 250, 200]])
    pooled = roi_align_3d(features[None], boxes, torch.zeros(3, dtype=torch.long), grid)
    assert pooled.shape == (3, 3, features.shape[1], 7, 7)
    # A box is counted from the picture's edge, a pixel by its centre, half a pixel further.
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
    cell = grid.stride[1]
    for step, frame in enumerate(grid.origin[0] + grid.stride[0] * torch.arange(pooled.shape[2])):
        found = pooled[:, :, step].mean((2, 3))
        torch.testing.assert_close(found[:, 0], frame.expand(3))
        assert (found[:, 2] - centre[:, 0]).abs().max() < 0.1 * cell
        assert (found[:, 1] - centre[:, 1]).abs().max() < 0.1 * cell
    # The bins lie where a 7x7 raster of the box has them.
    x1, _, x2, _ = boxes[2]
    columns = x1 + (x2 - x1) * (torch.arange(7) + 0.5) / 7 - 0.5
    assert (pooled[2, 2, 0].mean(0) - columns).abs().max() < 0.1 * cell


def test_grids_differ_by_about_half_a_cell() -> None:
    """So that the test above would fail with the grid of another network."""
    first = {name: map_of(v, "Mixed_4e")[0].origin[2] for name, v in VARIANTS.items()}
    assert abs(first["i3d"] - first["torchvision"]) > 0.4 * 16


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_moving_box(variant: Variant) -> None:
    grid, features = map_of(variant, "Mixed_4e")
    steps = features.shape[1]
    left = 60 + 8.0 * torch.arange(steps)
    top = 120 - 3.0 * torch.arange(steps)
    boxes = torch.stack([left, top, left + 40, top + 60], dim=1)[None]
    pooled = roi_align_3d(features[None], boxes, torch.zeros(1, dtype=torch.long), grid)
    found = pooled.mean((3, 4))[0]
    assert (found[2] - (left + 20 - 0.5)).abs().max() < 1.6
    assert (found[1] - (top + 30 - 0.5)).abs().max() < 1.6


@pytest.mark.parametrize("moving", [False, True])
def test_equals_a_loop_over_boxes_and_time(moving: bool) -> None:
    torch.manual_seed(0)
    clips, channels, steps, height, width = 3, 5, 4, 15, 20
    features = torch.randn(clips, channels, steps, height, width, dtype=torch.float64)
    grid = FeatureGrid((3.0, 4.0, -1.5), (8, 16, 16))
    clip = torch.tensor([2, 0, 2, 1, 0, 1])
    corner = torch.rand(6, steps, 2, dtype=torch.float64) * 250 - 20
    boxes = torch.cat([corner, corner + torch.rand(6, steps, 2) * 120], dim=2)
    if not moving:
        boxes = boxes[:, 0]
    pooled = roi_align_3d(features, boxes, clip, grid, size=3)
    for i, number in enumerate(clip.tolist()):
        for step in range(steps):
            x1, y1, x2, y2 = (boxes[i, step] if moving else boxes[i]).tolist()
            # roi_align has cell 0 centred on (16 - 1) / 2 = 7.5; here it is on 4 down, -1.5 across.
            box = torch.tensor([[x1 + 9, y1 + 3.5, x2 + 9, y2 + 3.5]], dtype=torch.float64)
            alone = features[number, :, step][None]
            expected = roi_align(alone, [box], 3, 1 / 16, aligned=True)[0]
            torch.testing.assert_close(pooled[i, :, step], expected)


def test_no_box() -> None:
    grid = FeatureGrid((0.0, 0.0, 0.0), (8, 16, 16))
    pooled = roi_align_3d(
        torch.zeros(1, 5, 4, 9, 9), torch.empty(0, 4), torch.empty(0).long(), grid
    )
    assert pooled.shape == (0, 5, 4, 7, 7)


def test_half_precision_keeps_coordinates_and_clip_indices() -> None:
    torch.manual_seed(0)
    grid = FeatureGrid((0.0, 0.0, 0.0), (8, 16, 16))
    features = torch.randn(70, 2, 4, 8, 24).to(torch.bfloat16)
    boxes = torch.tensor([[301.0, 40, 357, 99]]).expand(2, -1)
    clip = torch.tensor([64, 69])  # pictures 256 and more, which bfloat16 cannot count
    pooled = roi_align_3d(features, boxes, clip, grid)
    assert pooled.dtype == torch.bfloat16
    exact = roi_align_3d(features.float(), boxes, clip, grid)
    torch.testing.assert_close(pooled, exact.to(torch.bfloat16))


def test_gradients_reach_the_features_under_the_box_alone() -> None:
    features = torch.zeros(2, 1, 2, 9, 9, requires_grad=True)
    grid = FeatureGrid((0.0, 7.5, 7.5), (8, 16, 16))
    boxes = torch.tensor([[16.0, 16, 64, 64]])
    roi_align_3d(features, boxes, torch.tensor([1]), grid).sum().backward()
    assert features.grad is not None
    assert not features.grad[0].any()
    assert features.grad[1, 0, :, 1:4, 1:4].all()
    assert not features.grad[1, 0, :, 5:].any() and not features.grad[1, 0, :, :, 5:].any()


SIDE = st.floats(0, 300, width=32)


@given(SIDE, SIDE, SIDE, SIDE, st.floats(1, 3))
def test_expanded_boxes_contain_the_box_within_the_frame(
    x: float, y: float, w: float, h: float, factor: float
) -> None:
    box = torch.tensor([x, y, min(x + w, 320), min(y + h, 300)])
    x1, y1, x2, y2 = expand_boxes(box, factor, 320, 300).tolist()
    assert 0 <= x1 <= box[0] + 1e-3 and 0 <= y1 <= box[1] + 1e-3
    assert box[2] - 1e-3 <= x2 <= 320 and box[3] - 1e-3 <= y2 <= 300


def test_boxes_are_expanded_about_their_center() -> None:
    boxes = torch.tensor([[[100.0, 100, 120, 140], [0, 0, 10, 10], [330, 310, 340, 320]]])
    expected = [[[90.0, 80, 130, 160], [0, 0, 15, 15], [320, 300, 320, 300]]]
    assert expand_boxes(boxes, 2, 320, 300).tolist() == expected


def test_small_boxes_get_the_minimum_side_before_clipping() -> None:
    boxes = torch.tensor([[100.0, 100, 110, 180], [0, 0, 10, 10]])
    expected = [[73.0, 60, 137, 220], [0, 0, 37, 37]]
    assert expand_boxes(boxes, 2, 320, 300, min_side=64).tolist() == expected
