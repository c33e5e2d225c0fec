"""torchvision's COCO detectors as sources of person boxes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...backbones.weights.cache import fetch_torchvision
from ...datasets.errors import InputError
from .cleanup import in_batches

# Their weights were trained with an epsilon of 0 in the frozen batch norms; torchvision sets it
# where it loads them itself (models/detection/faster_rcnn.py and its neighbours).
_ZERO_EPSILON = {
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
}


def torchvision_detectors() -> list[str]:
    """Names of torchvision's detectors whose published weights know people."""
    from torchvision import models

    return [
        name
        for name in models.list_models(module=models.detection)
        if "person" in models.get_model_weights(name).DEFAULT.meta["categories"]
    ]


def torchvision_proposals(
    name: str, *, device: str, threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by a torchvision detector with its published COCO weights.

    Args:
        name: one of `torchvision_detectors()`.
        device: where it runs.
        threshold: the lowest score kept.

    Raises:
        InputError: the weights cannot be had, or are those of another model.
    """
    import torch

    model, weights = load_detector(name, threshold=threshold)
    model = model.eval().to(device)
    preprocess = weights.transforms()
    person = weights.meta["categories"].index("person")

    def detect(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        pictures = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            found = model(list(preprocess(pictures)))
        for each in found:
            people = each["labels"] == person
            yield each["boxes"][people].cpu().numpy(), each["scores"][people].cpu().numpy()

    return in_batches(detect, threshold)


def load_detector(name: str, *, threshold: float) -> tuple[Any, Any]:
    """A torchvision detector with its published weights, and torchvision's entry on these.

    Raises:
        InputError: the weights cannot be had, or are those of another model.
    """
    import torch
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name).DEFAULT
    path = fetch_torchvision(weights)
    model = get_model(name, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"{path}: are not the weights of {name} ({reason}); delete the file and run again "
            "to download it"
        ) from error
    if name in _ZERO_EPSILON:
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
    getattr(model, "roi_heads", model).score_thresh = threshold
    return model, weights
