"""S3D is torchvision's S3D, and S3D-G starts as the same function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from actiontubes.backbones.classifier import Classifier
from actiontubes.backbones.cost import multiply_adds, parameters
from actiontubes.backbones.family import ENDPOINTS, get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.layers import SelfGate
from actiontubes.backbones.weights.convert import inflate_googlenet
from actiontubes.backbones.weights.load import load_file
from torch import nn
from torchvision.models.video import S3D, S3D_Weights, s3d


@pytest.fixture(scope="module")
def theirs(randomise) -> S3D:
    model = s3d(weights=None)
    randomise(model)
    return model.eval()


@pytest.fixture(scope="module")
def file(theirs: S3D, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "s3d.pth"
    torch.save(theirs.state_dict(), path)
    return path


def clip(*size: int) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, "features that fade would prove nothing"
    torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=0)


@torch.inference_mode()
def test_logits_equal_torchvision(theirs: S3D, file: Path) -> None:
    model = load_file(file, get_variant("s3d"))
    assert model.head is not None
    x = clip(16, 224, 224)
    assert_same(model.head(model.trunk(x)), theirs(x))


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 48, 48), (21, 50, 75)])
def test_features_equal_torchvision(theirs: S3D, file: Path, size: tuple[int, ...]) -> None:
    trunk = load_file(file, get_variant("s3d")).trunk
    x = clip(*size)
    ours = trunk.endpoints(x, ENDPOINTS)
    for name, layer in zip(ENDPOINTS, theirs.features, strict=True):
        x = layer(x)
        assert_same(ours[name], x)


@torch.inference_mode()
def test_the_head_alone_on_larger_maps(theirs: S3D, file: Path) -> None:
    head = load_file(file, get_variant("s3d")).head
    assert head is not None
    features = torch.rand(2, 1024, 5, 9, 8)
    assert_same(head(features), theirs.classifier(theirs.avgpool(features)).mean((2, 3, 4)))


def test_published_costs() -> None:
    with torch.device("meta"):
        trunk = Trunk(get_variant("s3d"))
        model = nn.Sequential(trunk, Classifier(1024, 400)).eval()
    meta = S3D_Weights.KINETICS400_V1.meta
    assert parameters(model) == meta["num_params"] == 8_320_048
    assert multiply_adds(model, (1, 3, 16, 224, 224)) / 1e9 == pytest.approx(17.979, abs=5e-4)


def test_labels_and_normalisation(file: Path) -> None:
    model = load_file(file, get_variant("s3d"))
    meta = S3D_Weights.KINETICS400_V1
    assert list(model.labels) == meta.meta["categories"]
    frames = torch.randint(0, 256, (2, 4, 6, 5, 3), dtype=torch.uint8)
    expected = (
        frames / 255 - torch.tensor(meta.transforms().mean)
    ) / torch.tensor(meta.transforms().std)  # fmt: skip
    ours = model.normalize(frames)
    assert ours.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(ours, expected.permute(0, 4, 1, 2, 3))


def test_a_head_of_other_classes_has_no_labels(randomise, tmp_path: Path) -> None:
    theirs = s3d(num_classes=7)
    randomise(theirs)
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}},
               tmp_path / "mine.pt")  # fmt: skip
    model = load_file(tmp_path / "mine.pt", get_variant("s3d"))
    assert model.head is not None
    assert model.labels == () and model.head.fc.out_features == 7
    x = clip(14, 65, 65)
    with torch.inference_mode():
        features = model.trunk(x)
        assert_same(features, theirs.eval().features(x))


@pytest.mark.parametrize("placement", ["temporal", "branches"])
def test_gates_keep_the_function_and_learn(theirs: S3D, file: Path, placement: str) -> None:
    model = load_file(file, get_variant(f"s3d-g({placement})"))
    assert model.head is not None
    x = clip(16, 48, 48)
    features = model.trunk(x)
    with torch.inference_mode():
        assert_same(features, theirs.features(x))
    model.head(features).square().sum().backward()
    gates = [layer for layer in model.trunk.modules() if isinstance(layer, SelfGate)]
    # Conv2d_1a, Conv2d_2c and two branches of nine blocks; or Conv2d_2c and four branches of nine.
    assert len(gates) == {"temporal": 20, "branches": 37}[placement]
    for gate in gates:
        assert gate.fc.weight.grad is not None and gate.fc.bias.grad is not None
        assert gate.fc.weight.grad.abs().max() > 0
        assert gate.fc.bias.grad.abs().max() > 0


def test_gates_at_their_start_are_a_half() -> None:
    x = torch.randn(2, 8, 3, 4, 5)
    torch.testing.assert_close(SelfGate(8)(x), x / 2)


def test_gate_is_the_papers_formula(randomise) -> None:
    gate = SelfGate(8)
    randomise(gate)
    nn.init.normal_(gate.fc.bias)
    x = torch.randn(2, 8, 3, 4, 5)
    expected = torch.empty_like(x)
    for n in range(2):
        mean = torch.stack([x[n, c].mean() for c in range(8)])
        for c in range(8):
            z = (gate.fc.weight[c] * mean).sum() + gate.fc.bias[c]
            expected[n, c] = x[n, c] / (1 + torch.exp(-z))
    torch.testing.assert_close(gate(x), expected)


@pytest.mark.parametrize("name", ["i3d", "i2d", "fast-s3d", "top-heavy-i3d"])
def test_other_networks_cannot_load_s3d(file: Path, name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"S3D weights can be loaded into s3d and s3d-g only, not into {name}"
    ):
        load_file(file, get_variant(name))


def test_s3d_weights_are_refused_as_googlenet(theirs: S3D) -> None:
    with pytest.raises(ValueError, match="conv1"):
        inflate_googlenet(theirs.state_dict(), get_variant("s3d"))
