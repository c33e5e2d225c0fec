"""The Inception-v1 3D trunk and the paper's family of networks as rows of one table.

Source of the shapes: Szegedy et al. 2015 (Inception-v1); Carreira & Zisserman 2017 (I3D); Xie et
al. 2018 sections 3 and 4, and figure 4. A network of the family is the same trunk with other
choices of where time is convolved, whether that convolution is separated, and where gates stand.
"""

from __future__ import annotations

from collections.abc import Collection

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
    scaled_channels,
)
from .family import get_variant as get_variant
from .layers import ConvNormReLU, MaxPool3d, Padding, SelfGate, Size3
from .stripes import run_in_stripes, should_use_stripes

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
    """One convolution of the architecture: dense, flat or separated, then its gate if any."""
    layout, temporal = variant.layout, variant.is_temporal(endpoint)
    separable = variant.separable and (layout.stem_separable or endpoint != FIRST_ENDPOINT)

    def convolution(c: int, kernel: Size3, stride: Size3, pad: Padding) -> ConvNormReLU:
        return ConvNormReLU(
            c, channels_out, kernel, stride, pad,
            eps=layout.norm_eps, momentum=layout.norm_momentum, scale=layout.norm_scale,
        )  # fmt: skip

    (kt, kh, kw), (st, sh, sw) = kernel, stride
    if kernel == (1, 1, 1) or not temporal or not separable:
        if not temporal:
            kernel = (1, kh, kw)
            padding = padding if padding == "same" else ((0, 0), *padding[1:])
        unit = nn.Sequential(convolution(channels_in, kernel, stride, padding))
    else:
        flat: Padding = "same"
        deep: Padding = "same"
        if padding != "same":
            flat, deep = ((0, 0), *padding[1:]), (padding[0], (0, 0), (0, 0))
        spatial = convolution(channels_in, (1, kh, kw), (1, sh, sw), flat)
        over_time = convolution(channels_out, (kt, 1, 1), (st, 1, 1), deep)
        init_temporal_kernel(over_time.conv.weight)
        unit = nn.Sequential(spatial, over_time)
    if variant.gating == "temporal" and temporal and kt > 1:
        unit.append(SelfGate(channels_out))
    return unit


