"""All that a detector is built from, beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ...datasets.errors import InputError, as_option, choose_from
from ...datasets.flow.estimate import FlowMethod, Streams

ProposalKind = Literal["resnet50", "resnet18", "features", "given"]
HeadKind = Literal["mean", "mixed"]
Norm = Literal["frozen", "batch"]


@dataclass(frozen=True)
class DetectorConfig:
    """All that a detector is built from, beside its weights; a checkpoint carries it.

    Attributes:
        labels: the classes, in the order of the head's outputs.
        backbone: of `inception.get_variant`, or of `torchvision_trunks.TORCHVISION`.
        width: of the trunk's channels.
        endpoint: whose features are pooled.
        proposals: an RPN on a ResNet of the key frame ("resnet50", the paper's, or "resnet18"), on
            the trunk's own features ("features"), or boxes from elsewhere ("given").
        proposal_endpoint: of the features that the RPN sees with "features".
        proposal_count: of a key frame, see `ProposalNetwork`.
        head: the mean over time and two linear layers ("mean"), or the trunk's remaining blocks
            ("mixed").
        hidden: of the linear layers of "mean".
        roi_size: cells along each side of a box's pooled features.
        multi_label, own_background, per_class_boxes, dropout: see `ActionHead`.
        frames: of the trunk's input around a key frame.
        frame_step: frames of the video from one frame of the input to the next.
        height, width_pixels: of the trunk's input.
        anchor_sides: in pixels of the trunk's input.
        mean, std: of red, green and blue in [0, 1].
        norm: "frozen" leaves the trunk's batch norms as they were pretrained, as Faster R-CNN does,
            and the head has none; "batch" trains them, for new weights, and the head has some too.
        streams: what the head's features are of: RGB, optical flow, or the mean of the feature maps
            of a trunk on each ("both"; AVA, Gu et al. 2018, section 5). An RPN sees RGB, but with
            proposals "features" of a detector on flow alone.
        flow_method: of `datasets.flow`.
    """

    labels: tuple[str, ...]
    backbone: str = "s3d-g"
    width: float = 1.0
    endpoint: str = "Mixed_4e"
    proposals: ProposalKind = "resnet50"
    proposal_endpoint: str = "Mixed_4e"
    proposal_count: int = 100
    head: HeadKind = "mean"
    hidden: int = 1024
    roi_size: int = 7
    multi_label: bool = False
    own_background: bool = False
    per_class_boxes: bool = False
    dropout: float = 0.0
    frames: int = 20
    frame_step: int = 1
    height: int = 320
    width_pixels: int = 400
    # AVA adds 32 to Faster R-CNN's for small people.
    anchor_sides: tuple[int, ...] = (32, 64, 128, 256)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    norm: Norm = "frozen"
    streams: Streams = "rgb"
    flow_method: FlowMethod = "tvl1"

    def __post_init__(self) -> None:
        if not self.labels:
            raise InputError("--labels: no classes; give at least one")
        for name, words in (
            ("proposals", ProposalKind), ("head", HeadKind), ("norm", Norm),
            ("streams", Streams), ("flow_method", FlowMethod),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in get_args(words):
                raise InputError(
                    f"{as_option(name)} {value}: unknown; {choose_from(value, get_args(words))}"
                )
        counts = ("proposal_count", "hidden", "roi_size", "frames", "frame_step")
        for name in (*counts, "height", "width_pixels"):
            if getattr(self, name) < 1:
                option = "--size" if name in ("height", "width_pixels") else as_option(name)
                raise InputError(f"{option} {getattr(self, name)}: must be 1 or more")
        if not 0 < self.width <= 8:
            raise InputError(f"--width {self.width}: must be greater than 0 and at most 8")
        if not 0 <= self.dropout < 1:
            raise InputError(f"--dropout {self.dropout}: must be at least 0 and less than 1")
        if self.multi_label and self.own_background:
            raise InputError(
                "--own-background: cannot be combined with --multi-label, which has no "
                "background class; give one of the two"
            )
        for name in ("anchor_sides", "anchor_ratios", "std"):
            if not min(getattr(self, name), default=0) > 0:
                option, values = as_option(name), " ".join(map(str, getattr(self, name)))
                raise InputError(f"{option} {values}: every number must be greater than 0")

    @property
    def endpoints(self) -> list[str]:
        """Of the trunk, those whose features the head sees, and an RPN on features."""
        names = [self.endpoint]
        if self.proposals == "features":
            names.append(self.proposal_endpoint)
        return names

    @property
    def clip_streams(self) -> Streams:
        """What a clip has to hold: a detector on flow may still look for people in RGB."""
        if self.streams == "flow" and self.proposals.startswith("resnet"):
            return "both"
        return self.streams
