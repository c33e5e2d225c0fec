"""Gradients of the convolution over time against PyTorch's own, and where each is taken."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from actiontubes.backbones.layers import ConvNormReLU, conv3d
from actiontubes.backbones.temporal_conv import TemporalConv, use_fast_weight_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def tensor(seed: int, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 3), frames=st.integers(1, 9), kernel=st.integers(1, 7),
    stride=st.integers(1, 3), padding=st.integers(0, 6), bias=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_gradients(batch, frames, kernel, stride, padding, bias, seed) -> None:
    kernel = min(kernel, frames + 2 * padding)
    inputs = [tensor(seed, batch, 3, frames, 5), tensor(seed + 1, 4, 3, kernel, 1)]
    if bias:
        inputs.append(tensor(seed + 2, 4))
    results = []
    for ours in (True, False):
        x, weight, *rest = (each.clone().requires_grad_() for each in inputs)
        b = rest[0] if rest else None
        if ours:
            y = TemporalConv.apply(x, weight, b, stride, padding)
        else:
            y = F.conv2d(x, weight, b, (stride, 1), (padding, 0))
        (y * tensor(seed + 3, *y.shape)).sum().backward()
        results.append([y, x.grad, weight.grad, *(each.grad for each in rest)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_are_computed_only_where_needed() -> None:
    x, weight = tensor(0, 2, 3, 6, 5), tensor(1, 4, 3, 3, 1).requires_grad_()
    TemporalConv.apply(x, weight, None, 1, 1).sum().backward()
    assert x.grad is None and weight.grad is not None
    x.requires_grad_()
    TemporalConv.apply(x, weight.detach(), None, 1, 1).sum().backward()
    assert x.grad is not None


def test_conditions_of_the_fast_weight_gradient() -> None:
    x, weight = torch.zeros(1, 3, 6, 5), torch.zeros(4, 3, 3, 1, requires_grad=True)
    assert use_fast_weight_gradient(x, weight)
    assert not use_fast_weight_gradient(x.bfloat16(), weight)
    assert not use_fast_weight_gradient(x, weight.detach())
    with torch.autocast("cpu", torch.bfloat16):
        assert not use_fast_weight_gradient(x, weight)
    with torch.inference_mode():
        assert not use_fast_weight_gradient(x, weight)
    y = conv3d(
        torch.zeros(1, 3, 6, 5, 5), torch.zeros(4, 3, 3, 1, 1, requires_grad=True), None,
        (1, 1, 1), ((1, 1), (0, 0), (0, 0)),
    )  # fmt: skip
    nodes, names = [y.grad_fn], set()
    while nodes:
        node = nodes.pop()
        names.add(type(node).__name__)
        nodes += [each for each, _ in node.next_functions if each is not None]
    assert "TemporalConvBackward" in names


@pytest.mark.parametrize("training", [True, False])
def test_relu_copies_no_feature_map(training: bool) -> None:
    """ReLU in place on a view would make autograd copy the map, forwards and backwards."""
    layer = ConvNormReLU(3, 4, (1, 3, 3), eps=1e-3, momentum=1e-3, scale=True).train(training)
    y = layer(torch.zeros(1, 3, 2, 5, 5))
    assert type(y.grad_fn).__name__ == "ReluBackward0"
