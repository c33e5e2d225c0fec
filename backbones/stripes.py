"""The first layers on a CPU, one stripe of the frames after another.

Half of the trunk's time goes into the layers before MaxPool_3a, whose feature maps are far larger
than any cache. Computed stripe by stripe they stay in the cache and in blocks that the allocator
reuses. The result is the same; rows where the poolings of two stripes overlap, one in twelve, are
computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from .layers import ConvNormReLU, MaxPool3d

_STRIPE_ROWS = 6  # rows of a stripe's result; of 3 to 20, 6 to 10 are fastest on a 320x400 clip
_MIN_INPUT_SIZE = 1 << 21  # values in the input; a smaller one is in the cache anyway


def should_use_stripes(x: Tensor) -> bool:
    """Whether stripes are faster: on a CPU, for large inputs, without gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() >= _MIN_INPUT_SIZE


def run_in_stripes(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Applies convolutions and poolings to (N, C, T, H, W), a stripe of rows at a time.

    Layers that need whole frames, such as gates, are applied to the whole feature map.
    """
    striped: list[ConvNormReLU | MaxPool3d] = []
    for layer in chain.from_iterable(
        layer if isinstance(layer, nn.Sequential) else [layer] for layer in layers
    ):
        if isinstance(layer, ConvNormReLU | MaxPool3d):
            striped.append(layer)
        else:
            x, striped = layer(_run_striped(striped, x)), []
    return _run_striped(striped, x)


def _run_striped(layers: list[ConvNormReLU | MaxPool3d], x: Tensor) -> Tensor:
    if not layers:
        return x
    heights = [x.shape[3]]
    pads = []
    for layer in layers:
        size = (x.shape[2], heights[-1], x.shape[4])
        pads.append(layer.padding_for(size)[1])
        extent = heights[-1] + sum(pads[-1])
        heights.append((extent - layer.kernel[1]) // layer.stride[1] + 1)
    stripes = []
    for start in range(0, heights[-1], _STRIPE_ROWS):
        stop = min(start + _STRIPE_ROWS, heights[-1])
        # Back through the layers: the rows that each needs, and how many of them are padding.
        first, last, padding = start, stop, []
        for layer, (above, _), height in zip(
            reversed(layers), reversed(pads), reversed(heights[:-1])
        ):
            first = first * layer.stride[1] - above
            last = (last - 1) * layer.stride[1] + layer.kernel[1] - above
            padding.append((max(-first, 0), max(last - height, 0)))
            first, last = max(first, 0), min(last, height)
        stripe = x[:, :, :, first:last]
        for layer, rows in zip(layers, reversed(padding)):
            stripe = layer(stripe, rows)
        stripes.append(stripe)
    return torch.cat(stripes, dim=3)
