"""The paper's family of networks as a table: endpoints, the layouts of public weights, variants."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from ..datasets.errors import InputError, choose_from
from .layers import Padding, PoolPadding, Size3

# The first seven layers and the poolings: (output channels, kernel, stride over space and time).
CONVOLUTIONS = {
    "Conv2d_1a_7x7": (64, (7, 7, 7), (2, 2, 2)),
    "Conv2d_2b_1x1": (64, (1, 1, 1), (1, 1, 1)),
    "Conv2d_2c_3x3": (192, (3, 3, 3), (1, 1, 1)),
}
POOLINGS: dict[str, tuple[Size3, Size3]] = {
    "MaxPool_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
# Branch 0: 1x1; branch 1: 1x1 → 3x3; branch 2: 1x1 → 3x3 (nominally 5x5); branch 3: pool → 1x1.
MIXED_BLOCKS = {
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
ENDPOINTS = (
    "Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3",
    "Mixed_3b", "Mixed_3c", "MaxPool_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e",
    "Mixed_4f", "MaxPool_5a_2x2", "Mixed_5b", "Mixed_5c",
)  # fmt: skip


@dataclass(frozen=True)
class WeightLayout:
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


I3D_LAYOUT = WeightLayout(stem_padding="same", pool_padding="same", norm_scale=False)
"""kinetics-i3d (i3d.py): SAME padding, batch norm without scale, eps 1e-3, decay 0.999."""
TORCHVISION_LAYOUT = WeightLayout()
"""torchvision/models/video/s3d.py, after kylemin/S3D: symmetric padding, eps 1e-3."""
HOWTO100M_LAYOUT = WeightLayout(
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
        layout: see `WeightLayout`.
        paper_parameters, paper_multiply_adds: the paper's figures for 400 classes and 64x224x224,
            in millions and 10^9, or None. They come from memory of the paper's table, not from a
            copy of it.
    """

    name: str
    temporal_from: str | None
    temporal_to: str | None
    separable: bool = False
    gating: Literal["none", "temporal", "branches"] = "none"
    layout: WeightLayout = TORCHVISION_LAYOUT
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None

    def is_temporal(self, endpoint: str) -> bool:
        """Whether the kernels of `endpoint` reach over time."""
        if self.temporal_from is None or self.temporal_to is None:
            return False
        place = ENDPOINTS.index
        return place(self.temporal_from) <= place(endpoint) <= place(self.temporal_to)


FIRST_ENDPOINT, LAST_ENDPOINT = ENDPOINTS[0], ENDPOINTS[-1]
VARIANTS = {
    row.name: row
    for row in (
        Variant("i2d", None, None, layout=I3D_LAYOUT),
        Variant("i3d", FIRST_ENDPOINT, LAST_ENDPOINT, layout=I3D_LAYOUT,
                paper_parameters=12.06, paper_multiply_adds=107.89),
        Variant("bottom-heavy-i3d", FIRST_ENDPOINT, "MaxPool_4a_3x3", layout=I3D_LAYOUT),
        Variant("top-heavy-i3d", "Mixed_4b", LAST_ENDPOINT, layout=I3D_LAYOUT),
        Variant("s3d", FIRST_ENDPOINT, LAST_ENDPOINT, separable=True,
                paper_parameters=8.77, paper_multiply_adds=66.38),
        Variant("fast-s3d", "Mixed_4b", LAST_ENDPOINT, separable=True, paper_multiply_adds=43.47),
        Variant("s3d-g", FIRST_ENDPOINT, LAST_ENDPOINT, separable=True, gating="branches",
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
        if endpoint in CONVOLUTIONS:
            channels, _, stride = CONVOLUTIONS[endpoint]
            channels = scaled_channels(channels, width)
        elif endpoint in POOLINGS:
            stride = POOLINGS[endpoint][1]
        else:
            b0, (_, b1), (_, b2), b3 = MIXED_BLOCKS[endpoint]
            channels = sum(scaled_channels(branch, width) for branch in (b0, b1, b2, b3))
        time, space = time * stride[0], space * stride[1]
        shapes[endpoint] = (channels, time, space)
    return shapes


def scaled_channels(channels: int, width: float) -> int:
    return max(8, round(channels * width))
