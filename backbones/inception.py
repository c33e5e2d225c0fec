"""The Inception-v1 3D trunk and the paper's family of networks as rows of one table.

Source of the shapes: Szegedy et al. 2015 (Inception-v1); Carreira & Zisserman 2017 (I3D); Xie et
al. 2018 sections 3 and 4, and figure 4. The networks of the family are the same trunk; they differ
in which layers convolve over time, whether those convolutions are separable, and which are gated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..datasets.errors import choose_from
from .family import (
    CONVOLUTIONS,
    ENDPOINTS,
    FIRST_ENDPOINT,
    MIXED_BLOCKS,
    POOLINGS,
    Variant,
    endpoint_shapes,
    get_variant,
    scale_channels,
    with_layout,
)
from .grid import FeatureGrid
from .layers import ConvNormReLU, MaxPool3d, Padding, SelfGate, Size3
from .stages import StagedTrunk
from .stripes import run_in_stripes, should_use_stripes

if TYPE_CHECKING:
    from .classifier import PretrainedModel

_STRIPED = (
    "Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3",
)  # fmt: skip


def _conv_block(
    variant: Variant,
    endpoint: str,
    channels_in: int,
    channels_out: int,
    kernel: Size3,
    stride: Size3 = (1, 1, 1),
    padding: Padding = "same",
) -> nn.Sequential:
    """One convolution of the architecture: dense, spatial or separable, then its gate if any."""
    layout, temporal = variant.layout, variant.is_temporal(endpoint)
    separable = variant.separable and (layout.stem_separable or endpoint != FIRST_ENDPOINT)
    conv = partial(
        ConvNormReLU, eps=layout.norm_eps, momentum=layout.norm_momentum, scale=layout.norm_scale
    )
    (kt, kh, kw), (st, sh, sw) = kernel, stride
    space_padding, time_padding = padding, padding
    if padding != "same":
        space_padding, time_padding = ((0, 0), *padding[1:]), (padding[0], (0, 0), (0, 0))
    if temporal and separable and kernel != (1, 1, 1):
        spatial = conv(channels_in, channels_out, (1, kh, kw), (1, sh, sw), space_padding)
        over_time = conv(channels_out, channels_out, (kt, 1, 1), (st, 1, 1), time_padding)
        init_temporal_kernel(over_time.conv.weight)
        block = nn.Sequential(spatial, over_time)
    else:
        if not temporal:
            kernel, padding = (1, kh, kw), space_padding
        block = nn.Sequential(conv(channels_in, channels_out, kernel, stride, padding))
    if variant.gating == "temporal" and temporal and kt > 1:
        block.append(SelfGate(channels_out))
    return block


def init_temporal_kernel(weight: Tensor) -> None:
    """First weights of a kx1x1 convolution: odd channels the identity, even ones a time derivative.

    TF-slim (s3dg.py) starts with the identity alone. The mean over time of identities does not
    depend on the direction of time, and a network learns that direction slowly from there: on crops
    of the demo's figures, after 200 steps of batch 32, it distinguished 56 % of pairs of opposite
    actions; from normal random weights 63 %, from these 78 %.

    Args:
        weight: (C, C, k, 1, 1), changed in place; k is odd.
    """
    nn.init.dirac_(weight)
    middle, changing = weight.shape[2] // 2, torch.arange(0, len(weight), 2)
    with torch.no_grad():
        weight[changing] = 0
        weight[changing, changing, middle + 1] = 0.5**0.5
        weight[changing, changing, middle - 1] = -(0.5**0.5)


class InceptionBlock(nn.Module):
    """An Inception block: four branches, gated or not, concatenated along the channels."""

    def __init__(
        self, variant: Variant, endpoint: str, channels_in: int, width_multiplier: float
    ) -> None:
        super().__init__()
        b0, (r1, b1), (r2, b2), b3 = MIXED_BLOCKS[endpoint]
        b0, r1, b1, r2, b2, b3 = (
            scale_channels(channels, width_multiplier) for channels in (b0, r1, b1, r2, b2, b3)
        )

        def conv(channels_in: int, channels_out: int, k: int = 1) -> nn.Sequential:
            return _conv_block(variant, endpoint, channels_in, channels_out, (k, k, k))

        self.branch0 = conv(channels_in, b0)
        self.branch1 = conv(channels_in, r1).extend(conv(r1, b1, 3))
        self.branch2 = conv(channels_in, r2).extend(conv(r2, b2, 3))
        pool = MaxPool3d((3, 3, 3), (1, 1, 1), variant.layout.pool_padding)
        self.branch3 = nn.Sequential(pool).extend(conv(channels_in, b3))
        if variant.gating == "branches" and variant.is_temporal(endpoint):
            for branch, channels in zip(self.branches(), (b0, b1, b2, b3), strict=True):
                branch.append(SelfGate(channels))

    def branches(self) -> tuple[nn.Sequential, ...]:
        return self.branch0, self.branch1, self.branch2, self.branch3

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches()], dim=1)


class Trunk(StagedTrunk):
    """The convolutional part of a network of the family, up to the endpoint `last`.

    Input: clips (N, C, T, H, W), normalized as the weights need it. Output: the feature map of
    `last`, (N, C', T', H', W') in channels-last memory; `endpoint_shapes` has C' and the strides.
    T', H' and W' are rounded up, except by MaxPool_5a_2x2 with symmetric padding of the poolings,
    which therefore needs two cells (5 frames, 17 pixels), and by the stem of HOWTO100M_LAYOUT.

    Args:
        variant: the network.
        width_multiplier: multiplies every number of channels (at least 8 remain).
        last: the last endpoint that is built and computed.
        channels_in: of the clips: 3 for RGB, 2 for optical flow.

    Attributes: those of `registry.Backbone`.
    """

    blocks_fit_rois = True

    def __init__(
        self,
        variant: Variant,
        width_multiplier: float = 1.0,
        last: str = "Mixed_5c",
        channels_in: int = 3,
    ) -> None:
        if last not in ENDPOINTS:
            raise ValueError(f"{last} is not a layer of the family; {choose_from(last, ENDPOINTS)}")
        shapes = endpoint_shapes(width_multiplier)
        stages: dict[str, nn.Module] = {}
        channels = channels_in
        for endpoint in ENDPOINTS[: ENDPOINTS.index(last) + 1]:
            stages[endpoint] = _stage(variant, endpoint, channels, width_multiplier)
            channels = shapes[endpoint].channels
        super().__init__(shapes, stages)
        self.variant, self.name = variant, variant.name
        self.layout: Mapping[str, Any] = asdict(variant.layout)
        self.width_multiplier, self.channels_in = width_multiplier, channels_in

    def prepare(
        self, clips: Tensor, names: Collection[str]
    ) -> tuple[Tensor, Mapping[str, Callable[[Tensor], Tensor]]]:
        """Channels-last clips; the first layers in stripes where that is faster.

        Stripes leave out the feature maps between those layers.
        """
        x, stages = clips.contiguous(memory_format=torch.channels_last_3d), self.stages()
        *between, last = _STRIPED
        with torch.set_grad_enabled(self.requires_backward(last)):
            use_stripes = last in stages and should_use_stripes(x)
        needed = any(name in names for name in between)
        if not use_stripes or needed or any(stages[name].training for name in _STRIPED):
            return x, stages
        striped = [stages.pop(name) for name in _STRIPED]
        return x, {last: partial(run_in_stripes, striped), **stages}

    def grid(self, endpoint: str, size: Size3) -> FeatureGrid:
        """The grid of an endpoint's feature map for clips of `size` (T, H, W).

        Layer by layer: a kernel of k with p zeros before it moves the center of cell 0 by
        (k - 1) / 2 - p cells of the layer's input; the blocks do not move it. Paddings differ: at
        stride 16, cell 0 is at pixel 0 with torchvision's symmetric padding and at pixel 15 with
        TensorFlow's SAME.
        """
        origin, stride, sizes = [0.0, 0.0, 0.0], [1, 1, 1], list(size)
        stages = list(self.stages())
        for name in stages[: stages.index(endpoint) + 1]:
            stage = self.get_submodule(name)
            for layer in stage if isinstance(stage, nn.Sequential) else [stage]:
                if not isinstance(layer, ConvNormReLU | MaxPool3d):
                    continue
                axes = zip(layer.kernel, layer.stride, layer.padding_for(sizes), strict=True)
                for axis, (k, s, (before, after)) in enumerate(axes):
                    origin[axis] += ((k - 1) / 2 - before) * stride[axis]
                    stride[axis] *= s
                    sizes[axis] = (sizes[axis] + before + after - k) // s + 1
        return FeatureGrid((origin[0], origin[1], origin[2]), (stride[0], stride[1], stride[2]))

    def load_pretrained(self, weights: str) -> PretrainedModel:
        from .weights.load import load_pretrained

        return load_pretrained(self.variant, weights, channels_in=self.channels_in)


def _stage(variant: Variant, endpoint: str, channels_in: int, width_multiplier: float) -> nn.Module:
    """The layers of one endpoint."""
    layout = variant.layout
    if endpoint in POOLINGS:
        return MaxPool3d(*POOLINGS[endpoint], layout.pool_padding)
    if endpoint in MIXED_BLOCKS:
        return InceptionBlock(variant, endpoint, channels_in, width_multiplier)
    channels, kernel, stride = CONVOLUTIONS[endpoint]
    channels = scale_channels(channels, width_multiplier)
    padding: Padding = "same"
    if endpoint == FIRST_ENDPOINT:
        kernel, padding = layout.stem_kernel, layout.stem_padding
    block = _conv_block(variant, endpoint, channels_in, channels, kernel, stride, padding)
    gated = variant.gating == "branches" and variant.is_temporal(endpoint)
    if gated and endpoint == "Conv2d_2c_3x3":
        block.append(SelfGate(channels))
    return block


def build_trunk(
    name: str, width_multiplier: float, channels_in: int, layout: Mapping[str, Any]
) -> Trunk:
    """A network of the family by its name; see `registry.build_backbone`."""
    variant = with_layout(get_variant(name), layout)
    return Trunk(variant, width_multiplier, channels_in=channels_in)
