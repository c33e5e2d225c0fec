"""torchvision's video networks as trunks: feature maps, grids, freezing, weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from actiontubes.backbones.torchvision_video import TORCHVISION_NETWORKS, TorchvisionTrunk
from actiontubes.backbones.weights import load as weights_load
from actiontubes.backbones.weights.load import load_torchvision_trunk
from actiontubes.datasets.errors import InputError
from torch import Tensor, nn
from torchvision.models import get_model

SIZE = (8, 64, 96)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(name: str) -> TorchvisionTrunk:
    torch.manual_seed(0)
    return TorchvisionTrunk(TORCHVISION_NETWORKS[name]).eval()


@pytest.fixture(scope="module", params=TORCHVISION_NETWORKS)
def trunk(request: pytest.FixtureRequest) -> TorchvisionTrunk:
    return built(request.param)


def test_shapes(trunk: TorchvisionTrunk) -> None:
    shapes = trunk.endpoint_shapes
    with torch.inference_mode():
        maps = trunk.endpoints(torch.rand(2, 3, *SIZE), list(shapes))
    for name, (channels, time, space) in shapes.items():
        expected = (2, channels, SIZE[0] // time, SIZE[1] // space, SIZE[2] // space)
        assert maps[name].shape == expected, name
    assert (trunk.last, trunk.out_channels) == (name, channels)


@pytest.mark.parametrize("name", ["r2plus1d_18", "swin3d_t"])
def test_the_last_map_is_torchvisions(name: str) -> None:
    """What torchvision's own network pools before its classifier."""
    torch.manual_seed(0)
    network = get_model(name, weights=None).eval()
    clip = torch.rand(1, 3, *SIZE)
    seen: list[Tensor] = []
    network.avgpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(clip)
        found = TorchvisionTrunk(TORCHVISION_NETWORKS[name], model=network).eval()(clip)
    torch.testing.assert_close(found, seen[0])


def test_mvits_tokens_are_torchvisions() -> None:
    """torchvision's own network keeps to one size, which is set here."""
    torch.manual_seed(0)
    network = get_model("mvit_v2_s", weights=None).eval()
    network.pos_encoding.temporal_size, network.pos_encoding.spatial_size = 4, (16, 24)
    clip = torch.rand(1, 3, *SIZE)
    seen: list[Tensor] = []
    network.norm.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.inference_mode():
        network(clip)
        found = TorchvisionTrunk(TORCHVISION_NETWORKS["mvit_v2_s"], model=network).eval()(clip)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), seen[0][:, 1:])


def test_receptive_fields_are_centered_on_the_grid(trunk: TorchvisionTrunk) -> None:
    """A cell's features depend most on the pixels around the center that the grid gives.

    The gradient of one cell, of random sign in its channels, has its centre of mass there: the
    layers' kernels are symmetric about it, and attention reaches everywhere alike.
    """
    size = (4, 96, 128)
    for name in list(trunk.endpoint_shapes)[1:3]:
        grid = trunk.grid(name, size)
        clip = torch.rand(1, 3, *size, requires_grad=True)
        features = trunk.endpoints(clip, [name])[name][0]
        middle = [side // 2 for side in features.shape[1:]]
        torch.manual_seed(1)
        weight = torch.zeros(size)
        for _ in range(3):
            of_cell = features[(slice(None), *middle)] @ torch.randn(features.shape[0])
            (gradient,) = torch.autograd.grad(of_cell, clip, retain_graph=True)
            weight += gradient[0].square().sum(0)
        for axis in (1, 2):
            along = weight.sum([other for other in range(3) if other != axis])
            # Of what lies within two cells: farther away attention has a floor.
            expected = grid.origin[axis] + middle[axis] * grid.stride[axis]
            place = torch.arange(size[axis])
            near = (place - expected).abs() <= 2 * grid.stride[axis]
            found = (along * place * near).sum() / (along * near).sum()
            assert abs(found - expected) < grid.stride[axis] / 4, (name, axis, found, expected)


def test_a_changed_spot_changes_its_cell_most(trunk: TorchvisionTrunk) -> None:
    """Of all cells the one whose center is nearest to a changed spot changes most."""
    size = (4, 128, 160)
    name = list(trunk.endpoint_shapes)[1]
    grid = trunk.grid(name, size)
    torch.manual_seed(2)
    clip = torch.rand(1, 3, *size)
    with torch.inference_mode():
        plain = trunk.endpoints(clip, [name])[name]
        for cell in ((5, 7), (9, 12)):
            y, x = (
                round(grid.origin[axis] + cell[axis - 1] * grid.stride[axis]) for axis in (1, 2)
            )
            changed = clip.clone()
            changed[..., y - 1 : y + 2, x - 1 : x + 2] += 3
            change = (trunk.endpoints(changed, [name])[name] - plain).square().sum((0, 1, 2))
            best = int(change.argmax())
            assert divmod(best, change.shape[1]) == cell


@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_freeze_and_truncate(name: str) -> None:
    trunk = built(name).train()
    first, second, third, last = trunk.endpoint_shapes
    trunk.freeze(second)
    assert trunk.frozen == ("stem", first, second)
    rest = trunk.truncate(third)
    assert [stage for stage, _ in rest.named_children()] == [last]
    assert trunk.last == third and not hasattr(trunk, last)
    clip = torch.rand(1, 3, *SIZE)
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    trunk.train()
    trunk(clip).sum().backward()
    learning = {
        key.split(".")[0] for key, value in trunk.named_parameters() if value.grad is not None
    }
    assert learning == {third}
    for key, value in trunk.state_dict().items():
        if not key.startswith(third):
            assert torch.equal(value, before[key]), key
    with pytest.raises(ValueError, match=f"no layer {last}"):
        trunk.freeze(last)
    with pytest.raises(ValueError, match=f"does not compute {last}"):
        trunk.endpoints(clip, [last])
    with pytest.raises(ValueError, match="does not compute stem"):
        trunk.endpoints(clip, ["stem"])


def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file and from torchvision, with their mean."""
    torch.manual_seed(3)
    network = get_model("r2plus1d_18", weights=None).eval()
    path = tmp_path / "r2plus1d_18-91a641e6.pth"
    torch.save(network.state_dict(), path)
    clip = torch.rand(1, 3, *SIZE)
    asked = []

    def fetch(weights: object) -> Path:
        asked.append(str(weights))
        return path

    monkeypatch.setattr(weights_load, "fetch_torchvision", fetch)
    for weights in (str(path), "kinetics400"):
        model = load_torchvision_trunk("r2plus1d_18", weights)
        with torch.inference_mode():
            torch.testing.assert_close(
                model.trunk(clip), nn.Sequential(*list(network.children())[:5])(clip)
            )
        assert model.mean == (0.43216, 0.394666, 0.37645) and model.head is None
    assert asked == ["R2Plus1D_18_Weights.KINETICS400_V1"]
    with pytest.raises(InputError, match="are not the weights of torchvision's swin3d_t"):
        load_torchvision_trunk("swin3d_t", str(path))
    with pytest.raises(InputError, match=r"absent.pth: no such file.*kinetics400"):
        load_torchvision_trunk("swin3d_t", "absent.pth")
