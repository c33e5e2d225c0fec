"""Trunks on optical flow: two channels, an exact zero, first weights by the mean over colors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel, normalize
from actiontubes.backbones.family import HOWTO100M_LAYOUT, get_variant
from actiontubes.backbones.flow_input import FLOW_MEAN, FLOW_STD, rgb_weights_to_flow
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import load_pretrained, save_pretrained
from actiontubes.datasets.errors import InputError

STEM = "Conv2d_1a_7x7.0.conv.weight"


def model(name: str = "s3d-g", last: str = "Mixed_3b", **changes: object) -> PretrainedModel:
    torch.manual_seed(0)
    variant = replace(get_variant(name), **changes)  # type: ignore[arg-type]
    trunk = Trunk(variant, 0.125, last).eval()
    head = Classifier(trunk.out_channels, 3).eval()
    return PretrainedModel(trunk, head, ("a", "b", "c"), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def test_normalized_values() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 4, 2)
    seen = normalize(frames, FLOW_MEAN, FLOW_STD)
    assert seen.shape == (1, 2, 4, 8, 4)
    flat = seen.permute(0, 2, 3, 4, 1).flatten()
    assert flat[128] == 0
    torch.testing.assert_close(flat, (torch.arange(256) - 128) / 127)
    assert flat[1].item() == pytest.approx(-1) and flat[255].item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["i2d", "i3d", "s3d-g"])
def test_first_kernel(name: str) -> None:
    rgb = model(name)
    flow = rgb_weights_to_flow(rgb)
    assert flow.head is None and flow.labels == () and not flow.trunk.training
    kernel, found = rgb.trunk.state_dict()[STEM], flow.trunk.state_dict()[STEM]
    assert found.shape == (len(kernel), 2, *kernel.shape[2:])
    for channel in range(2):
        torch.testing.assert_close(found[:, channel], kernel.mean(1) * 3 / 2)
    others = {key: value for key, value in rgb.trunk.state_dict().items() if key != STEM}
    assert all(torch.equal(flow.trunk.state_dict()[key], value) for key, value in others.items())


def test_the_response_keeps_its_size() -> None:
    """A gray input, the same in all channels, gives the very same features."""
    rgb = model()
    grey = torch.randn(1, 1, 8, 32, 32)
    with torch.inference_mode():
        expected = rgb.trunk(grey.repeat(1, 3, 1, 1, 1))
        found = rgb_weights_to_flow(rgb).trunk(grey.repeat(1, 2, 1, 1, 1))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_files_keep_the_channels(tmp_path: Path) -> None:
    rgb = model(layout=HOWTO100M_LAYOUT)
    flow = rgb_weights_to_flow(rgb)
    for name, one in (("rgb", rgb), ("flow", flow)):
        save_pretrained(one, tmp_path / f"{name}.safetensors")
    variant = get_variant("s3d-g")
    loaded = load_pretrained(variant, str(tmp_path / "flow.safetensors"), channels_in=2)
    assert loaded.trunk.channels_in == 2 and loaded.trunk.variant.layout == HOWTO100M_LAYOUT
    assert loaded.mean == FLOW_MEAN and loaded.std == FLOW_STD
    averaged = load_pretrained(variant, str(tmp_path / "rgb.safetensors"), channels_in=2)
    for key, value in flow.trunk.state_dict().items():
        assert torch.equal(loaded.trunk.state_dict()[key], value)
        assert torch.equal(averaged.trunk.state_dict()[key], value)
    frames = torch.randint(1, 256, (1, 6, 32, 32, 2), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(
            loaded.trunk(loaded.normalize(frames)), flow.trunk(flow.normalize(frames))
        )
    assert load_pretrained(variant, str(tmp_path / "rgb.safetensors")).trunk.channels_in == 3
    with pytest.raises(
        InputError, match=r"flow\.safetensors: was trained on optical flow .2 channels"
    ):
        load_pretrained(variant, str(tmp_path / "flow.safetensors"))
