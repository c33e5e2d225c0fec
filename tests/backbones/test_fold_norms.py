"""Folded norms compute the same function."""

from __future__ import annotations

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.fold_norms import fold_norms
from actiontubes.backbones.inception import Trunk
from torch import Tensor, nn


def trunk(name: str) -> Trunk:
    """With norms of any scale, offset and statistics."""
    torch.manual_seed(0)
    network = Trunk(get_variant(name), width_multiplier=0.125, last="Mixed_4b")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def separate_norms(network: Trunk, clips: Tensor) -> Tensor:
    """Plain: each convolution by torch's 3D one, then the norm, then ReLU."""
    from actiontubes.backbones.layers import ConvNormReLU

    def plain(layer: ConvNormReLU, x: Tensor, rows: object = None) -> Tensor:
        (t, h, w) = layer.padding_for(x.shape[2:])
        padded = nn.functional.pad(x, [*w, *h, *t])
        y = nn.functional.conv3d(padded, layer.conv.weight, None, layer.stride)
        assert layer.norm is not None
        return layer.norm(y).relu()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConvNormReLU, "forward", plain)
        return network(clips)


@pytest.mark.parametrize("name", ["i3d", "s3d-g"])
@torch.inference_mode()
def test_the_same_features(name: str) -> None:
    network, clips = trunk(name), torch.randn(1, 3, 8, 32, 48)
    expected, before = separate_norms(network, clips), network(clips)
    assert fold_norms(network) is network
    after = network(clips)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-4)
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    torch.testing.assert_close(fold_norms(network)(clips), after, atol=0, rtol=0)


@torch.inference_mode()
def test_half_precision_weights_are_what_autocast_makes_of_them() -> None:
    network, clips = trunk("s3d-g"), torch.randn(1, 3, 8, 32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        before = network(clips)
        after = fold_norms(network, torch.bfloat16)(clips)
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(after, before, atol=2e-2, rtol=2e-2)


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training mode; call eval\(\) first"):
        fold_norms(trunk("s3d").train())
