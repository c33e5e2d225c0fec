"""Convolution over time alone, with a fast weight gradient on a CPU.

oneDNN's weight gradient of a kx1x1 convolution of stride 1 or 2 takes three to four times as long
as the forward pass where frames are large (measured: 64 channels, 20x160x200, AVX-512). As a matrix
product for each frame and kernel position it takes about one and a half times as long.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def use_fast_weight_gradient(strip: Tensor, weight: Tensor) -> bool:
    """Whether `TemporalConv` is faster: in training on a CPU in single precision."""
    return (
        strip.device.type == "cpu"
        and strip.dtype == weight.dtype == torch.float32
        and torch.is_grad_enabled()
        and weight.requires_grad
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class TemporalConv(torch.autograd.Function):
    """(N, C, T, P) by (C', C, k, 1) → (N, C', T', P), differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, strip: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(strip, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(strip, weight, bias, (stride, 1), (padding, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        strip, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        strip_gradient, kernel_gradient, bias_gradient = None, None, None
        if ctx.needs_input_grad[0]:
            strip_gradient = torch.ops.aten.convolution_backward(
                gradient, strip, weight, None, (stride, 1), (padding, 0), (1, 1), False, (0, 0), 1,
                (True, False, False),
            )[0]  # fmt: skip
        if ctx.needs_input_grad[1]:
            kernel_gradient = weight_gradient(strip, gradient, weight.shape[2], stride, padding)
        if ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum((0, 2, 3))
        return strip_gradient, kernel_gradient, bias_gradient, None, None


def weight_gradient(
    strip: Tensor, gradient: Tensor, kernel: int, stride: int, padding: int
) -> Tensor:
    """(C', C, kernel, 1) from the (N, C, T, P) input and the (N, C', T', P) output's gradient."""
    x, g = strip.permute(0, 2, 3, 1), gradient.permute(0, 2, 1, 3)
    result = strip.new_zeros(kernel, gradient.shape[1], strip.shape[1])
    for tap, total in enumerate(result):
        # Output t depends on input t · stride + tap - padding, where there is one.
        first = max(0, -((tap - padding) // stride))
        last = min(g.shape[1], (x.shape[1] - 1 + padding - tap) // stride + 1)
        if last <= first:
            continue
        start = first * stride + tap - padding
        inputs = slice(start, start + (last - first - 1) * stride + 1, stride)
        for clip, clip_gradient in zip(x, g):
            total += torch.bmm(clip_gradient[first:last], clip[inputs]).sum(0)
    return result.permute(1, 2, 0)[..., None]
