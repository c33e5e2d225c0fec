"""The Inception-v1 3D trunk and the paper's family of networks as rows of one table.

Source of the shapes: Szegedy et al. 2015 (Inception-v1); Carreira & Zisserman 2017 (I3D); Xie et
al. 2018 sections 3 and 4, and figure 4. A network of the family is the same trunk with other
choices of where time is convolved, whether that convolution is separated, and where gates stand.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..datasets.files import InputError, choose_from
from .layers import ConvNormReLU, Padding, Pairs, Pool, PoolPadding, SelfGate, Size3, pool_padding
from .stripes import in_stripes, runs_in_stripes

# The first seven layers and the poolings: (output channels, kernel, stride over space and time).
_CONVOLUTIONS = {
    "Conv2d_1a_7x7": (64, (7, 7, 7), (2, 2, 2)),
    "Conv2d_2b_1x1": (64, (1, 1, 1), (1, 1, 1)),
    "Conv2d_2c_3x3": (192, (3, 3, 3), (1, 1, 1)),
}
_POOLINGS: dict[str, tuple[Size3, Size3]] = {
    "MaxPool_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
# Branch 0: 1x1; branch 1: 1x1 → 3x3; branch 2: 1x1 → 3x3 (nominally 5x5); branch 3: pool → 1x1.
_MIXED = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}
_STRIPED = (
    "Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3",
)  # fmt: skip
ENDPOINTS = (
    "Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3",
    "Mixed_3b", "Mixed_3c", "MaxPool_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e",
    "Mixed_4f", "MaxPool_5a_2x2", "Mixed_5b", "Mixed_5c",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Details in which released weights of one architecture differ.

    Attributes:
        stem_kernel: kernel of Conv2d_1a_7x7 over (T, H, W).
        stem_padding: its zeros before and after each axis, or "same".
        stem_separable: False where it is dense although the variant separates the others.
        pool_padding: rule of the max poolings, see `layers.max_pool`.
        norm_eps, norm_momentum: of every batch norm; momentum as PyTorch counts it.
        norm_scale: whether batch norms have a scale besides the offset.
    """

    stem_kernel: Size3 = (7, 7, 7)
    stem_padding: Padding = ((3, 3), (3, 3), (3, 3))
    stem_separable: bool = True
    pool_padding: PoolPadding = "symmetric"
    norm_eps: float = 1e-3
    norm_momentum: float = 1e-3
    norm_scale: bool = True


I3D_LAYOUT = Layout(stem_padding="same", pool_padding="same", norm_scale=False)
"""kinetics-i3d (i3d.py): SAME padding, batch norm without scale, eps 1e-3, decay 0.999."""
TORCHVISION_LAYOUT = Layout()
"""torchvision/models/video/s3d.py, after kylemin/S3D: symmetric padding, eps 1e-3."""
HOWTO100M_LAYOUT = Layout(
    stem_kernel=(4, 8, 8),
    stem_padding=((0, 2), (2, 4), (2, 4)),
    stem_separable=False,
    pool_padding="end",
    norm_eps=1e-5,
    norm_momentum=0.1,
)
"""antoine77340/S3D_HowTo100M (s3dg.py). Its stem, 2x4x4 on 2x2x2 blocks folded into channels, is a
dense 4x8x8 convolution of stride 2 on the picture itself."""


@dataclass(frozen=True)
class Variant:
    """One network of the family.

    Attributes:
        name: as the paper writes it, in lower case.
        temporal_from, temporal_to: first and last endpoint whose kernels reach over time; None for
            a network without any.
        separable: a kxkxk convolution as 1xkxk and then kx1x1, each with its norm and ReLU.
        gating: self-gates after each temporal convolution ("temporal", the paper's text) or after
            Conv2d_2c and all four branches of each block ("branches", TF-slim's s3dg.py).
        layout: see `Layout`.
        paper_parameters, paper_multiply_adds: the paper's figures for 400 classes and 64x224x224,
            in millions and 10^9, or None. They come from memory of the paper's table, not from a
            copy of it.
    """

    name: str
    temporal_from: str | None
    temporal_to: str | None
    separable: bool = False
    gating: Literal["none", "temporal", "branches"] = "none"
    layout: Layout = TORCHVISION_LAYOUT
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None

    def is_temporal(self, endpoint: str) -> bool:
        """Whether the kernels of `endpoint` reach over time."""
        if self.temporal_from is None or self.temporal_to is None:
            return False
        place = ENDPOINTS.index
        return place(self.temporal_from) <= place(endpoint) <= place(self.temporal_to)


