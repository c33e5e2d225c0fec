"""torchvision's COCO detectors as proposal sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .person_boxes import FunctionSource, batched_source

# Their weights were trained with an epsilon of 0 in the frozen batch norms; torchvision sets it
# where it loads them itself (models/detection/faster_rcnn.py and its neighbours).
_ZERO_EPSILON = {
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
}


TORCHVISION_DETECTORS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
"""All of torchvision's; a list, so that help and messages can name them without torch."""


def torchvision_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """A torchvision detector with its published COCO weights.

    Args:
        name: one of `TORCHVISION_DETECTORS`.
        device: where it runs.
        threshold: the lowest score kept.

    Raises:
        InputError: the weights cannot be downloaded, or are those of another model.
    """
    import torch

    model, weights = load_detector(name, threshold=threshold)
    model = model.eval().to(device)
    preprocess = weights.transforms()
    person = weights.meta["categories"].index("person")

    def detect(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            results = model(list(preprocess(images)))
        for result in results:
            people = result["labels"] == person
            yield result["boxes"][people].cpu().numpy(), result["scores"][people].cpu().numpy()

    return batched_source(detect, threshold)


def load_detector(name: str, *, threshold: float) -> tuple[Any, Any]:
    """A torchvision detector with its published weights, and torchvision's record of them.

    Raises:
        InputError: the weights cannot be downloaded, or are those of another model.
    """
    import torch
    from torchvision.models import get_model, get_model_weights

    from ...backbones.weights.cache import fetch_torchvision
    from ...backbones.weights.torch_file import load_torch_file

    weights = get_model_weights(name).DEFAULT
    path = fetch_torchvision(weights)
    model = get_model(name, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(load_torch_file(path))
    except (RuntimeError, InputError) as error:
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