def init_temporal_kernel(weight: Tensor) -> None:
    """New weights of a kx1x1 convolution: every other channel as it is, the others' change in time.

    TF-slim (s3dg.py) starts with the identity alone. But the mean over time of identities does not
    know which way time runs, and a network learns that slowly from there: on crops of the demo's
    figures, after 200 steps of 32, it told 56 % of pairs of opposite actions apart, from normal
    random weights 63 %, from these 78 %.

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
    """An Inception block: four branches, each gated or not, side by side in the channels."""

    def __init__(self, variant: Variant, endpoint: str, channels_in: int, width: float) -> None:
        super().__init__()
        b0, (r1, b1), (r2, b2), b3 = MIXED_BLOCKS[endpoint]

        def unit(c_in: int, c_out: int, size: int = 1) -> nn.Sequential:
            return _conv_block(
                variant, endpoint, c_in, scaled_channels(c_out, width), (size, size, size)
            )

        gates = variant.gating == "branches" and variant.is_temporal(endpoint)
        self.branch0 = unit(channels_in, b0)
        self.branch1 = unit(channels_in, r1).extend(unit(scaled_channels(r1, width), b1, 3))
        self.branch2 = unit(channels_in, r2).extend(unit(scaled_channels(r2, width), b2, 3))
        pool = MaxPool3d((3, 3, 3), (1, 1, 1), variant.layout.pool_padding)
        self.branch3 = nn.Sequential(pool).extend(unit(channels_in, b3))
        for branch, channels in zip(self.branches(), (b0, b1, b2, b3), strict=True):
            if gates:
                branch.append(SelfGate(scaled_channels(channels, width)))

    def branches(self) -> tuple[nn.Sequential, ...]:
        return self.branch0, self.branch1, self.branch2, self.branch3

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches()], dim=1)


class Trunk(nn.Module):
    """The convolutional part of a network of the family, up to the endpoint `last`.

    Input: clips (N, C, T, H, W), normalised as the weights ask for. Output: the feature map of
    `last`, (N, C, T', H', W') in channels-last memory; `endpoint_shapes` has C and the strides.
    Sizes are rounded up, but down by MaxPool_5a_2x2 with symmetric padding of the pools, which
    so needs two cells (5 frames, 17 pixels), and by the stem of HOWTO100M_LAYOUT.

    Args:
        variant: row of the family.
        width: multiplies every number of channels (at least 8 remain).
        last: the last endpoint that is built and computed.
        channels_in: of the clips: 3 for RGB, 2 for optical flow.

    Attributes:
        out_channels: channels of `last`, by torchvision's convention for backbones.
        frozen: endpoints that `freeze` has taken out of training.
    """

    def __init__(
        self,
        variant: Variant,
        width: float = 1.0,
        last: str = "Mixed_5c",
        channels_in: int = 3,
    ) -> None:
        super().__init__()
        if last not in ENDPOINTS:
            raise ValueError(f"{last} is not a layer of the family; {choose_from(last, ENDPOINTS)}")
        self.variant, self.width, self.last = variant, width, last
        self.channels_in = channels_in
        self.frozen: tuple[str, ...] = ()
        layout = variant.layout
        shapes = endpoint_shapes(width)
        channels = channels_in
        for endpoint in ENDPOINTS[: ENDPOINTS.index(last) + 1]:
            layer: nn.Module
            if endpoint in CONVOLUTIONS:
                _, kernel, stride = CONVOLUTIONS[endpoint]
                stem = endpoint == FIRST_ENDPOINT
                layer = _conv_block(
                    variant, endpoint, channels, shapes[endpoint][0],
                    layout.stem_kernel if stem else kernel, stride,
                    layout.stem_padding if stem else "same",
                )  # fmt: skip
                gated = variant.gating == "branches" and variant.is_temporal(endpoint)
                if gated and endpoint == "Conv2d_2c_3x3":
                    layer.append(SelfGate(shapes[endpoint][0]))
            elif endpoint in POOLINGS:
                layer = MaxPool3d(*POOLINGS[endpoint], layout.pool_padding)
            else:
                layer = InceptionBlock(variant, endpoint, channels, width)
            self.add_module(endpoint, layer)
            channels = shapes[endpoint][0]
        self.out_channels = channels

    def forward(self, clips: Tensor) -> Tensor:
        return self.endpoints(clips, (self.last,))[self.last]

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The feature maps of several endpoints of one pass, by name.

        Raises:
            ValueError: an endpoint that this trunk does not compute.
        """
        layers = dict(self.named_children())
        if unknown := [name for name in names if name not in layers]:
            raise ValueError(
                f"this trunk does not compute {', '.join(unknown)}; it computes {', '.join(layers)}"
            )
        x, features = clips.contiguous(memory_format=torch.channels_last_3d), {}
        # Frozen layers need no gradients, and so no copies of what they computed.
        frozen = all(name in self.frozen for name in _STRIPED)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            if self._in_stripes(x, names):
                x = run_in_stripes([layers.pop(name) for name in _STRIPED], x)
                if _STRIPED[-1] in names:
                    features[_STRIPED[-1]] = x
        for name, layer in layers.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and name not in self.frozen):
                x = layer(x)
            if name in names:
                features[name] = x
        return features

    def _in_stripes(self, x: Tensor, names: Collection[str]) -> bool:
        """Whether the first layers run in stripes; they then keep no map between."""
        layers = dict(self.named_children())
        return (
            should_use_stripes(x)
            and _STRIPED[-1] in layers
            and not any(layers[name].training for name in _STRIPED)
            and not any(name in names for name in _STRIPED[:-1])
        )

    def freeze(self, last: str) -> Trunk:
        """Keeps the layers up to the endpoint `last` as they are, their norms too; returns self.

        Raises:
            ValueError: an endpoint that this trunk does not compute.
        """
        names = [name for name, _ in self.named_children()]
        if last not in names:
            raise ValueError(f"this trunk has no layer {last}; {choose_from(last, names)}")
        self.frozen = tuple(names[: names.index(last) + 1])
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Trunk:
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def cut(trunk: Trunk, last: str) -> tuple[Trunk, nn.Sequential]:
    """Divides a trunk after the endpoint `last`: the trunk up to it, and the layers behind it.

    The layers are taken out of `trunk`, not copied; the result's first part is `trunk` itself.
    """
    names = [name for name, _ in trunk.named_children()]
    rest = nn.Sequential()
    for name in names[names.index(last) + 1 :]:
        rest.add_module(name, trunk.get_submodule(name))
        delattr(trunk, name)
    trunk.last, trunk.out_channels = last, endpoint_shapes(trunk.width)[last][0]
    return trunk, rest