_FIRST, _LAST = ENDPOINTS[0], ENDPOINTS[-1]
VARIANTS = {
    row.name: row
    for row in (
        Variant("i2d", None, None, layout=I3D_LAYOUT),
        Variant("i3d", _FIRST, _LAST, layout=I3D_LAYOUT,
                paper_parameters=12.06, paper_multiply_adds=107.89),
        Variant("bottom-heavy-i3d", _FIRST, "MaxPool_4a_3x3", layout=I3D_LAYOUT),
        Variant("top-heavy-i3d", "Mixed_4b", _LAST, layout=I3D_LAYOUT),
        Variant("s3d", _FIRST, _LAST, separable=True,
                paper_parameters=8.77, paper_multiply_adds=66.38),
        Variant("fast-s3d", "Mixed_4b", _LAST, separable=True, paper_multiply_adds=43.47),
        Variant("s3d-g", _FIRST, _LAST, separable=True, gating="branches",
                paper_parameters=11.56, paper_multiply_adds=71.38),
    )
}  # fmt: skip
"""The paper's networks by name. Top- and bottom-heavy stand there with K = Mixed_4b."""


def get_variant(name: str) -> Variant:
    """The row of a name, which may carry a choice in brackets.

    "top-heavy-i3d(Mixed_3c)" and "bottom-heavy-i3d(Mixed_3c)" take K, the endpoint where 3D
    convolution starts (top-heavy) or has stopped (bottom-heavy); "s3d-g(temporal)" and
    "s3d-g(branches)" take the placement of the gates.

    Raises:
        InputError: no such network, endpoint or placement.
    """
    match = re.fullmatch(r"(top-heavy-i3d|bottom-heavy-i3d|s3d-g)\((\w+)\)", name)
    base, endpoint = match.groups() if match else (name, None)
    if base not in VARIANTS:
        raise InputError(f"--backbone {name}: unknown network; {choose_from(name, VARIANTS)}")
    if endpoint is None:
        return VARIANTS[base]
    if base == "s3d-g":
        if endpoint == "temporal" or endpoint == "branches":
            placement = cast(Literal["temporal", "branches"], endpoint)
            return replace(VARIANTS[base], name=name, gating=placement)
        raise InputError(
            f"--backbone {name}: the gates of s3d-g are (temporal) or (branches), not ({endpoint})"
        )
    if endpoint not in ENDPOINTS[1:]:
        raise InputError(
            f"--backbone {name}: {endpoint} is not a layer; {choose_from(endpoint, ENDPOINTS[1:])}"
        )
    if base == "top-heavy-i3d":
        return replace(VARIANTS[base], name=name, temporal_from=endpoint)
    below = ENDPOINTS[ENDPOINTS.index(endpoint) - 1]
    return replace(VARIANTS[base], name=name, temporal_to=below)


def endpoint_shapes(width: float = 1.0) -> dict[str, tuple[int, int, int]]:
    """Of every endpoint: channels, stride in time, stride in space."""
    shapes, channels, time, space = {}, 3, 1, 1
    for endpoint in ENDPOINTS:
        stride: Size3 = (1, 1, 1)
        if endpoint in _CONVOLUTIONS:
            channels, _, stride = _CONVOLUTIONS[endpoint]
            channels = _scaled(channels, width)
        elif endpoint in _POOLINGS:
            stride = _POOLINGS[endpoint][1]
        else:
            b0, (_, b1), (_, b2), b3 = _MIXED[endpoint]
            channels = sum(_scaled(branch, width) for branch in (b0, b1, b2, b3))
        time, space = time * stride[0], space * stride[1]
        shapes[endpoint] = (channels, time, space)
    return shapes


@dataclass(frozen=True)
class Grid:
    """Where the cells of a feature map look, over (T, H, W) in frames and pixels.

    Cell i of an axis has its receptive field centred on `first` + i · `stride`, counted from the
    centre of the first frame or pixel as 0.
    """

    first: tuple[float, float, float]
    stride: Size3


