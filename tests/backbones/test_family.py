"""Every network of the family: shapes, prefixes, training, and the grids of its feature maps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from actiontubes.backbones.family import (
    ENDPOINTS,
    HOWTO100M_LAYOUT,
    I3D_LAYOUT,
    TORCHVISION_LAYOUT,
    VARIANTS,
    Variant,
    WeightLayout,
    endpoint_shapes,
    get_variant,
)
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.layers import ConvNormReLU, SelfGate
from actiontubes.datasets.errors import InputError
from torch import Tensor, nn

NETWORKS = [
    *VARIANTS,
    "s3d-g(temporal)",
    "top-heavy-i3d(Conv2d_2c_3x3)",
    "bottom-heavy-i3d(Mixed_5b)",
]
LAYOUTS = {"i3d": I3D_LAYOUT, "torchvision": TORCHVISION_LAYOUT, "howto100m": HOWTO100M_LAYOUT}
CHANNELS = {"Conv2d_1a_7x7": 64, "MaxPool_2a_3x3": 64, "Conv2d_2b_1x1": 64, "Conv2d_2c_3x3": 192,
            "MaxPool_3a_3x3": 192, "Mixed_3b": 256, "Mixed_3c": 480, "MaxPool_4a_3x3": 480,
            "Mixed_4b": 512, "Mixed_4c": 512, "Mixed_4d": 512, "Mixed_4e": 528, "Mixed_4f": 832,
            "MaxPool_5a_2x2": 832, "Mixed_5b": 832, "Mixed_5c": 1024}  # fmt: skip


def small(name: str, last: str = "Mixed_5c") -> Trunk:
    torch.manual_seed(0)
    return Trunk(get_variant(name), 0.125, last)


def clip(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


def test_shapes_are_the_papers() -> None:
    shapes = endpoint_shapes()
    assert {name: channels for name, (channels, _, _) in shapes.items()} == CHANNELS
    assert shapes["Mixed_3c"][1:] == (2, 8)
    assert shapes["Mixed_4b"][1:] == shapes["Mixed_4f"][1:] == (4, 16)
    assert shapes["Mixed_5b"][1:] == shapes["Mixed_5c"][1:] == (8, 32)


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_every_endpoint(name: str, training: bool) -> None:
    trunk = small(name).train(training)
    t, h, w = 16, 64, 96
    features = trunk.endpoints(clip(2, 3, t, h, w), ENDPOINTS)
    assert trunk.out_channels == features["Mixed_5c"].shape[1]
    for endpoint, (channels, time, space) in endpoint_shapes(0.125).items():
        feature = features[endpoint]
        assert feature.shape == (2, channels, t // time, h // space, w // space)
        assert feature.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.isfinite(feature).all() and feature.std() > 0


@torch.inference_mode()
@pytest.mark.parametrize("name", ["i3d", "s3d-g", "fast-s3d", "bottom-heavy-i3d"])
def test_a_shorter_trunk_is_the_beginning_of_the_whole(name: str) -> None:
    whole = small(name).eval()
    x = clip(1, 3, 9, 50, 40)
    features = whole.endpoints(x, ENDPOINTS)
    assert torch.equal(whole(x), features["Mixed_5c"])
    for last in ("Conv2d_1a_7x7", "MaxPool_3a_3x3", "Mixed_4e"):
        part = Trunk(whole.variant, whole.width_multiplier, last).eval()
        part.load_state_dict(
            {k: v for k, v in whole.state_dict().items() if k in part.state_dict()}
        )
        assert list(dict(part.named_children())) == list(ENDPOINTS[: ENDPOINTS.index(last) + 1])
        assert part.out_channels == features[last].shape[1]
        assert torch.equal(part(x), features[last])
        with pytest.raises(
            ValueError, match="does not compute Mixed_5c; it computes Conv2d_1a_7x7"
        ):
            part.endpoints(x, ["Mixed_5c"])


@torch.inference_mode()
def test_clips_of_a_batch_are_independent() -> None:
    trunk = small("s3d-g").eval()
    x = clip(3, 3, 8, 40, 40)
    both = trunk(x)
    for i in range(3):
        torch.testing.assert_close(trunk(x[i, None])[0], both[i], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_input_has_any_memory_format_and_is_not_changed() -> None:
    trunk = small("s3d", "Mixed_3b").eval()
    frames = clip(1, 8, 40, 50, 3)
    x = frames.permute(0, 4, 1, 2, 3)
    before = x.clone()
    expected = trunk(x)
    assert torch.equal(trunk(x.contiguous()), expected) and torch.equal(x, before)


@pytest.mark.parametrize("width", [0.125, 0.5, 1.5])
def test_width_multiplies_every_layer(width: float) -> None:
    with torch.device("meta"):
        whole, scaled = Trunk(get_variant("s3d-g")), Trunk(get_variant("s3d-g"), width)
    for (name, one), (_, other) in zip(
        whole.named_parameters(), scaled.named_parameters(), strict=True
    ):
        for size, new in zip(one.shape[:2], other.shape[:2], strict=True):
            assert new == (3 if size == 3 else 1 if size == 1 else max(8, round(size * width))) or (
                # The input of a block is the sum of rounded branches.
                size in CHANNELS.values() and abs(new - size * width) <= 32
            ), name


def test_temporal_and_gated_layers() -> None:
    def temporal(name: str) -> set[str]:
        with torch.device("meta"):
            modules = Trunk(get_variant(name)).named_modules()
        return {
            n.split(".")[0] for n, m in modules if isinstance(m, ConvNormReLU) and m.kernel[0] > 1
        }

    def gated(name: str) -> list[str]:
        with torch.device("meta"):
            modules = Trunk(get_variant(name)).named_modules()
        return [n for n, m in modules if isinstance(m, SelfGate)]

    convolved = {name for name in ENDPOINTS if "Pool" not in name and "2b" not in name}
    mixed = [name for name in ENDPOINTS if name.startswith("Mixed")]
    assert temporal("i2d") == set()
    assert temporal("i3d") == temporal("s3d") == temporal("s3d-g") == convolved
    assert temporal("fast-s3d") == temporal("top-heavy-i3d") == set(mixed[2:])
    assert temporal("bottom-heavy-i3d") == convolved - set(mixed[2:])
    assert temporal("top-heavy-i3d(Mixed_5b)") == {"Mixed_5b", "Mixed_5c"}
    assert temporal("bottom-heavy-i3d(Conv2d_2c_3x3)") == {"Conv2d_1a_7x7"}
    assert gated("s3d") == gated("i3d") == []
    assert gated("s3d-g") == ["Conv2d_2c_3x3.2"] + [
        f"{name}.branch{branch}.{place}"
        for name in mixed
        for branch, place in enumerate((1, 3, 3, 2))
    ]
    assert gated("s3d-g(temporal)") == ["Conv2d_1a_7x7.2", "Conv2d_2c_3x3.2"] + [
        f"{name}.branch{branch}.3" for name in mixed for branch in (1, 2)
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s4d", "s4d: unknown network; choose from i2d, i3d, bottom-heavy-i3d"),
        ("s3d(Mixed_3b)", "unknown network"),
        ("top-heavy-i3d(Mixed_9z)", "Mixed_9z is not a layer; choose from MaxPool_2a_3x3"),
        ("s3d-g(everywhere)", "or .branches., not .everywhere"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        get_variant(name)


def test_unknown_endpoint() -> None:
    with pytest.raises(
        ValueError, match="Mixed_9z is not a layer of the family; choose from Conv2d_1a_7x7"
    ):
        Trunk(get_variant("s3d"), last="Mixed_9z")


@pytest.mark.parametrize("name", NETWORKS)
def test_training_updates_statistics_and_reaches_every_weight(randomise, name: str) -> None:
    trunk = small(name)
    randomise(trunk)
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm3d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    trunk(clip(2, 3, 16, 64, 64)).square().mean().backward()
    for norm, mean in zip(norms, before, strict=True):
        assert norm.running_mean is not None and not torch.equal(norm.running_mean, mean)
        assert norm.num_batches_tracked == 1
    for key, parameter in trunk.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().max() > 0, key


@torch.inference_mode()
@pytest.mark.parametrize("name", ["i3d", "s3d", "s3d-g", "s3d-g(temporal)"])
def test_half_precision(randomise, name: str) -> None:
    trunk = small(name, "Mixed_4b")
    randomise(trunk)
    trunk.eval()
    x = clip(1, 3, 8, 64, 64)
    expected = trunk(x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = trunk(x)
    whole = trunk.bfloat16()(x.bfloat16())
    for ours in (mixed, whole):
        assert ours.dtype is torch.bfloat16
        assert (ours.float() - expected).norm() < 0.05 * expected.norm()


def reach(variant: Variant, endpoint: str, axis: int, size: int) -> tuple[int, int, int]:
    """First and last place along an axis that the middle cell of a map depends on, and the cell.

    Weights are positive and biases zero: a light that is lit at one place alone shows in a cell if
    and only if the cell depends on that place.
    """
    trunk = Trunk(variant, 0.125, endpoint).eval()
    with torch.no_grad():
        for layer in trunk.modules():
            if isinstance(layer, nn.Conv3d):
                layer.weight.fill_(1 / layer.weight[0].numel())
    extent = [2, 2, 2]
    extent[axis] = size
    lights = torch.zeros(size, 1, 3, *extent, dtype=torch.float64)
    for place in range(size):
        lights[(place, 0, slice(None), *(place if i == axis else 0 for i in range(3)))] = 1
    with torch.inference_mode():
        features = trunk.double()(lights[:, 0])
    features = features.amax((1, *(2 + i for i in range(3) if i != axis)))
    cell = features.shape[1] // 2
    lit = features[:, cell].nonzero().flatten()
    assert lit[0] > 0 and lit[-1] < size - 1, "the clip must be larger than what the cell sees"
    return int(lit[0]), int(lit[-1]), cell


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["s3d", "i2d"])
@pytest.mark.parametrize("size", [132, 135])
def test_receptive_fields_are_centered_on_the_grid(layout: str, name: str, size: int) -> None:
    variant = replace(get_variant(name), layout=LAYOUTS[layout])
    for axis, endpoint in [(0, "Mixed_4c"), (1, "MaxPool_4a_3x3"), (2, "Mixed_3c")]:
        extent = [2, 2, 2]
        extent[axis] = size
        with torch.device("meta"):
            grid = Trunk(variant, 0.125, endpoint).grid(endpoint, (extent[0], extent[1], extent[2]))
        first, last, cell = reach(variant, endpoint, axis, size)
        assert grid.stride[axis] == endpoint_shapes()[endpoint][1 if axis == 0 else 2]
        assert grid.origin[axis] + cell * grid.stride[axis] == (first + last) / 2


def test_grids_of_symmetric_and_same_padding() -> None:
    """At stride 16, even sizes: pixel 16i with torchvision's padding, 16i + 15 with SAME."""
    size = (20, 320, 400)
    with torch.device("meta"):
        theirs, same = (Trunk(get_variant(name)).grid("Mixed_4e", size) for name in ("s3d", "i3d"))
    assert theirs.stride == same.stride == (4, 16, 16)
    assert theirs.origin == (0, 0, 0) and same.origin == (3, 15, 15)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(20, 320, 400), (9, 45, 33)])
@torch.inference_mode()
def test_sizes_are_rounded_as_documented(layout: WeightLayout, size: tuple[int, int, int]) -> None:
    variant = replace(get_variant("s3d"), layout=LAYOUTS[layout])
    with torch.device("meta"):
        features = Trunk(variant, 0.125).eval().endpoints(torch.empty(1, 3, *size), ENDPOINTS)
    for endpoint, (_, *strides) in endpoint_shapes().items():
        for axis, have in enumerate(features[endpoint].shape[2:]):
            exact = size[axis] / strides[min(axis, 1)]
            assert exact - 1 < have < exact + 1
            if layout == "i3d":
                assert have == -(-size[axis] // strides[min(axis, 1)])
