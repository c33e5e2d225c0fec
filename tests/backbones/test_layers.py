"""The fast layers against plain 3D operations on padded input."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from actiontubes.backbones.classifier import Classifier
from actiontubes.backbones.layers import (
    ConvNormReLU,
    MaxPool3d,
    PoolPadding,
    SelfGate,
    conv3d,
    pool_padding,
    same_padding,
    temporal_average_pool,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS_LAST = torch.channels_last_3d
sizes = st.tuples(st.integers(1, 9), st.integers(1, 11), st.integers(1, 11))
threes = st.tuples(*[st.integers(1, 3)] * 3)
pads = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3)
# Kernels of the family, each of which may take a path of its own, and others.
kernels = st.sampled_from([(1, 1, 1), (1, 3, 3), (3, 1, 1), (7, 1, 1), (3, 3, 3), (1, 7, 7)])


def tensor(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def padded(x: Tensor, pad: tuple[tuple[int, int], ...], value: float) -> Tensor:
    return F.pad(x, [side for axis in reversed(pad) for side in axis], value=value)


@settings(deadline=None, max_examples=150)
@given(
    size=sizes, kernel=kernels | st.tuples(*[st.integers(1, 4)] * 3), stride=threes, pad=pads,
    batch=st.integers(1, 2), channels=st.integers(1, 5), bias=st.booleans(),
    last=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_conv3d(size, kernel, stride, pad, batch, channels, bias, last, seed) -> None:
    pad = tuple(  # a kernel must fit
        (before, max(after, k - n - before))
        for (before, after), k, n in zip(pad, kernel, size, strict=True)
    )
    x = tensor(seed, batch, channels, *size)
    weight, b = tensor(seed + 1, 4, channels, *kernel), tensor(seed + 2, 4) if bias else None
    expected = F.conv3d(padded(x, pad, 0.0), weight, b, stride)
    given_x = x.contiguous(memory_format=CHANNELS_LAST) if last else x
    ours = conv3d(given_x, weight, b, stride, pad)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(given_x, x), "the input stays as it was"


def pool_pads(size: int, kernel: int, stride: int, rule: PoolPadding) -> tuple[int, int]:
    """Places before and after an axis, counted out window by window."""
    if rule == "symmetric":
        return (kernel - 1) // 2, (kernel - 1) // 2
    if rule == "same":
        windows = len(range(0, size, stride))
        total = max((windows - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2
    before = max(kernel - stride, 0) // 2
    extent = size + max(kernel - stride, 0)
    start = 0
    while start + kernel < extent:
        start += stride
    return before, start + kernel - before - size


@settings(deadline=None, max_examples=150)
@given(
    size=sizes, time=st.integers(1, 3), space=st.integers(1, 3), data=st.data(),
    batch=st.integers(1, 2), last=st.booleans(),
    rule=st.sampled_from(["symmetric", "same", "end"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_max_pool(size, time, space, data, batch, last, rule: PoolPadding, seed) -> None:
    kernel = time, space, space
    stride = tuple(data.draw(st.integers(1, k)) for k in kernel)
    if rule == "symmetric":  # a window must fit
        size = tuple(max(n, k - 2 * ((k - 1) // 2)) for n, k in zip(size, kernel, strict=True))
    expected_pads = tuple(
        pool_pads(n, k, s, rule) for n, k, s in zip(size, kernel, stride, strict=True)
    )
    assert expected_pads == tuple(
        pool_padding(n, k, s, rule) for n, k, s in zip(size, kernel, stride, strict=True)
    )
    x = tensor(seed, batch, 3, *size)
    expected = F.max_pool3d(padded(x, expected_pads, float("-inf")), kernel, stride)
    given_x = x.contiguous(memory_format=CHANNELS_LAST) if last else x
    assert torch.equal(MaxPool3d(kernel, stride, rule)(given_x), expected)


@pytest.mark.parametrize("last", [True, False])
def test_temporal_average_pool(last: bool) -> None:
    x = tensor(0, 2, 3, 6, 4, 5)
    given_x = x.contiguous(memory_format=CHANNELS_LAST) if last else x
    for steps in (1, 4, 6):
        expected = torch.stack([x[:, :, t : t + steps].mean(2) for t in range(7 - steps)], 2)
        torch.testing.assert_close(temporal_average_pool(given_x, steps), expected)
        means = temporal_average_pool(given_x.detach().requires_grad_(), steps)  # in training
        torch.testing.assert_close(means, expected)


def test_temporal_average_pool_has_the_gradient_of_the_mean() -> None:
    x = tensor(0, 2, 3, 6, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: temporal_average_pool(x, 4), x)


@given(size=st.integers(1, 60), kernel=st.integers(1, 8), stride=st.integers(1, 8))
def test_same_padding_gives_a_window_every_stride(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert 0 <= before <= after <= before + 1
    windows = (size + before + after - kernel) // stride + 1
    if before + after > 0:
        assert windows == -(-size // stride)
        assert (size + before + after - kernel) % stride == 0, "no place more than needed"


def test_the_family_pools_are_tensorflows_for_even_sizes() -> None:
    for size, (kernel, stride) in itertools.product((2, 8, 14, 28), [(3, 2), (2, 2)]):
        assert pool_padding(size, kernel, stride, "end") == same_padding(size, kernel, stride)


def layer_and_plain(randomise, scale: bool, **choices) -> tuple[ConvNormReLU, nn.Sequential]:
    layer = ConvNormReLU(
        5, 6, choices["kernel"], choices["stride"], choices["padding"],
        eps=1e-2, momentum=0.3, scale=scale,
    )  # fmt: skip
    randomise(layer)
    conv = nn.Conv3d(5, 6, choices["kernel"], choices["stride"], bias=False)
    norm = nn.BatchNorm3d(6, 1e-2, 0.3)
    conv.load_state_dict(layer.conv.state_dict())
    norm.load_state_dict(layer.norm.state_dict(), strict=scale)
    return layer, nn.Sequential(conv, norm, nn.ReLU())


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "explicit"),
    [
        ((1, 3, 3), (1, 1, 1), "same", ((0, 0), (1, 1), (1, 1))),
        ((3, 1, 1), (1, 1, 1), "same", ((1, 1), (0, 0), (0, 0))),
        ((7, 7, 7), (2, 2, 2), "same", ((2, 3), (3, 3), (2, 3))),
        ((4, 8, 8), (2, 2, 2), ((0, 2), (2, 4), (2, 4)), ((0, 2), (2, 4), (2, 4))),
        ((1, 1, 1), (1, 1, 1), "same", ((0, 0), (0, 0), (0, 0))),
    ],
)
def test_folded_norm_is_the_unfolded_one(
    randomise, scale: bool, kernel, stride, padding, explicit
) -> None:
    layer, plain = layer_and_plain(randomise, scale, kernel=kernel, stride=stride, padding=padding)
    x = tensor(0, 2, 5, 8, 11, 10)
    for training in (True, False):  # the statistics of the training pass are those that fold
        ours, expected = (
            module.train(training)(y)
            for module, y in ((layer, x), (plain, padded(x, explicit, 0.0)))
        )
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.norm.running_var, plain[1].running_var)
    torch.testing.assert_close(layer.norm.running_mean, plain[1].running_mean)


def test_frozen_norms_have_gradients(randomise) -> None:
    """Frozen statistics, as in detection training: gradients are those of the unfolded norm."""
    layer, plain = layer_and_plain(
        randomise, True, kernel=(3, 3, 3), stride=(1, 1, 1), padding="same"
    )
    layer.train(), plain.train()
    layer.norm.eval(), plain[1].eval()
    x = tensor(0, 2, 5, 4, 6, 6).requires_grad_()
    y = x.detach().clone().requires_grad_()
    layer(x).square().mean().backward()
    plain(padded(y, ((1, 1),) * 3, 0.0)).square().mean().backward()
    for ours, theirs in [
        (x, y), (layer.conv.weight, plain[0].weight),
        (layer.norm.weight, plain[1].weight), (layer.norm.bias, plain[1].bias),
    ]:  # fmt: skip
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert layer.norm.num_batches_tracked == 0


def test_a_norm_without_scale_has_one_parameter_less() -> None:
    layer = ConvNormReLU(3, 4, (1, 1, 1), eps=1e-3, momentum=1e-3, scale=False)
    assert [name for name, _ in layer.named_parameters()] == ["conv.weight", "norm.bias"]
    assert "norm.weight" not in layer.state_dict()


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3), (1, 1, 1)])
def test_outputs_stay_channels_last(kernel: tuple[int, int, int]) -> None:
    layer = ConvNormReLU(8, 16, kernel, eps=1e-3, momentum=1e-3, scale=True)
    x = tensor(0, 2, 8, 4, 6, 6).contiguous(memory_format=CHANNELS_LAST)
    for module in (layer.train(), layer.eval(), SelfGate(8)):
        assert module(x).is_contiguous(memory_format=CHANNELS_LAST)
    for rule in ("symmetric", "same", "end"):
        pooled = MaxPool3d((3, 3, 3), (2, 2, 2), rule)(x)
        assert pooled.is_contiguous(memory_format=CHANNELS_LAST)


def test_classifier_is_the_mean_over_windows(randomise) -> None:
    head = Classifier(6, 4, window=(2, 3, 3), dropout=0.0)
    randomise(head)
    features = tensor(0, 2, 6, 4, 5, 4)
    windows = [
        head.fc(features[:, :, t : t + 2, y : y + 3, x : x + 3].mean((2, 3, 4)))
        for t, y, x in itertools.product(range(3), range(3), range(2))
    ]
    torch.testing.assert_close(head(features), torch.stack(windows).mean(0))
    whole = Classifier(6, 4, window=None)
    whole.load_state_dict(head.state_dict())
    torch.testing.assert_close(whole.eval()(features), head.fc(features.mean((2, 3, 4))))
    # A map smaller than the window is averaged as a whole.
    small = features[:, :, :1, :2, :2]
    torch.testing.assert_close(head(small), head.fc(small.mean((2, 3, 4))))


def test_dropout_in_training_only(randomise) -> None:
    head = Classifier(6, 4, window=None, dropout=0.5)
    randomise(head)
    features = tensor(0, 2, 6, 4, 5, 4)
    assert torch.equal(head.eval()(features), head(features))
    torch.manual_seed(0)
    assert not torch.equal(head.train()(features), head(features))