def receptive_grid(variant: Variant, endpoint: str, size: Size3) -> Grid:
    """The grid of `endpoint` for clips of `size` (T, H, W).

    Layer by layer: a kernel k with p places of padding before it moves the centre of cell 0 by
    (k - 1) / 2 - p steps of the layer's input. Paddings differ: at stride 16 cell 0 lies at pixel
    0 with torchvision's symmetric padding and at pixel 15 with TensorFlow's SAME.
    """
    layout, first, stride = variant.layout, [0.0, 0.0, 0.0], [1, 1, 1]
    sizes = list(size)
    for name in ENDPOINTS[: ENDPOINTS.index(endpoint) + 1]:
        padding: Pairs | PoolPadding
        if name == _FIRST:
            kernel, step, padding = layout.stem_kernel, (2, 2, 2), layout.stem_padding
        elif name in _POOLINGS:
            (kernel, step), padding = _POOLINGS[name], layout.pool_padding
        else:
            continue
        for axis, (k, s) in enumerate(zip(kernel, step, strict=True)):
            if axis == 0 and name == _FIRST and not variant.is_temporal(name):
                k, before, after = 1, 0, 0
            elif isinstance(padding, str):
                before, after = pool_padding(sizes[axis], k, s, padding)
            else:
                before, after = padding[axis]
            first[axis] += ((k - 1) / 2 - before) * stride[axis]
            stride[axis] *= s
            sizes[axis] = (sizes[axis] + before + after - k) // s + 1
    return Grid((first[0], first[1], first[2]), (stride[0], stride[1], stride[2]))


def _scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width))


def _unit(
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
    separable = variant.separable and (layout.stem_separable or endpoint != _FIRST)

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
        start_over_time(over_time.conv.weight)
        unit = nn.Sequential(spatial, over_time)
    if variant.gating == "temporal" and temporal and kt > 1:
        unit.append(SelfGate(channels_out))
    return unit


def start_over_time(weight: Tensor) -> None:
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


class Mixed(nn.Module):
    """An Inception block: four branches, each gated or not, side by side in the channels."""

    def __init__(self, variant: Variant, endpoint: str, channels_in: int, width: float) -> None:
        super().__init__()
        b0, (r1, b1), (r2, b2), b3 = _MIXED[endpoint]

        def unit(c_in: int, c_out: int, size: int = 1) -> nn.Sequential:
            return _unit(variant, endpoint, c_in, _scaled(c_out, width), (size, size, size))

        gates = variant.gating == "branches" and variant.is_temporal(endpoint)
        self.branch0 = unit(channels_in, b0)
        self.branch1 = unit(channels_in, r1).extend(unit(_scaled(r1, width), b1, 3))
        self.branch2 = unit(channels_in, r2).extend(unit(_scaled(r2, width), b2, 3))
        pool = Pool((3, 3, 3), (1, 1, 1), variant.layout.pool_padding)
        self.branch3 = nn.Sequential(pool).extend(unit(channels_in, b3))
        for branch, channels in zip(self.branches(), (b0, b1, b2, b3), strict=True):
            if gates:
                branch.append(SelfGate(_scaled(channels, width)))

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
            if endpoint in _CONVOLUTIONS:
                _, kernel, stride = _CONVOLUTIONS[endpoint]
                stem = endpoint == _FIRST
                layer = _unit(
                    variant, endpoint, channels, shapes[endpoint][0],
                    layout.stem_kernel if stem else kernel, stride,
                    layout.stem_padding if stem else "same",
                )  # fmt: skip
                gated = variant.gating == "branches" and variant.is_temporal(endpoint)
                if gated and endpoint == "Conv2d_2c_3x3":
                    layer.append(SelfGate(shapes[endpoint][0]))
            elif endpoint in _POOLINGS:
                layer = Pool(*_POOLINGS[endpoint], layout.pool_padding)
            else:
                layer = Mixed(variant, endpoint, channels, width)
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
                x = in_stripes([layers.pop(name) for name in _STRIPED], x)
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
            runs_in_stripes(x)
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
