"""The paper's family of networks as a table: endpoints, their shapes, weight layouts, variants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, cast, get_args

from ..datasets.errors import InputError, choose_from
from .grid import EndpointShape
from .layers import Padding, PoolPadding, Size3

# Kernels and strides are over (T, H, W). Convolutions: output channels, kernel, stride.
CONVOLUTIONS = {
    "Conv2d_1a_7x7": (64, (7, 7, 7), (2, 2, 2)),
    "Conv2d_2b_1x1": (64, (1, 1, 1), (1, 1, 1)),
    "Conv2d_2c_3x3": (192, (3, 3, 3), (1, 1, 1)),
}
# Poolings: kernel, stride.
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
Gating = Literal["none", "temporal", "branches"]
_MAX_PADDING = 8  # zeros on one side, more than any released layout has


@dataclass(frozen=True)
class WeightLayout:
    """Details in which released weights of one architecture differ.

    Attributes:
        stem_kernel: kernel of Conv2d_1a_7x7 over (T, H, W).
        stem_padding: its zeros before and after each axis, or "same" for TensorFlow's rule.
        stem_separable: False where the stem is dense although the variant is separable.
        pool_padding: rule of the max poolings, see `layers.MaxPool3d`.
        norm_eps, norm_momentum: of every batch norm; momentum as PyTorch defines it.
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
    stem_kernel=(4, 8, 8), stem_padding=((0, 2), (2, 4), (2, 4)), stem_separable=False,
    pool_padding="end", norm_eps=1e-5, norm_momentum=0.1,
)  # fmt: skip
"""antoine77340/S3D_HowTo100M (s3dg.py). Its stem, 2x4x4 on 2x2x2 blocks folded into channels, is a
dense 4x8x8 convolution of stride 2 on the frames themselves."""


@dataclass(frozen=True)
class Variant:
    """One network of the family.

    Attributes:
        name: as the paper writes it, in lower case.
        first_temporal, last_temporal: first and last endpoint whose kernels span several frames;
            None for a network without any.
        separable: a kxkxk convolution is a 1xkxk and then a kx1x1, each with its norm and ReLU.
        gating: self-gates after each temporal convolution ("temporal", the paper's text) or after
            Conv2d_2c and all four branches of each block ("branches", TF-slim's s3dg.py).
        layout: see `WeightLayout`.
        paper_parameters, paper_multiply_adds: the paper's figures for 400 classes and 64x224x224,
            in millions and in 10^9, or None. They are quoted from memory of the paper's table, not
            checked against a copy of it.
    """

    name: str
    first_temporal: str | None
    last_temporal: str | None
    separable: bool = False
    gating: Gating = "none"
    layout: WeightLayout = TORCHVISION_LAYOUT
    paper_parameters: float | None = None
    paper_multiply_adds: float | None = None

    def is_temporal(self, endpoint: str) -> bool:
        """Whether the kernels of `endpoint` span several frames."""
        if self.first_temporal is None or self.last_temporal is None:
            return False
        index = ENDPOINTS.index
        return index(self.first_temporal) <= index(endpoint) <= index(self.last_temporal)


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
"""The paper's networks by name; top- and bottom-heavy with K = Mixed_4b."""


def get_variant(name: str) -> Variant:
    """The network of that name, which may have a choice in brackets.

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
        if endpoint not in ("temporal", "branches"):
            raise InputError(
                f"--backbone {name}: the gates of s3d-g are (temporal) or (branches), not "
                f"({endpoint})"
            )
        return replace(VARIANTS[base], name=name, gating=cast(Gating, endpoint))
    if endpoint not in ENDPOINTS[1:]:
        raise InputError(
            f"--backbone {name}: {endpoint} is not a layer; {choose_from(endpoint, ENDPOINTS[1:])}"
        )
    if base == "top-heavy-i3d":
        return replace(VARIANTS[base], name=name, first_temporal=endpoint)
    below = ENDPOINTS[ENDPOINTS.index(endpoint) - 1]
    return replace(VARIANTS[base], name=name, last_temporal=below)


def with_layout(variant: Variant, layout: Mapping[str, Any]) -> Variant:
    """`variant` with some fields of its `WeightLayout` replaced by those of a JSON record.

    Raises:
        TypeError: an unknown field, or a value of the wrong type.
        ValueError: a value out of range.
    """
    fields = {key: lists_to_tuples(value) for key, value in layout.items()}
    changed = replace(variant.layout, **fields)
    padding = () if changed.stem_padding == "same" else chain.from_iterable(changed.stem_padding)
    if not all(0 <= zeros <= _MAX_PADDING for zeros in padding):
        raise ValueError(f"stem_padding {changed.stem_padding}")
    if changed.pool_padding not in get_args(PoolPadding):
        raise ValueError(f"pool_padding {changed.pool_padding}")
    if not (0 < changed.norm_eps < 1 and 0 <= changed.norm_momentum <= 1):
        raise ValueError(f"norm_eps {changed.norm_eps}, norm_momentum {changed.norm_momentum}")
    return replace(variant, layout=changed)


def endpoint_shapes(width_multiplier: float = 1.0) -> dict[str, EndpointShape]:
    """Channels and strides of every endpoint, by name, in order."""
    shapes, channels, time, space = {}, 3, 1, 1
    for endpoint in ENDPOINTS:
        stride: Size3 = (1, 1, 1)
        if endpoint in CONVOLUTIONS:
            channels, _, stride = CONVOLUTIONS[endpoint]
            channels = scale_channels(channels, width_multiplier)
        elif endpoint in POOLINGS:
            stride = POOLINGS[endpoint][1]
        else:
            b0, (_, b1), (_, b2), b3 = MIXED_BLOCKS[endpoint]
            channels = sum(scale_channels(branch, width_multiplier) for branch in (b0, b1, b2, b3))
        time, space = time * stride[0], space * stride[1]
        shapes[endpoint] = EndpointShape(channels, time, space)
    return shapes


def scale_channels(channels: int, width_multiplier: float) -> int:
    """A layer's number of channels times `width_multiplier`, at least 8."""
    return max(8, round(channels * width_multiplier))


def lists_to_tuples(value: Any) -> Any:
    """A value as JSON gives it, with lists at any depth as the tuples that they were."""
    return tuple(map(lists_to_tuples, value)) if isinstance(value, list) else value
