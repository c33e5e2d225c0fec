"""What a detector is built from, besides its weights, and where its weights start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from ...datasets.errors import InputError
from ...datasets.flow import FlowMethod, Streams
from ...datasets.options import OptionName, Options, at_least, at_least_below, between, greater_than

ProposalKind = Literal["resnet50", "resnet18", "features", "external"]
HeadKind = Literal["mean", "light", "mixed"]
Norm = Literal["frozen", "batch"]


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(Options):
    """All that a detector is built from, besides its weights; a checkpoint contains it.

    Attributes:
        labels: The classes, in the order of the head's outputs.
        backbone: The network: one of the S3D family (`actiontubes models`), or torchvision's
            r2plus1d_18 (endpoints layer1 to layer4), mvit_v2_s or swin3d_t (stage1 to stage4).
        width_multiplier: Multiplier of the backbone's channels.
        endpoint: The backbone layer whose features are pooled for each box.
        streams: Input of the network: rgb, flow, or both (their feature maps are averaged, as in
            AVA, Gu et al. 2018, section 5). Run `actiontubes flow` first; otherwise flow is
            computed again for every clip.
        flow_method: tvl1 (as in the paper) or dis (faster).
        norm: Batch norm: frozen keeps the statistics of pretrained weights; batch trains them,
            which random weights need, and adds some to the head.
        proposals: Where person boxes come from: an RPN on a ResNet of the key frame (resnet50 as in
            the paper, or resnet18), an RPN on the backbone's features, or external.
        proposal_endpoint: The backbone layer that the RPN uses with --proposals features.
        proposal_count: Number of proposals the RPN keeps on each key frame.
        proposal_channels: Channels of the RPN's 3x3 convolution; 0 is as many as its features have,
            as published.
        anchor_sides: Sides of the RPN's anchors in pixels of the input; AVA adds 32 to Faster
            R-CNN's for small people.
        anchor_ratios: Aspect ratios of the anchors, height / width.
        head: mean (average over time, then two linear layers, as in the paper), light (the same
            from fewer channels and with one layer, in a sixteenth of the multiply-adds) or mixed
            (classes from the backbone's last layer).
        hidden: Units of each linear layer of the mean and the light head.
        head_channels: Channels that the light head reduces the features to for classes; half as
            many are for boxes.
        mixed_per_box: Apply the backbone's remaining layers to the features of each box, as the
            mixed head of version 0.1, instead of once to all.
        roi_size: ROIAlign output size (N x N cells).
        box_endpoint: An earlier backbone layer, of finer features, that boxes are refined from
            besides those of --endpoint. Default: none.
        box_roi_size: ROIAlign output size of the features of --box-endpoint.
        vote_iou: In detection a box that NMS keeps becomes the mean, weighted by score, of the
            boxes of its class with this IoU or more (box voting, Gidaris & Komodakis 2015); 1
            leaves it as it is.
        multi_label: Allow several labels for one person (AVA).
        separate_background: Predict actionness with its own sigmoid, separate from the softmax over
            classes; random weights then learn the classes much sooner.
        per_class_boxes: Refine a separate box for each class.
        dropout: Dropout rate of the head's features.
        frames: Number of frames of the clip around a key frame.
        frame_step: Use every Nth frame of the video.
        size: Height and width of the input in pixels.
        mean: Mean of red, green and blue in [0, 1], which is subtracted.
        std: What red, green and blue are then divided by.
    """

    labels: tuple[str, ...] = ()
    backbone: str = "s3d-g"
    width_multiplier: Annotated[float, greater_than(0, up_to=8), OptionName("width")] = 1.0
    endpoint: str = "Mixed_4e"
    streams: Streams = "rgb"
    flow_method: FlowMethod = "tvl1"
    norm: Norm = "frozen"
    proposals: ProposalKind = "resnet50"
    proposal_endpoint: str = "Mixed_4e"
    proposal_count: Annotated[int, at_least(1)] = 100
    proposal_channels: Annotated[int, at_least(0)] = 0
    anchor_sides: Annotated[tuple[int, ...], greater_than(0)] = (32, 64, 128, 256)
    anchor_ratios: Annotated[tuple[float, ...], greater_than(0)] = (0.5, 1.0, 2.0)
    head: HeadKind = "mean"
    hidden: Annotated[int, at_least(1)] = 1024
    head_channels: Annotated[int, at_least(2)] = 64
    mixed_per_box: bool = False
    roi_size: Annotated[int, at_least(1)] = 7
    box_endpoint: str | None = None
    box_roi_size: Annotated[int, at_least(1)] = 7
    vote_iou: Annotated[float, between(0, 1)] = 1.0
    multi_label: bool = False
    separate_background: bool = False
    per_class_boxes: bool = False
    dropout: Annotated[float, at_least_below(0, 1)] = 0.0
    frames: Annotated[int, at_least(1)] = 20
    frame_step: Annotated[int, at_least(1)] = 1
    size: Annotated[tuple[int, int], at_least(1)] = (320, 400)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: Annotated[tuple[float, ...], greater_than(0)] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.multi_label and self.separate_background:
            raise InputError(
                "--separate-background: cannot be combined with --multi-label, which has no "
                "background class; give one of the two"
            )

    @property
    def height(self) -> int:
        """Height of the input in pixels."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Width of the input in pixels."""
        return self.size[1]

    def head_endpoints(self, network: Sequence[str]) -> list[str]:
        """The layers that the head pools: the first for boxes, the last for classes.

        Args:
            network: all endpoints of the backbone, in order.
        """
        uses_last = self.head == "mixed" and not self.mixed_per_box
        names = [self.endpoint, network[-1]] if uses_last else [self.endpoint]
        return names if self.box_endpoint is None else [self.box_endpoint, *names]

    def endpoints(self, network: Sequence[str]) -> list[str]:
        """The layers whose features the head, and an RPN on features, use.

        Args:
            network: see `head_endpoints`.
        """
        names = self.head_endpoints(network)
        if self.proposals == "features":
            names.append(self.proposal_endpoint)
        return names

    @property
    def clip_streams(self) -> Streams:
        """The streams of a clip: a detector on flow may still find people in RGB."""
        if self.streams == "flow" and self.proposals.startswith("resnet"):
            return "both"
        return self.streams


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """The weights that training starts from, and which of them it changes.

    Attributes:
        weights: Pretrained weights of the backbone: kinetics400, imagenet, a file (also a trained
            detector), or null for random weights.
        flow_weights: Pretrained weights of the flow backbone, as in --weights. Default: --weights,
            averaged over the color channels.
        resnet_weights: Pretrained weights of the key-frame ResNet: imagenet, a file, or null.
        freeze: Do not train the backbone up to and including this layer (also its layers in a mixed
            head).
    """

    weights: str | None = "kinetics400"
    flow_weights: str | None = None
    resnet_weights: str | None = "imagenet"
    freeze: str | None = None
