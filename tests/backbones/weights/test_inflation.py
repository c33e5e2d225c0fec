"""ImageNet's GoogLeNet inflated: a clip of one image has that image's features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from actiontubes.backbones.family import VARIANTS, get_variant
from actiontubes.backbones.layers import ConvNormReLU
from actiontubes.backbones.weights.load import load_file
from torch import Tensor
from torchvision.models import GoogLeNet, googlenet

PLACES = {
    "Conv2d_1a_7x7": "conv1", "MaxPool_2a_3x3": "maxpool1", "Conv2d_2c_3x3": "conv3",
    "Mixed_3c": "inception3b", "MaxPool_4a_3x3": "maxpool3", "Mixed_4e": "inception4d",
    "Mixed_4f": "inception4e", "Mixed_5c": "inception5b",
}  # fmt: skip
NETWORKS = [*VARIANTS, "s3d-g(temporal)", "top-heavy-i3d(Mixed_3b)", "bottom-heavy-i3d(Mixed_5b)"]


@pytest.fixture(scope="module")
def theirs(randomise) -> GoogLeNet:
    # As the released file: with the auxiliary classifiers, which are left aside.
    model = googlenet(weights=None, init_weights=False, aux_logits=True)
    randomise(model)
    return model.eval()


@pytest.fixture(scope="module")
def file(theirs: GoogLeNet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "googlenet.pth"
    torch.save(theirs.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def expected(theirs: GoogLeNet, picture: Tensor) -> dict[str, Tensor]:
    features: dict[str, Tensor] = {}
    hooks = [
        theirs.get_submodule(place).register_forward_hook(
            lambda _, __, y, name=name: features.__setitem__(name, y)
        )
        for name, place in PLACES.items()
    ]
    with torch.inference_mode():
        theirs(picture)
    for hook in hooks:
        hook.remove()
    return features


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_repeated_image_has_the_features_of_the_image(
    file: Path, picture: Tensor, expected: dict[str, Tensor], name: str
) -> None:
    model = load_file(file, get_variant(name))
    assert model.head is None and (model.mean, model.std) == ((0.5,) * 3, (0.5,) * 3)
    # Long enough that the middle of Mixed_5c sees neither end: 99 frames.
    features = model.trunk.endpoints(picture[:, :, None].repeat(1, 1, 112, 1, 1), PLACES)
    for endpoint, value in expected.items():
        assert value.std() > 0.05, "features that fade would prove nothing"
        middle = features[endpoint][:, :, features[endpoint].shape[2] // 2]
        torch.testing.assert_close(middle, value, atol=3e-5, rtol=0)


def test_separate_temporal_convolutions_start_as_the_identity(file: Path) -> None:
    trunk = load_file(file, get_variant("s3d")).trunk
    found = 0
    for layer in trunk.modules():
        if isinstance(layer, ConvNormReLU) and layer.kernel[0] > 1:
            x = torch.rand(1, layer.conv.in_channels, 8, 2, 2)
            with torch.inference_mode():
                torch.testing.assert_close(layer(x), x[:, :, :: layer.stride[0]])
            found += 1
    assert found == 20


def test_dense_kernels_repeat_the_flat_ones(file: Path, theirs: GoogLeNet) -> None:
    stem = load_file(file, get_variant("i3d")).trunk.get_submodule("Conv2d_1a_7x7.0")
    assert isinstance(stem, ConvNormReLU)
    for step in range(7):
        assert torch.allclose(stem.conv.weight[:, :, step] * 7, theirs.conv1.conv.weight)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("inception4c.branch3.1.bn.bias", None, "inception4c.branch3.1.bn.bias is missing in the"),
        ("conv2.conv.weight", torch.zeros(64), "conv2.conv.weight does not have 4 dimensions"),
        ("conv2.bn.running_mean", torch.zeros(63), "Conv2d_2b_1x1.0.norm.running_mean has shape"),
        (
            "conv2.bn.running_mean",
            torch.full((64,), float("nan")),
            "norm.running_mean contains values that are",
        ),
    ],
)
def test_damaged_files_are_refused(
    refusal, theirs: GoogLeNet, tmp_path: Path, key: str, value: Tensor | None, message: str
) -> None:
    state = {k: v for k, v in theirs.state_dict().items() if k != key}
    if value is not None:
        state[key] = value
    path = tmp_path / "googlenet.pth"
    torch.save(state, path)
    assert message in refusal(path, "s3d")
