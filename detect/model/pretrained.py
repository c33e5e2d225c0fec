"""A new detector that starts from pretrained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...backbones.classifier import PretrainedModel
from ...backbones.registry import load_backbone
from ...datasets.errors import InputError
from .build import build_detector
from .checkpoint import extract_trunk, is_detector, load_detector
from .config import DetectorConfig
from .detector import Detector
from .roi_features import TrunkBlockFeatures
from .rpn import load_resnet


def new_detector(
    config: DetectorConfig,
    *,
    weights: str | None = None,
    flow_weights: str | None = None,
    resnet_weights: str | None = None,
    freeze: str | None = None,
    seed: int = 0,
) -> Detector:
    """A detector to be trained.

    Args:
        config: its `mean` and `std` are replaced by those of the weights.
        weights: of the trunk: a name or file for `Backbone.load_pretrained`, or a trained detector;
            None for new ones.
        flow_weights: as `weights`, of the trunk on flow; None for the same as `weights`.
        resnet_weights: "imagenet", or the path of a state dict of torchvision's ResNet, or None.
        freeze: the last endpoint that is not trained, in the trunk or among the head's blocks.
        seed: of the new weights.

    Raises:
        InputError: a config that does not fit the weights; weights that are missing or damaged.
    """
    torch.manual_seed(seed)
    flow_weights = flow_weights or weights
    needed = flow_weights if config.streams == "flow" else weights
    if config.norm == "frozen" and needed is None:
        raise InputError(
            "--norm frozen: needs pretrained weights; give --weights, or use --norm batch"
        )
    trunk, flow_trunk = None, None
    if config.streams != "rgb" and flow_weights is not None:
        flow_trunk = load_trunk(config, flow_weights, channels_in=2).trunk
    if config.streams == "flow":
        trunk, flow_trunk = flow_trunk, None
    elif weights is not None:
        model = load_trunk(config, weights, channels_in=3)
        trunk, config = model.trunk, replace(config, mean=model.mean, std=model.std)
    detector = build_detector(config, trunk, flow_trunk)
    if detector.resnet is not None and resnet_weights is not None:
        load_resnet(detector.resnet, resnet_weights)
    if freeze is not None:
        freeze_layers(detector, freeze)
    return detector


def freeze_layers(detector: Detector, last: str) -> None:
    """Excludes the layers up to the endpoint `last` from training, in the trunks and in the head.

    Raises:
        InputError: an unknown endpoint; blocks of the head whose norms are trained.
    """
    features = detector.head.features
    blocks: dict[str, nn.Module] = {}
    if isinstance(features, TrunkBlockFeatures):
        blocks = dict(features.blocks.named_children())
    if last in blocks and detector.config.norm == "batch":
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


def load_trunk(config: DetectorConfig, weights: str, *, channels_in: int) -> PretrainedModel:
    """A trunk with pretrained weights, from a name or file, or from a trained detector.

    Args:
        config: of the detector that it is for.
        weights: see `new_detector`.
        channels_in: 3 for RGB, 2 for flow.

    Raises:
        InputError: weights that are missing, damaged, or of another backbone, width or depth.
    """
    option = f"--{'flow-' * (channels_in == 2)}weights {weights}"
    if is_detector(Path(weights)):
        model = extract_trunk(load_detector(Path(weights)), channels_in)
        trunk = model.trunk
        if trunk.name != config.backbone:
            raise InputError(
                f"{option}: are weights of {trunk.name}, but the backbone is {config.backbone}; "
                "change --backbone or the weights"
            )
        endpoints = list(trunk.endpoint_shapes)
        needed = {*config.endpoints(endpoints), *endpoints[-1:] * (config.head == "mixed")}
        if not needed <= set(endpoints[: endpoints.index(trunk.last) + 1]):
            raise InputError(
                f"{option}: contains the layers up to {trunk.last} only; give weights of the "
                "whole backbone"
            )
    else:
        model = load_backbone(config.backbone, weights, channels_in=channels_in)
    width = model.trunk.width_multiplier
    if width != config.width_multiplier:
        raise InputError(
            f"{option}: has width {width}, but --width is {config.width_multiplier}; "
            f"give --width {width}"
        )
    return model
