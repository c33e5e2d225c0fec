"""Convolution, pooling and gating in space-time as fast 2D operations.

All features are (N, C, T, H, W) tensors in `torch.channels_last_3d`, that is N, T, H, W, C in
memory. In that order the frames of a clip are a batch of channels-last images, and a clip is a
channels-last image of height T and width H·W: a 1xkxk convolution runs as a 2D one over N·T
images, a kx1x1 convolution as a (k, 1) one over N images, pooling likewise, and none of the
changes of view copies anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .temporal_conv import TemporalConv, use_fast_weight_gradient

Size3 = tuple[int, int, int]
Pair = tuple[int, int]
Pairs = tuple[Pair, Pair, Pair]
Padding = Pairs | Literal["same"]
PoolPadding = Literal["symmetric", "same", "end"]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis, before and after; the smaller half is before."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pool_padding(size: int, kernel: int, stride: int, rule: PoolPadding) -> tuple[int, int]:
    """Padding of a max pooling before and after one axis; see `MaxPool3d` for the rules."""
    if rule == "symmetric":
        return (kernel - 1) // 2, (kernel - 1) // 2
    if rule == "same":
        return same_padding(size, kernel, stride)
    total = max(kernel - stride, 0)
    steps = -(-(size + total - kernel) // stride)
    return total // 2, steps * stride + kernel - size - total // 2


def conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size3, pad: Pairs) -> Tensor:
    """3D convolution of (N, C, T, H, W) by (C', C, kt, kh, kw), in 2D where it is separable.

    `pad` is the number of zeros before and after each of T, H and W.
    """
    if any(before != after for before, after in pad):
        x = F.pad(x, [side for axis in reversed(pad) for side in axis])
        pad = ((0, 0), (0, 0), (0, 0))
    padding = (pad[0][0], pad[1][0], pad[2][0])
    kernel = weight.shape[2:]
    if kernel[0] == 1 and padding[0] == 0:
        frames = _as_frames(x[:, :, :: stride[0]])
        y = F.conv2d(frames, weight[:, :, 0], bias, stride[1:], padding[1:])
        return _from_frames(y, x.shape[0])
    if kernel[1:] == (1, 1) and stride[1:] == (1, 1) and padding[1:] == (0, 0):
        strip, kernel_2d = _as_strip(x), weight[..., 0]
        if use_fast_weight_gradient(strip, kernel_2d):
            y = TemporalConv.apply(strip, kernel_2d, bias, stride[0], padding[0])
        else:
            y = F.conv2d(strip, kernel_2d, bias, (stride[0], 1), (padding[0], 0))
        return _from_strip(y, *x.shape[3:])
    if x.device.type == "cpu" and _is_one(x.shape[0]) and math.prod(x.shape[1:4]) <= _MAX_SLOW_SIZE:
        return _convolve_windows(x, weight, bias, stride, padding)
    return F.conv3d(x, weight, bias, stride, padding)


def _is_one(count: int) -> bool:
    """Whether a size is 1; one that `torch.export` leaves open is a SymInt, and is any number."""
    return isinstance(count, int) and count == 1


# PyTorch (ConvParams::use_mkldnn in aten/src/ATen/native/Convolution.cpp) gives 3D convolutions of
# one clip with no more than this many channels · frames · rows to a path several times slower.
_MAX_SLOW_SIZE = 20480


def _convolve_windows(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size3, padding: Size3
) -> Tensor:
    """A dense 3D convolution as a 2D one, with a window's frames concatenated as channels."""
    steps = weight.shape[2]
    x = F.pad(x, (0, 0, 0, 0, padding[0], padding[0]))
    windows = x.unfold(2, steps, stride[0]).permute(0, 2, 3, 4, 5, 1)
    frames = windows.flatten(0, 1).flatten(3).permute(0, 3, 1, 2)
    flat = weight.transpose(1, 2).flatten(1, 2)
    return _from_frames(F.conv2d(frames, flat, bias, stride[1:], padding[1:]), x.shape[0])


def temporal_average_pool(x: Tensor, steps: int) -> Tensor:
    """Means over `steps` consecutive frames: (N, C, T, H, W) → (N, C, T - steps + 1, H, W)."""
    if not x.requires_grad:
        return _from_strip(F.avg_pool2d(_as_strip(x), (steps, 1), 1), *x.shape[3:])
    # The gradient of `avg_pool2d` takes ten times as long as that of a product with a band matrix.
    n, c, t, h, w = x.shape
    band = torch.ones(t - steps + 1, t, dtype=x.dtype, device=x.device).triu().tril(steps - 1)
    with torch.autocast(x.device.type, enabled=False):
        means = (band / steps) @ x.permute(0, 2, 3, 4, 1).reshape(n, t, -1)
    return means.reshape(n, -1, h, w, c).permute(0, 4, 1, 2, 3)


def _pool_plane(x: Tensor, kernel: list[int], stride: list[int], pads: tuple[Pair, Pair]) -> Tensor:
    """Max pooling of (N, C, H, W), with minus infinity before and after each axis."""
    # `ceil_mode` pads by one more after than before by itself, without a copy.
    ceil = all(
        after == before + 1 and (size + 2 * before - k) % s
        for (before, after), size, k, s in zip(pads, x.shape[2:], kernel, stride, strict=True)
        if k > 1
    )
    if not ceil and any(before != after for before, after in pads):
        x = F.pad(x, [side for axis in reversed(pads) for side in axis], value=float("-inf"))
        pads = ((0, 0), (0, 0))
    return F.max_pool2d(x, kernel, stride, [before for before, _ in pads], ceil_mode=ceil)


def _as_frames(x: Tensor) -> Tensor:
    """(N, C, T, H, W) → (N·T, C, H, W), a view in channels-last memory."""
    n, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(n * t, h, w, c).permute(0, 3, 1, 2)


def _from_frames(y: Tensor, n: int) -> Tensor:
    frames, c, h, w = y.shape
    return y.permute(0, 2, 3, 1).reshape(n, frames // n, h, w, c).permute(0, 4, 1, 2, 3)


def _as_strip(x: Tensor) -> Tensor:
    """(N, C, T, H, W) → (N, C, T, H·W), a view in channels-last memory."""
    n, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(n, t, h * w, c).permute(0, 3, 1, 2)


def _from_strip(y: Tensor, h: int, w: int) -> Tensor:
    n, c, t, _ = y.shape
    return y.permute(0, 2, 3, 1).reshape(n, t, h, w, c).permute(0, 4, 1, 2, 3)


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU.

    In evaluation mode the norm is folded into the weights on every call: a pass over the weights
    instead of one over the features, and no copy that could be out of date.
    `fold_norms.fold_norms` does it once.

    Args:
        kernel, stride: over (T, H, W).
        padding: zeros before and after each axis, or "same" for TensorFlow's rule.
        eps, momentum: of the norm.
        scale: False for a norm with an offset but no scale, as in I3D.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Size3,
        stride: Size3 = (1, 1, 1),
        padding: Padding = "same",
        *,
        eps: float,
        momentum: float,
        scale: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, stride, bias=False)
        self.norm: nn.BatchNorm3d | None = nn.BatchNorm3d(channels_out, eps, momentum)
        if not scale:
            del self.norm.weight
            self.norm.register_buffer("weight", torch.ones(channels_out), persistent=False)
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def padding_for(self, size: Sequence[int]) -> Pairs:
        """Zeros before and after each axis of an input of `size` (T, H, W)."""
        if self.padding != "same":
            return self.padding
        t, h, w = map(same_padding, size, self.kernel, self.stride)
        return t, h, w

    def forward(self, x: Tensor, rows: Pair | None = None) -> Tensor:
        """(N, C, T, H, W) → (N, C', T', H', W'); `rows`: other zeros above and below."""
        pad = self.padding_for(x.shape[2:])
        if rows is not None:
            pad = (pad[0], rows, pad[2])
        norm = self.norm
        if norm is not None and norm.training:
            y = norm(conv3d(x, self.conv.weight, None, self.stride, pad))
            return F.relu(y, inplace=True)
        weight, bias = self.folded_weights()
        # In place on a view, with a gradient to keep, PyTorch would copy the whole map.
        in_place = not torch.is_grad_enabled()
        y = conv3d(x, weight.to(x.dtype), bias.to(x.dtype), self.stride, pad)
        return F.relu(y, inplace=in_place)

    def folded_weights(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of one convolution equal to this one and its norm in evaluation."""
        weight, norm = self.conv.weight, self.norm
        if norm is None:
            assert self.conv.bias is not None
            return weight, self.conv.bias
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        factor = norm.weight * torch.rsqrt(variance + norm.eps)
        return weight * factor[:, None, None, None, None], norm.bias - mean * factor


class MaxPool3d(nn.Module):
    """3D max pooling of (N, C, T, H, W): a spatial one, then a temporal one.

    Args:
        kernel, stride: over (T, H, W).
        padding: "symmetric" (k // 2 for odd kernels, as torchvision's S3D), "same" (TensorFlow) or
            "end" (k - stride, the smaller half before, and a last window wherever one can start, as
            the HowTo100M S3D-G). The padding is minus infinity.
    """

    def __init__(self, kernel: Size3, stride: Size3, padding: PoolPadding) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def padding_for(self, size: Sequence[int]) -> Pairs:
        """Padding before and after each axis of an input of `size` (T, H, W)."""
        rule = [self.padding] * 3
        t, h, w = map(pool_padding, size, self.kernel, self.stride, rule)
        return t, h, w

    def forward(self, x: Tensor, rows: Pair | None = None) -> Tensor:
        """(N, C, T, H, W) → (N, C, T', H', W'); `rows`: other padding above and below."""
        t, h, w = self.padding_for(x.shape[2:])
        (kt, *kernel), (st, *stride) = self.kernel, self.stride
        if kernel != [1, 1] or stride != [1, 1]:
            y = _pool_plane(_as_frames(x), kernel, stride, (h if rows is None else rows, w))
            x = _from_frames(y, x.shape[0])
        if kt > 1 or st > 1:
            y = _pool_plane(_as_strip(x), [kt, 1], [st, 1], (t, (0, 0)))
            x = _from_strip(y, *x.shape[3:])
        return x


class SelfGate(nn.Module):
    """Self-gating: y = x · sigmoid(W mean(x) + b), mean over T, H, W (paper, section on S3D-G).

    It starts with W = 0 and b = 0: every gate is exactly 1/2, where the sigmoid's slope is
    greatest. `convert.add_gates` doubles the layer before it to keep a pretrained function.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.fc.weight.to(x.dtype), self.fc.bias.to(x.dtype)
        gate = torch.sigmoid(F.linear(x.mean((2, 3, 4)), weight, bias))[:, :, None, None, None]
        # Nothing else uses the output of the layer before a gate.
        return x * gate if torch.is_grad_enabled() else x.mul_(gate)
