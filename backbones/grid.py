"""Which part of the input each cell of a feature map sees."""

from __future__ import annotations

from dataclasses import dataclass

from .family import ENDPOINTS, FIRST_ENDPOINT, POOLINGS, Variant
from .layers import Pairs, PoolPadding, Size3, pool_padding


@dataclass(frozen=True)
class FeatureGrid:
    """Where the cells of a feature map look, over (T, H, W) in frames and pixels.

    Cell i of an axis has its receptive field centred on `first` + i · `stride`, counted from the
    centre of the first frame or pixel as 0.
    """

    first: tuple[float, float, float]
    stride: Size3


def feature_grid(variant: Variant, endpoint: str, size: Size3) -> FeatureGrid:
    """The grid of `endpoint` for clips of `size` (T, H, W).

    Layer by layer: a kernel k with p places of padding before it moves the centre of cell 0 by
    (k - 1) / 2 - p steps of the layer's input. Paddings differ: at stride 16 cell 0 lies at pixel
    0 with torchvision's symmetric padding and at pixel 15 with TensorFlow's SAME.
    """
    layout, first, stride = variant.layout, [0.0, 0.0, 0.0], [1, 1, 1]
    sizes = list(size)
    for name in ENDPOINTS[: ENDPOINTS.index(endpoint) + 1]:
        padding: Pairs | PoolPadding
        if name == FIRST_ENDPOINT:
            kernel, step, padding = layout.stem_kernel, (2, 2, 2), layout.stem_padding
        elif name in POOLINGS:
            (kernel, step), padding = POOLINGS[name], layout.pool_padding
        else:
            continue
        for axis, (k, s) in enumerate(zip(kernel, step, strict=True)):
            if axis == 0 and name == FIRST_ENDPOINT and not variant.is_temporal(name):
                k, before, after = 1, 0, 0
            elif isinstance(padding, str):
                before, after = pool_padding(sizes[axis], k, s, padding)
            else:
                before, after = padding[axis]
            first[axis] += ((k - 1) / 2 - before) * stride[axis]
            stride[axis] *= s
            sizes[axis] = (sizes[axis] + before + after - k) // s + 1
    return FeatureGrid((first[0], first[1], first[2]), (stride[0], stride[1], stride[2]))
