"""Assembles a detector from its config."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from ...backbones.family import get_variant
from ...backbones.grid import feature_grid
from ...backbones.inception import Trunk, cut
from ...backbones.torchvision_video import TORCHVISION_NETWORKS, TorchvisionTrunk
from ...datasets.errors import InputError, as_option, choose_from
from .config import DetectorConfig
from .detector import _NORM_MOMENTUM, Detector, _shapes
from .head import ActionHead, MeanPoolFeatures, TrunkBlockFeatures
from .rpn import KeyFrameResNet, ProposalNetwork


def build_detector(
    settings: DetectorConfig, trunk: Trunk | None = None, flow_trunk: Trunk | None = None
) -> Detector:
    """A detector with new weights.

    Args:
        settings: see there.
        trunk: a pretrained trunk to take over, whole (up to Mixed_5c) or as far as it is needed; it
            is cut at the endpoint.
        flow_trunk: as `trunk`, for the flow of two streams.

    Raises:
        InputError: sizes that are no multiples of the feature map's stride, an endpoint that
            leaves no blocks for the head, two trunks whose maps do not lie upon each other, or what
            torchvision's networks do not have.
    """
    if not settings.labels:
        raise InputError("--labels: no classes; give at least one")
    shapes = _shapes(settings)
    used = settings.endpoints
    for endpoint in used:
        if endpoint not in shapes:
            option = "--endpoint" if endpoint == settings.endpoint else "--proposal-endpoint"
            raise InputError(
                f"{option} {endpoint}: {settings.backbone} has no such layer; "
                f"{choose_from(endpoint, shapes)}"
            )
        stride = shapes[endpoint][2]
        if settings.height % stride or settings.width % stride:
            raise InputError(
                f"--size {settings.height} {settings.width}: height and width must be "
                f"multiples of {stride}, the stride of {endpoint}"
            )
    if settings.backbone in TORCHVISION_NETWORKS:
        _require_plain(settings)
        # A trunk of the family by all that is asked of it but its grid and how it is cut.
        trunk = trunk or cast(Trunk, TorchvisionTrunk(TORCHVISION_NETWORKS[settings.backbone]))
    elif trunk is None:
        variant = get_variant(settings.backbone)
        if settings.norm == "batch":
            # The family's 1e-3 suits hundreds of thousands of steps.
            layout = replace(variant.layout, norm_momentum=_NORM_MOMENTUM)
            variant = replace(variant, layout=layout)
        channels_in = 2 if settings.streams == "flow" else 3
        trunk = Trunk(variant, settings.width_multiplier, channels_in=channels_in)
    if settings.streams == "both":
        if flow_trunk is None:
            flow_trunk = Trunk(trunk.variant, settings.width_multiplier, channels_in=2)
        _require_one_grid(settings, trunk, flow_trunk)
        cut(flow_trunk, settings.endpoint)
    last = max(used, key=list(shapes).index)
    features: MeanPoolFeatures | TrunkBlockFeatures
    if settings.head == "mean":
        if isinstance(trunk, TorchvisionTrunk):
            trunk.end_at(last)
        else:
            trunk, _ = cut(trunk, last)
        features = MeanPoolFeatures(
            shapes[settings.endpoint][0], settings.hidden, settings.roi_size,
            settings.norm == "batch",
        )  # fmt: skip
    else:
        if settings.endpoint == list(shapes)[-1] or last != settings.endpoint:
            raise InputError(
                f"--head mixed: no layers are left after {last}; choose an earlier "
                "--endpoint, or --head mean"
            )
        trunk, blocks = cut(trunk, settings.endpoint)
        features = TrunkBlockFeatures(
            blocks, shapes[settings.endpoint][0], shapes["Mixed_5c"][0], settings.roi_size
        )
    head = ActionHead(
        features, len(settings.labels), multi_label=settings.multi_label,
        separate_background=settings.separate_background, per_class_boxes=settings.per_class_boxes,
        dropout=settings.dropout,
    )  # fmt: skip
    if settings.proposals == "external":
        return Detector(settings, trunk, head, flow_trunk=flow_trunk)

    def network(channels: int) -> ProposalNetwork:
        return ProposalNetwork(
            channels, sides=settings.anchor_sides, ratios=settings.anchor_ratios,
            count=settings.proposal_count,
        )  # fmt: skip

    if settings.proposals == "features":
        channels = shapes[settings.proposal_endpoint][0]
        return Detector(settings, trunk, head, network(channels), flow_trunk=flow_trunk)
    resnet = KeyFrameResNet(50 if settings.proposals == "resnet50" else 18)
    proposals = network(resnet.out_channels)
    return Detector(settings, trunk, head, proposals, resnet, flow_trunk=flow_trunk)


def _require_plain(settings: DetectorConfig) -> None:
    for name, value in (("width", 1.0), ("head", "mean"), ("streams", "rgb")):
        if getattr(settings, name) != value:
            raise InputError(
                f"{as_option(name)} {getattr(settings, name)}: only works with the S3D "
                f"family; with {settings.backbone} use {value}"
            )


def _require_one_grid(settings: DetectorConfig, rgb: Trunk, flow: Trunk) -> None:
    size = (settings.frames, settings.height, settings.width)
    grids = [feature_grid(each.variant, settings.endpoint, size) for each in (rgb, flow)]
    if grids[0] != grids[1]:
        raise InputError(
            "--streams both: the RGB and the flow weights use different padding, so their "
            "feature maps do not line up; give --weights and --flow-weights from the same "
            "source"
        )
