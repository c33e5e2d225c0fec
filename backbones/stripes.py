"""The first layers on a CPU, a stripe of the picture after the other.

Half of the trunk's time goes into the layers before MaxPool_3a, whose feature maps are far larger
than any cache. Computed stripe by stripe they stay in the cache and in blocks that the allocator
reuses. The result is the same; only rows in which poolings of two stripes overlap are computed
twice, one in twelve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from .layers import ConvNormReLU, MaxPool3d

_ROWS = 6  # of a stripe's result; from 3 to 20, 6 to 10 are the fastest on a 320x400 clip
_WORTH_IT = 1 << 21  # numbers of the input; below, everything is in the cache anyway


def should_use_stripes(x: Tensor) -> bool:
    """Whether stripes pay: on a CPU, for large inputs, where no gradient is asked for."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and x.numel() >= _WORTH_IT


def run_in_stripes(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Applies convolutions and poolings to (N, C, T, H, W), stripes of rows at a time.

    Layers that need the whole picture, such as gates, get it and end a run of stripes.
    """
    run: list[ConvNormReLU | MaxPool3d] = []
    for layer in _flat(layers):
        if isinstance(layer, ConvNormReLU | MaxPool3d):
            run.append(layer)
        else:
            x, run = layer(_run(run, x)), []
    return _run(run, x)


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from layer
        else:
            yield layer


def _run(layers: list[ConvNormReLU | MaxPool3d], x: Tensor) -> Tensor:
    if not layers:
        return x
    heights = [x.shape[3]]
    pads = []
    for layer in layers:
        size = (x.shape[2], heights[-1], x.shape[4])
        pads.append(layer.pads(size)[1])
        extent = heights[-1] + sum(pads[-1])
        heights.append((extent - layer.kernel[1]) // layer.stride[1] + 1)
    result: Tensor | None = None
    for start in range(0, heights[-1], _ROWS):
        stop = min(start + _ROWS, heights[-1])
        first, last, outside = start, stop, []
        for layer, (above, _), height in zip(
            reversed(layers), reversed(pads), reversed(heights[:-1])
        ):
            first = first * layer.stride[1] - above
            last = (last - 1) * layer.stride[1] + layer.kernel[1] - above
            outside.append((max(-first, 0), max(last - height, 0)))
            first, last = max(first, 0), min(last, height)
        stripe = x[:, :, :, first:last]
        for layer, rows in zip(layers, reversed(outside)):
            stripe = layer(stripe, rows)
        if result is None:
            n, c, t, _, w = stripe.shape
            shape = (n, t, heights[-1], w, c)
            result = stripe.new_empty(shape).permute(0, 4, 1, 2, 3)
        result[:, :, :, start:stop] = stripe
    assert result is not None
    return result
