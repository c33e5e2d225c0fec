"""torchvision's detectors: weights as torchvision itself would load them, people only, batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.weights import cache, torch_file
from actiontubes.datasets.errors import InputError
from actiontubes.detect.people import torchvision_detectors
from actiontubes.detect.people.proposals import open_proposal_source
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models
from torchvision.models import detection as detection_models
from torchvision.ops.misc import FrozenBatchNorm2d

FAST = "ssdlite320_mobilenet_v3_large"
PERSON = 1  # of COCO's classes as torchvision numbers them


def test_every_detector_of_torchvision_knows_people() -> None:
    names = list_models(module=detection_models)
    assert list(torchvision_detectors.TORCHVISION_DETECTORS) == names
    for name in names:
        assert "person" in get_model_weights(name).DEFAULT.meta["categories"]


@pytest.mark.parametrize("name", torchvision_detectors.TORCHVISION_DETECTORS)
def test_models_are_those_that_torchvision_builds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        state = get_model(name, weights=None, weights_backbone=None).state_dict()
        monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
        # Nothing has values on the meta device, so nothing is copied into it either.
        monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        theirs = get_model(name, weights=get_model_weights(name).DEFAULT)
        monkeypatch.setattr(cache, "fetch_torchvision", lambda weights: weights)
        monkeypatch.setattr(torch_file, "load_torch_file", lambda _: state)
        ours, weights = torchvision_detectors.load_detector(name, threshold=0.02)
    assert weights.meta["categories"].index("person") == PERSON
    assert epsilons(ours) == epsilons(theirs)
    assert (
        ours.state_dict().keys() - theirs.state_dict().keys()
        == {key for key in ours.state_dict() if key.endswith("num_batches_tracked")}
        - theirs.state_dict().keys()
    )
    assert not theirs.state_dict().keys() - ours.state_dict().keys()


def epsilons(model: torch.nn.Module) -> dict[str, float]:
    norms = (torch.nn.BatchNorm2d, FrozenBatchNorm2d)
    return {name: norm.eps for name, norm in model.named_modules() if isinstance(norm, norms)}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes them, of a random SSD that favours a few classes."""
    torch.manual_seed(0)
    model = get_model(FAST, weights=None, weights_backbone=None)
    state: dict[str, Any] = model.state_dict()
    for key, value in state.items():
        if "classification_head" in key and key.endswith("1.bias") and value.numel() % 91 == 0:
            value.view(-1, 91)[:, PERSON] += 3.0
            value.view(-1, 91)[:, PERSON + 1] += 3.5  # bicycles would win over people
    path = tmp_path_factory.mktemp("weights") / "ssdlite.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def detect(
    weights_file: Path, propose: Callable[..., list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[np.ndarray]]:
    monkeypatch.setattr(cache, "fetch_torchvision", lambda weights: weights_file)
    source = open_proposal_source(FAST, threshold=0.02)
    return lambda frames: propose(source, frames)


def test_people_only_and_all_of_them(
    detect: Callable[..., list[np.ndarray]], weights_file: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), np.uint8)
    model = get_model(FAST, weights=None, weights_backbone=None, score_thresh=0.02).eval()
    model.load_state_dict(torch.load(weights_file, weights_only=True))
    with torch.inference_mode():
        images = [torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames]
        results = model(images)
    for boxes, result in zip(detect(frames), results, strict=True):
        people = result["labels"] == PERSON
        assert 0 < people.sum() < len(people)
        assert boxes.dtype == np.float32 and (np.diff(boxes[:, 4]) <= 0).all()
        assert boxes.min() >= 0 and (boxes[:, [2, 3]] <= [90, 60]).all()
        theirs = np.column_stack([result["boxes"][people], result["scores"][people]])
        # torchvision's own suppression is stricter, so that nothing more goes.
        assert len(boxes) == len(theirs)
        np.testing.assert_allclose(
            boxes[np.lexsort(boxes.T)], theirs[np.lexsort(theirs.T)], atol=1e-4
        )


def test_batches_and_single_frames_agree(detect: Callable[..., list[np.ndarray]]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (5, 60, 90, 3), np.uint8)
    together = detect(frames)
    assert len(together) == 5 and detect(frames[:0]) == []
    for frame, boxes in zip(frames, together, strict=True):
        (alone,) = detect(frame[None])
        assert len(boxes) == len(alone) > 0
        np.testing.assert_allclose(np.sort(boxes, axis=0), np.sort(alone, axis=0), atol=1e-3)


def test_nobody_is_an_empty_array(
    weights_file: Path, propose: Callable[..., list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "fetch_torchvision", lambda weights: weights_file)
    source = open_proposal_source(FAST, threshold=0.99)
    (found,) = propose(source, np.zeros((1, 30, 40, 3), np.uint8))
    assert found.shape == (0, 5) and found.dtype == np.float32


def test_foreign_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    monkeypatch.setattr(cache, "fetch_torchvision", lambda weights: path)
    with pytest.raises(
        InputError, match=r"other.pth: are not the weights of ssdlite320"
    ) as refused:
        open_proposal_source(FAST)
    assert "\n" not in str(refused.value)
    path.write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"other.pth: are not the weights of ssdlite320"):
        open_proposal_source(FAST)
