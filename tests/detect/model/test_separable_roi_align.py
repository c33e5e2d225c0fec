"""ROIAlign as matrix products against torchvision's, with gradients."""

from __future__ import annotations

import torch
from actiontubes.backbones.grid import FeatureGrid
from actiontubes.detect.model.roi_align import roi_align_3d
from actiontubes.detect.model.separable_roi_align import separable_roi_align
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    boxes=st.integers(0, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.integers(1, 5),
)
def test_equals_torchvision(seed: int, boxes: int, height: int, width: int, size: int) -> None:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 2, height, width, generator=random, dtype=torch.double)
    corner = torch.rand(boxes, 2, generator=random) * 200 - 60  # also wholly outside the map
    side = torch.rand(boxes, 2, generator=random) * 120 - 5  # also empty ones
    index = torch.randint(3, (boxes, 1), generator=random)
    side[: boxes // 4] = 0
    rois = torch.cat([index, corner, corner + side], dim=1).double()
    results = []
    for pool in (separable_roi_align, lambda *a: roi_align(*a, aligned=True)):
        leaf = images.clone().requires_grad_()
        pooled = pool(leaf, rois, size, 1 / 8)
        weights = torch.arange(pooled.numel()).double().sin().reshape(pooled.shape)
        (gradient,) = torch.autograd.grad((pooled * weights).sum(), leaf)
        results.append((pooled, gradient))
    torch.testing.assert_close(results[0], results[1])


def test_training_pools_what_detection_does() -> None:
    grid = FeatureGrid(origin=(0.0, 3.5, 3.5), stride=(2, 8, 8))
    features = torch.randn(2, 4, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    boxes, clips = torch.tensor([[4.0, 6, 40, 31], [0, 0, 56, 48]]), torch.tensor([1, 0])
    in_detection = roi_align_3d(features, boxes, clips, grid)
    torch.testing.assert_close(
        roi_align_3d(features.requires_grad_(), boxes, clips, grid), in_detection
    )
