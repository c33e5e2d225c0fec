"""A new network is one class and one line in BACKBONES; a detector is trained on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import actiontubes
import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import PretrainedModel
from actiontubes.backbones.grid import EndpointShape, FeatureGrid
from actiontubes.backbones.registry import BACKBONES, build_backbone, load_backbone
from actiontubes.datasets.errors import InputError
from actiontubes.detect.model.checkpoint import load_detector, save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.pretrained import new_detector
from torch import Tensor, nn


class TwoConvolutions(nn.Module):
    """Two strided convolutions, "early" and "late"."""

    name, last, blocks_fit_rois = "two-convolutions", "late", True

    def __init__(
        self,
        name: str,
        *,
        width_multiplier: float = 1.0,
        channels_in: int = 3,
        layout: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.width_multiplier, self.channels_in = width_multiplier, channels_in
        self.layout: Mapping[str, Any] = {}
        self.early = nn.Conv3d(channels_in, 8, (1, 8, 8), (1, 8, 8))
        self.late = nn.Conv3d(8, 16, 2, 2)
        self.endpoint_shapes = {"early": EndpointShape(8, 1, 8), "late": EndpointShape(16, 2, 16)}
        self.out_channels = 16

    def forward(self, clips: Tensor) -> Tensor:
        return self.endpoints(clips, [self.last])[self.last]

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        features = {}
        for name, layer in self.named_children():
            clips = layer(clips)
            if name in names:
                features[name] = clips
        return features

    def grid(self, endpoint: str, size: tuple[int, int, int]) -> FeatureGrid:
        _, time, space = self.endpoint_shapes[endpoint]
        center = (space - 1) / 2
        return FeatureGrid(((time - 1) / 2, center, center), (time, space, space))

    def truncate(self, last: str) -> nn.Sequential:
        rest = nn.Sequential()
        if last == "early" and self.last == "late":
            rest.add_module("late", self.late)
            del self.late
        self.last, self.out_channels = last, self.endpoint_shapes[last].channels
        return rest

    def freeze(self, last: str) -> None:
        self.early.requires_grad_(False)

    def load_pretrained(self, weights: str) -> PretrainedModel:
        trunk = TwoConvolutions(self.name).eval()
        trunk.load_state_dict(torch.load(weights))
        return PretrainedModel(trunk, None, (), mean=(0.4,) * 3, std=(0.2,) * 3)


@pytest.mark.parametrize("head", ["mean", "mixed"])
def test_a_network_is_added_by_one_line(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "two-convolutions", TwoConvolutions)
    torch.manual_seed(0)
    pretrained = TwoConvolutions("two-convolutions")
    torch.save(pretrained.state_dict(), tmp_path / "weights.pt")
    config = DetectorConfig(
        labels=("stand up", "sit down"), backbone="two-convolutions", endpoint="early", head=head,
        proposals="features", proposal_endpoint="early", hidden=8, roi_size=2, frames=4, size=(32,
        48), norm="frozen", anchor_sides=(16, 32),
    )  # fmt: skip
    detector = new_detector(config, weights=str(tmp_path / "weights.pt")).train()
    assert detector.config.mean == (0.4, 0.4, 0.4)
    assert torch.equal(detector.trunk.early.weight, pretrained.early.weight)
    before = {key: value.clone() for key, value in detector.named_parameters()}
    optimizer = torch.optim.SGD(detector.parameters(), 0.1)
    losses = detector(
        torch.randint(0, 256, (2, 4, 32, 48, 3), dtype=torch.uint8), torch.arange(2),
        torch.tensor([2, 2]), [torch.tensor([[4.0, 4, 28, 30]])] * 2,
        [torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])], [0, 1],
    )  # fmt: skip
    sum(losses.values()).backward()
    optimizer.step()
    changed = {
        key for key, value in detector.named_parameters() if not torch.equal(value, before[key])
    }
    assert "trunk.early.weight" in changed and "head.scores.weight" in changed
    assert ("trunk.late.weight" in changed) == (head == "mixed")
    save_detector(detector, tmp_path / "d.safetensors")
    loaded = load_detector(tmp_path / "d.safetensors").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in detector.state_dict().items())
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 96, 3), np.uint8)
    result = actiontubes.load(tmp_path / "d.safetensors", device="cpu").predict(frames, fps=25)
    assert set(result.detections.frame) <= set(range(9)) and len(result.videos) == 1


@pytest.mark.parametrize("name", ["top-heavy-i3d(Mixed_3c)", "s3d-g(temporal)", "swin3d_t"])
def test_names(name: str) -> None:
    with torch.device("meta"):
        network = build_backbone(name)
    assert network.name == name and network.channels_in == 3
    assert network.last == list(network.endpoint_shapes)[-1]
    assert network.endpoint_shapes[network.last].channels == network.out_channels


def test_options_that_a_network_does_not_offer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--backbone s4d: unknown network; choose from i2d"):
        build_backbone("s4d")
    with pytest.raises(InputError, match=r"swin3d_t.*: unknown network"):
        build_backbone("swin3d_t(a)")
    with pytest.raises(InputError, match=r"--width 0\.5: only works with the S3D family"):
        build_backbone("mvit_v2_s", width_multiplier=0.5)
    with pytest.raises(InputError, match="optical flow only works with the S3D family"):
        load_backbone("mvit_v2_s", "kinetics400", channels_in=2)
    with pytest.raises(TypeError):
        build_backbone("s3d", layout={"colour": "red"})
