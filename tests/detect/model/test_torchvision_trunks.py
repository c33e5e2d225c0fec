"""Detectors on torchvision's video networks: trained two steps, saved, loaded, used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.backbones.torchvision_video import TORCHVISION_NETWORKS
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.clip_batches import iter_clip_batches
from actiontubes.detect.inference.clip_geometry import ClipGeometry
from actiontubes.detect.inference.predictor import TorchPredictor, postprocess
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import load_detector, save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.model.pretrained import new_detector

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(name: str) -> DetectorConfig:
    second = list(TORCHVISION_NETWORKS[name].endpoint_shapes)[1]
    return DetectorConfig(
        labels=("stand up", "sit down"), backbone=name, endpoint=second, proposals="features",
        proposal_endpoint=second, proposal_count=10, hidden=8, roi_size=3, frames=8, size=(64, 64),
        norm="batch", anchor_sides=(16, 32),
    )  # fmt: skip


def losses(detector: Detector) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (2, 8, 64, 64, 3), generator=generator, dtype=torch.uint8)
    boxes = [torch.tensor([[8.0, 8, 40, 56]]), torch.tensor([[20.0, 4, 60, 60]])]
    labels = [torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])]
    return detector(clips, torch.arange(2), torch.tensor([4, 4]), boxes, labels, [0, 1])


@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_trained_saved_and_used(name: str, tmp_path: Path) -> None:
    detector = new_detector(settings(name), freeze="stem").train()
    used = {key for key, value in detector.named_parameters() if value.requires_grad}
    assert not any(key.startswith("trunk.stem") for key in used)
    optimiser = torch.optim.AdamW([v for v in detector.parameters() if v.requires_grad], 1e-3)
    before = {key: value.clone() for key, value in detector.named_parameters()}
    for _ in range(2):
        optimiser.zero_grad()
        parts = losses(detector)
        assert set(parts) == {"objectness", "proposal_boxes", "action", "action_boxes"}
        loss = sum(parts.values())
        assert torch.isfinite(loss)
        loss.backward()
        optimiser.step()
    changed = {key for key, value in detector.named_parameters() if not value.equal(before[key])}
    assert {key.split(".")[1] for key in changed if key.startswith("trunk.")} == set(
        list(TORCHVISION_NETWORKS[name].endpoint_shapes)[:2]
    )
    save_detector(detector.eval(), tmp_path / "d.safetensors")
    loaded = load_detector(tmp_path / "d.safetensors")
    assert loaded.config == detector.config
    rng = np.random.default_rng(1)
    video = [(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), None) for _ in range(20)]
    for batch in iter_clip_batches(video, ClipGeometry(loaded.config), key_frames_per_clip=8):
        found, again = (
            postprocess(TorchPredictor(model).predict(batch), model.config, threshold=0)
            for model in (detector, loaded)
        )
        assert len(found.score) and set(found.frame) == set(batch.frame_numbers)
        np.testing.assert_array_equal(found.boxes, again.boxes)
        np.testing.assert_array_equal(found.score, again.score)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"endpoint": "Mixed_4e"},
            "r2plus1d_18 has no such layer; choose from layer1, layer2, layer3, layer4",
        ),
        (
            {"width_multiplier": 0.5},
            "--width 0.5: only works with the S3D family; with r2plus1d_18 use 1.0",
        ),
        (
            {"head": "mixed", "mixed_per_box": True},
            "--mixed-per-box: only works with the S3D family",
        ),
        ({"streams": "flow"}, "--streams: optical flow only works with the S3D family"),
        ({"size": (66, 64)}, "must be multiples of 4, the stride of layer2"),
    ],
)
def test_options_that_torchvision_trunks_do_not_offer(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_detector(replace(settings("r2plus1d_18"), **change))
