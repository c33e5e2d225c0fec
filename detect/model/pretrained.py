"""A new detector that starts from pretrained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...backbones.classifier import PretrainedModel
from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.torchvision_video import TORCHVISION_NETWORKS
from ...backbones.weights.cache import fetch_torchvision
from ...backbones.weights.load import load_pretrained, load_torchvision_trunk
from ...datasets.errors import InputError
from .build import build_detector
from .checkpoint import extract_trunk, is_detector, load_detector
from .config import DetectorConfig
from .detector import Detector
from .head import TrunkBlockFeatures


def new_detector(
    settings: DetectorConfig,
    *,
    weights: str | None = None,
    flow_weights: str | None = None,
    resnet_weights: str | None = None,
    freeze: str | None = None,
    seed: int = 0,
) -> Detector:
    """A detector to be trained.

    Args:
        settings: its `mean` and `std` give way to those of the weights.
        weights: of the trunk, see `load_pretrained`, or a trained detector; None for new ones.
        flow_weights: of the trunk on flow, likewise; None for `weights`.
        resnet_weights: "imagenet", or the path of a state dict of torchvision's ResNet, or None.
        freeze: the last endpoint that is not trained, of the trunk or of the blocks in the head.
        seed: of the new weights.

    Raises:
        InputError: settings that do not fit, weights that cannot be had.
    """
    torch.manual_seed(seed)
    flow_weights = flow_weights or weights
    needed = flow_weights if settings.streams == "flow" else weights
    if settings.norm == "frozen" and needed is None:
        raise InputError(
            "--norm frozen: needs pretrained weights; give --weights, or use --norm batch"
        )
    trunk, flow_trunk = None, None
    if settings.streams != "rgb" and flow_weights is not None:
        flow_trunk = _pretrained(settings, flow_weights, channels_in=2).trunk
    if settings.streams == "flow":
        trunk, flow_trunk = flow_trunk, None
    elif weights is not None:
        model = _pretrained(settings, weights, channels_in=3)
        trunk, settings = model.trunk, replace(settings, mean=model.mean, std=model.std)
    detector = build_detector(settings, trunk, flow_trunk)
    if detector.resnet is not None and resnet_weights is not None:
        _load_resnet(detector, resnet_weights)
    if freeze is not None:
        freeze_layers(detector, freeze)
    return detector


def freeze_layers(detector: Detector, last: str) -> None:
    """Keeps the layers up to the endpoint `last` as they are, in the trunks and in the head.

    Raises:
        InputError: no such endpoint; blocks of the head whose norms are trained.
    """
    features = detector.head.features
    blocks: dict[str, nn.Module] = {}
    if isinstance(features, TrunkBlockFeatures):
        blocks = dict(features.blocks.named_children())
    if last in blocks and detector.settings.norm == "batch":
        raise InputError(
            f"--freeze {last}: cannot be combined with --norm batch, which trains the batch norms "
            "of these layers"
        )
    try:
        for trunk in (detector.trunk, detector.flow_trunk):
            if trunk is not None:
                trunk.freeze(trunk.last if last in blocks else last)
    except ValueError as error:
        raise InputError(f"--freeze: {error}") from error
    if last in blocks:
        for name in list(blocks)[: list(blocks).index(last) + 1]:
            blocks[name].requires_grad_(False)


def _pretrained(settings: DetectorConfig, weights: str, *, channels_in: int) -> PretrainedModel:
    """A trunk's weights, from a file or name of `load_pretrained`, or out of a trained detector."""
    option = f"--{'flow-' * (channels_in == 2)}weights {weights}"
    name = settings.backbone
    if is_detector(Path(weights)):
        model = extract_trunk(load_detector(Path(weights)), channels_in)
        if model.trunk.variant.name != name:
            raise InputError(
                f"{option}: are weights of {model.trunk.variant.name}, but the backbone is "
                f"{name}; change --backbone or the weights"
            )
        needed = {*settings.endpoints, *ENDPOINTS[-1:] * (settings.head == "mixed")}
        if not needed <= {name for name, _ in model.trunk.named_children()}:
            raise InputError(
                f"{option}: contains the layers up to {model.trunk.last} only; give weights "
                "of the whole backbone"
            )
    elif name in TORCHVISION_NETWORKS:
        model = load_torchvision_trunk(name, weights)
    else:
        model = load_pretrained(get_variant(name), weights, channels_in=channels_in)
    if model.trunk.width != settings.width_multiplier:
        raise InputError(
            f"{option}: has width {model.trunk.width}, but --width is "
            f"{settings.width_multiplier}; give --width {model.trunk.width}"
        )
    return model


def _load_resnet(detector: Detector, weights: str) -> None:
    from torchvision.models import get_weight

    from ...backbones.weights.load import load_state_dict

    assert detector.resnet is not None
    depth = 50 if detector.settings.proposals == "resnet50" else 18
    if weights == "imagenet":
        path = fetch_torchvision(get_weight(f"ResNet{depth}_Weights.DEFAULT"))
    else:
        path = Path(weights)
    own = detector.resnet.layers.state_dict()
    found = load_state_dict(path)
    missing = [key for key in own if key not in found or found[key].shape != own[key].shape]
    if missing:
        raise InputError(
            f"{path}: is not a torchvision ResNet-{depth} ({missing[0]} is missing or has another "
            "shape)"
        )
    detector.resnet.layers.load_state_dict({key: found[key] for key in own})
