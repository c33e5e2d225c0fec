"""S3D-G in the layout of the HowTo100M checkpoint, against a network written from its facts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.family import ENDPOINTS, get_variant
from actiontubes.backbones.weights.load import load_file
from actiontubes.datasets.errors import InputError
from torch import Tensor

State = dict[str, Tensor]


def random_state(blocks: dict[str, tuple], dense_stem: bool = False) -> State:
    numbers = torch.Generator().manual_seed(0)
    state: State = {}

    def uniform(low: float, high: float, size: int) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=numbers)

    def convolution(name: str, part: int, channels: int, *kernel: int) -> None:
        deviation = 0.8 * (2 / torch.tensor(kernel).prod().item()) ** 0.5
        weight = torch.randn(channels, *kernel, generator=numbers) * deviation
        state[f"{name}.conv{part}.weight"] = weight
        state[f"{name}.bn{part}.weight"] = uniform(0.5, 1.5, channels)
        state[f"{name}.bn{part}.bias"] = uniform(-0.3, 0.3, channels)
        state[f"{name}.bn{part}.running_mean"] = uniform(-0.3, 0.3, channels)
        state[f"{name}.bn{part}.running_var"] = uniform(0.5, 1.5, channels)
        state[f"{name}.bn{part}.num_batches_tracked"] = torch.tensor(7)

    def separated(name: str, channels_in: int, channels: int) -> None:
        convolution(name, 1, channels, channels_in, 1, 3, 3)
        convolution(name, 2, channels, channels, 3, 1, 1)

    def linear(name: str, channels_in: int, channels: int) -> None:
        deviation = channels_in**-0.5
        weight = torch.randn(channels, channels_in, generator=numbers)
        state[f"{name}.weight"] = weight * deviation
        state[f"{name}.bias"] = uniform(-0.5, 0.5, channels)

    if dense_stem:
        convolution("conv1", 1, 64, 3, 3, 7, 7)
    else:
        convolution("conv1", 1, 64, 24, 2, 4, 4)
    convolution("conv_2b", 1, 64, 64, 1, 1, 1)
    separated("conv_2c", 64, 192)
    linear("gating.fc", 192, 192)
    for name, (c, b0, (r1, b1), (r2, b2), b3) in blocks.items():
        block = name.lower()
        convolution(f"{block}.conv_b0", 1, b0, c, 1, 1, 1)
        convolution(f"{block}.conv_b1_a", 1, r1, c, 1, 1, 1)
        separated(f"{block}.conv_b1_b", r1, b1)
        convolution(f"{block}.conv_b2_a", 1, r2, c, 1, 1, 1)
        separated(f"{block}.conv_b2_b", r2, b2)
        convolution(f"{block}.conv_b3_b", 1, b3, c, 1, 1, 1)
        for branch, channels in enumerate((b0, b1, b2, b3)):
            linear(f"{block}.gating_b{branch}.fc", channels, channels)
    linear("fc", 1024, 512)
    state["text_module.word_embd.weight"] = torch.zeros(9, 300)
    return state


def reference(state: State, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every endpoint and the video embedding, by plain 3D operations."""

    def convolution(name: str, part: int, x: Tensor, padding: tuple[int, int, int]) -> Tensor:
        x = F.conv3d(x, state[f"{name}.conv{part}.weight"], padding=padding)
        norm = {key: state[f"{name}.bn{part}.{key}"][:, None, None, None]
                for key in ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        x = (x - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5)
        return F.relu(x * norm["weight"] + norm["bias"])

    def separated(name: str, x: Tensor) -> Tensor:
        return convolution(name, 2, convolution(name, 1, x, (0, 1, 1)), (1, 0, 0))

    def gate(name: str, x: Tensor) -> Tensor:
        logits = x.mean((2, 3, 4)) @ state[f"{name}.fc.weight"].T + state[f"{name}.fc.bias"]
        return x * torch.sigmoid(logits)[:, :, None, None, None]

    def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
        """TensorFlow-like for even sizes: zeros, k - s of them, the smaller half before."""
        pads = []
        for k, s in zip(reversed(kernel), reversed(stride), strict=True):
            pads += [max(k - s, 0) // 2, max(k - s, 0) - max(k - s, 0) // 2]
        return F.max_pool3d(F.pad(x, pads), kernel, stride, ceil_mode=True)

    def block(name: str, x: Tensor) -> Tensor:
        flat = (0, 0, 0)
        branches = [
            convolution(f"{name}.conv_b0", 1, x, flat),
            separated(f"{name}.conv_b1_b", convolution(f"{name}.conv_b1_a", 1, x, flat)),
            separated(f"{name}.conv_b2_b", convolution(f"{name}.conv_b2_a", 1, x, flat)),
            convolution(f"{name}.conv_b3_b", 1, F.max_pool3d(x, 3, 1, 1), flat),
        ]
        return torch.cat([gate(f"{name}.gating_b{i}", y) for i, y in enumerate(branches)], 1)

    features = {}
    if state["conv1.conv1.weight"].shape[1] == 24:
        n, c, t, h, w = x.shape
        x = x.reshape(n, c, t // 2, 2, h // 2, 2, w // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
        x = x.reshape(n, 8 * c, t // 2, h // 2, w // 2)
        x = convolution("conv1", 1, x, (1, 2, 2))[:, :, 1:, 1:, 1:]
    else:
        name = "conv1"
        y = F.conv3d(x, state[f"{name}.conv1.weight"], stride=2, padding=(1, 3, 3))
        y = F.batch_norm(y, state[f"{name}.bn1.running_mean"], state[f"{name}.bn1.running_var"],
                         state[f"{name}.bn1.weight"], state[f"{name}.bn1.bias"])  # fmt: skip
        x = F.relu(y)
    features["Conv2d_1a_7x7"] = x
    x = features["MaxPool_2a_3x3"] = pool(x, (1, 3, 3), (1, 2, 2))
    x = features["Conv2d_2b_1x1"] = convolution("conv_2b", 1, x, (0, 0, 0))
    x = features["Conv2d_2c_3x3"] = gate("gating", separated("conv_2c", x))
    x = features["MaxPool_3a_3x3"] = pool(x, (1, 3, 3), (1, 2, 2))
    for name in ENDPOINTS[5:]:
        if name == "MaxPool_4a_3x3":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        elif name == "MaxPool_5a_2x2":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        else:
            x = block(name.lower(), x)
        features[name] = x
    return features, x.mean((2, 3, 4)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.fixture(scope="module")
def state(blocks) -> State:
    return random_state(blocks)


@pytest.fixture(scope="module")
def model(state: State, tmp_path_factory) -> PretrainedModel:
    path = tmp_path_factory.mktemp("weights") / "s3d_howto100m.pth"
    torch.save(state, path)
    return load_file(path, get_variant("s3d-g"))


def assert_same(model: PretrainedModel, state: State, x: Tensor) -> None:
    expected, embedding = reference(state, x)
    features = model.trunk.endpoints(x, ENDPOINTS)
    for name in ENDPOINTS:
        assert expected[name].std() > 0.02, "features that fade would prove nothing"
        torch.testing.assert_close(features[name], expected[name], atol=3e-5, rtol=0)
    assert model.head is not None
    torch.testing.assert_close(model.head(features["Mixed_5c"]), embedding, atol=3e-5, rtol=0)


# The space-to-depth stem takes even sizes; those of later layers may be odd.
@torch.inference_mode()
@pytest.mark.parametrize("size", [(16, 64, 64), (10, 34, 70), (6, 50, 38)])
def test_equals_the_reference(model: PretrainedModel, state: State, size: tuple) -> None:
    assert_same(model, state, torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)))


@torch.inference_mode()
def test_equals_the_reference_with_a_dense_stem(blocks, tmp_path: Path) -> None:
    state = random_state(blocks, dense_stem=True)
    torch.save({"state_dict": state}, tmp_path / "dense.pth")
    model = load_file(tmp_path / "dense.pth", get_variant("s3d-g"))
    assert_same(model, state, torch.rand(1, 3, 9, 37, 50))


def test_it_has_no_labels_and_takes_values_in_0_to_1(model: PretrainedModel) -> None:
    assert model.head is not None
    assert model.labels == () and model.head.fc.out_features == 512
    frames = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 3)
    assert model.normalize(frames).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gating.fc.bias", None, "gating.fc.bias is missing in the file"),
        ("mixed_4c.gating_b3.fc.weight", None, "mixed_4c.gating_b3.fc.weight is missing in the"),
        ("mixed_4c.conv_b1_b.bn2.running_var", None, "mixed_4c.conv_b1_b.bn2.running"),
        ("mixed_4c.gating_b3.fc.weight", torch.zeros(64, 63), "Mixed_4c.branch3.2.fc.weight has"),
        ("conv1.conv1.weight", torch.zeros(64, 12, 2, 4, 4), "Conv2d_1a_7x7.0.conv.weight has"),
        ("fc.weight", torch.zeros(()), "weights for the classifier have shape ()"),
        (
            "fc.bias",
            torch.full((512,), float("nan")),
            "fc.bias contains values that are not finite",
        ),
    ],
)
def test_damaged_files_are_refused(
    refusal, state: State, tmp_path: Path, key: str, value: Tensor | None, message: str
) -> None:
    changed = {k: v for k, v in state.items() if k != key}
    if value is not None:
        changed[key] = value
    path = tmp_path / "s3d_howto100m.pth"
    torch.save(changed, path)
    assert message in refusal(path, "s3d-g")


@pytest.mark.parametrize("name", ["s3d", "s3d-g(temporal)", "i3d"])
def test_other_networks_are_refused(state: State, tmp_path: Path, name: str) -> None:
    torch.save(state, tmp_path / "s3d_howto100m.pth")
    with pytest.raises(
        InputError, match="HowTo100M weights can be loaded into s3d-g only, not into "
    ):
        load_file(tmp_path / "s3d_howto100m.pth", get_variant(name))
