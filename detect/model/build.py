"""Assembles a detector from its config."""

from __future__ import annotations

from ...backbones.registry import Backbone, build_backbone
from ...datasets.errors import InputError, choose_from
from .config import DetectorConfig
from .detector import Detector
from .head import ActionHead
from .roi_features import (
    DeepPoolFeatures,
    FineBoxFeatures,
    LightPoolFeatures,
    MeanPoolFeatures,
    RoiFeatures,
    TrunkBlockFeatures,
)
from .rpn import KeyFrameResNet, ProposalNetwork

# For new weights: the family's 1e-3 suits hundreds of thousands of steps.
_NORM_MOMENTUM = 0.1


def build_detector(
    config: DetectorConfig, trunk: Backbone | None = None, flow_trunk: Backbone | None = None
) -> Detector:
    """A detector with new weights.

    Args:
        config: what to build.
        trunk: a whole pretrained trunk, or one up to the endpoints that are needed, which becomes
            part of the detector and is truncated; None builds one.
        flow_trunk: as `trunk`, for the optical flow of two streams.

    Raises:
        InputError: an unknown backbone or endpoint; a size that is not a multiple of the feature
            map's stride; an endpoint that leaves no blocks for the head; two trunks whose feature
            maps do not line up; or what the backbone does not offer.
    """
    if not config.labels:
        raise InputError("--labels: no classes; give at least one")
    if trunk is None:
        trunk = build_backbone(
            config.backbone, width_multiplier=config.width_multiplier,
            channels_in=2 if config.streams == "flow" else 3,
            layout={"norm_momentum": _NORM_MOMENTUM} if config.norm == "batch" else None,
        )  # fmt: skip
    _check_endpoints(config, trunk)
    network = list(trunk.endpoint_shapes)
    if config.streams == "both":
        if flow_trunk is None:
            flow_trunk = build_backbone(
                trunk.name, width_multiplier=config.width_multiplier, channels_in=2,
                layout=trunk.layout,
            )  # fmt: skip
        size = (config.frames, *config.size)
        endpoints = config.head_endpoints(network)
        if any(trunk.grid(name, size) != flow_trunk.grid(name, size) for name in endpoints):
            raise InputError(
                "--streams both: the RGB and the flow weights use different padding, so their "
                "feature maps do not line up; give --weights and --flow-weights from the same "
                "source"
            )
        flow_trunk.truncate(endpoints[-1])
    features = _roi_features(config, trunk)
    if config.box_endpoint is not None:
        features = FineBoxFeatures(
            features, trunk.endpoint_shapes[config.box_endpoint].channels, config.hidden,
            size=config.box_roi_size, norm=config.norm == "batch",
        )  # fmt: skip
    head = ActionHead(
        features, len(config.labels), multi_label=config.multi_label,
        separate_background=config.separate_background, per_class_boxes=config.per_class_boxes,
        dropout=config.dropout,
    )  # fmt: skip
    resnet, proposals = None, None
    if config.proposals != "external":
        if config.proposals == "features":
            channels = trunk.endpoint_shapes[config.proposal_endpoint].channels
        else:
            resnet = KeyFrameResNet(50 if config.proposals == "resnet50" else 18)
            channels = resnet.out_channels
        proposals = ProposalNetwork(
            channels, anchor_sides=config.anchor_sides, anchor_ratios=config.anchor_ratios,
            num_proposals=config.proposal_count, hidden=config.proposal_channels,
        )  # fmt: skip
    return Detector(config, trunk, head, proposals=proposals, resnet=resnet, flow_trunk=flow_trunk)


def _roi_features(config: DetectorConfig, trunk: Backbone) -> RoiFeatures:
    """The first part of the head; `trunk` is truncated."""
    shapes = trunk.endpoint_shapes
    network = list(shapes)
    last = max(config.endpoints(network), key=network.index)
    channels, last_channels = shapes[config.endpoint].channels, shapes[network[-1]].channels
    size, norm = config.roi_size, config.norm == "batch"
    if config.head == "mixed" and config.endpoint == network[-1]:
        raise InputError(
            f"--head mixed: no layers are left after {config.endpoint}; choose an earlier "
            "--endpoint, or --head mean"
        )
    if config.head != "mixed" or not config.mixed_per_box:
        trunk.truncate(last)
        if config.head == "mean":
            return MeanPoolFeatures(channels, config.hidden, size=size, norm=norm)
        if config.head == "light":
            return LightPoolFeatures(
                channels, config.hidden, reduced=config.head_channels, size=size, norm=norm
            )
        return DeepPoolFeatures(channels, last_channels, size=size)
    if not trunk.blocks_fit_rois:
        raise InputError(
            f"--mixed-per-box: only works with the S3D family; leave it out with {config.backbone}"
        )
    if last != config.endpoint:
        raise InputError(
            f"--mixed-per-box: --proposal-endpoint {last} is behind --endpoint {config.endpoint}; "
            "choose an earlier one"
        )
    return TrunkBlockFeatures(trunk.truncate(last), channels, last_channels, size=size)


def _check_endpoints(config: DetectorConfig, trunk: Backbone) -> None:
    network = list(trunk.endpoint_shapes)
    for endpoint in config.endpoints(network):
        if endpoint not in trunk.endpoint_shapes:
            options = {config.endpoint: "endpoint", config.box_endpoint: "box-endpoint"}
            raise InputError(
                f"--{options.get(endpoint, 'proposal-endpoint')} {endpoint}: {config.backbone} "
                "has no such layer; "
                f"{choose_from(endpoint, trunk.endpoint_shapes)}"
            )
        _, time_stride, stride = trunk.endpoint_shapes[endpoint]
        if endpoint in (config.endpoint, config.proposal_endpoint):
            if any(side % stride for side in config.size):
                raise InputError(
                    f"--size {config.height} {config.width}: height and width must be "
                    f"multiples of {stride}, the stride of {endpoint}"
                )
        # Half a stride is no cell where the last pooling rounds down.
        elif config.frames <= time_stride // 2 or min(config.size) <= stride // 2:
            raise InputError(
                f"--head mixed: clips of {config.frames} frames of {config.height}x{config.width} "
                f"are too small for {endpoint}; give --frames {time_stride} and --size {stride} "
                f"{stride} or more, or --head mean"
            )
    fine = config.box_endpoint
    if fine is not None and network.index(fine) >= network.index(config.endpoint):
        raise InputError(
            f"--box-endpoint {fine}: is not before --endpoint {config.endpoint}; choose an earlier "
            "layer, or leave it out"
        )
