"""Assembles a detector from its config."""

from __future__ import annotations

from ...backbones.registry import Backbone, build_backbone
from ...datasets.errors import InputError, choose_from
from .config import DetectorConfig
from .detector import Detector
from .head import ActionHead, MeanPoolFeatures, TrunkBlockFeatures
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
    if config.streams == "both":
        if flow_trunk is None:
            flow_trunk = build_backbone(
                trunk.name, width_multiplier=config.width_multiplier, channels_in=2,
                layout=trunk.layout,
            )  # fmt: skip
        size = (config.frames, *config.size)
        if trunk.grid(config.endpoint, size) != flow_trunk.grid(config.endpoint, size):
            raise InputError(
                "--streams both: the RGB and the flow weights use different padding, so their "
                "feature maps do not line up; give --weights and --flow-weights from the same "
                "source"
            )
        flow_trunk.truncate(config.endpoint)
    head = ActionHead(
        _roi_features(config, trunk), len(config.labels), multi_label=config.multi_label,
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
            num_proposals=config.proposal_count,
        )  # fmt: skip
    return Detector(config, trunk, head, proposals=proposals, resnet=resnet, flow_trunk=flow_trunk)


def _roi_features(config: DetectorConfig, trunk: Backbone) -> MeanPoolFeatures | TrunkBlockFeatures:
    """The first part of the head; `trunk` is truncated."""
    shapes = trunk.endpoint_shapes
    last = max(config.endpoints, key=list(shapes).index)
    channels, last_channels = shapes[config.endpoint].channels, [*shapes.values()][-1].channels
    if config.head == "mean":
        trunk.truncate(last)
        return MeanPoolFeatures(
            channels, config.hidden, size=config.roi_size, norm=config.norm == "batch"
        )
    if not trunk.blocks_fit_rois:
        raise InputError(
            f"--head mixed: only works with the S3D family; with {config.backbone} use mean"
        )
    if config.endpoint == list(shapes)[-1] or last != config.endpoint:
        raise InputError(
            f"--head mixed: no layers are left after {last}; choose an earlier --endpoint, or "
            "--head mean"
        )
    return TrunkBlockFeatures(trunk.truncate(last), channels, last_channels, size=config.roi_size)


def _check_endpoints(config: DetectorConfig, trunk: Backbone) -> None:
    for endpoint in config.endpoints:
        if endpoint not in trunk.endpoint_shapes:
            option = "--endpoint" if endpoint == config.endpoint else "--proposal-endpoint"
            raise InputError(
                f"{option} {endpoint}: {config.backbone} has no such layer; "
                f"{choose_from(endpoint, trunk.endpoint_shapes)}"
            )
        stride = trunk.endpoint_shapes[endpoint].space_stride
        if any(side % stride for side in config.size):
            raise InputError(
                f"--size {config.height} {config.width}: height and width must be "
                f"multiples of {stride}, the stride of {endpoint}"
            )
