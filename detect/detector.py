"""The detector: a trunk, proposals on key frames, ROI pooling in space-time, and the action head.

The paper's section on detection, after AVA (Gu et al. 2018). A clip may hold several key frames;
each sees the time steps around it, so that one pass through the trunk serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ..backbones.classifier import normalise
from ..backbones.flow import FLOW_MEAN, FLOW_STD
from ..backbones.inception import Grid, Trunk, cut, endpoint_shapes, get_variant, receptive_grid
from ..backbones.torchvision_trunks import TORCHVISION, TorchvisionTrunk
from ..datasets.files import InputError, as_option, choose_from
from .action_head import ActionHead, RemainingBlocks, TemporalMean
from .detector_settings import DetectorSettings
from .examples import action_losses, choose_examples
from .found import Found, choose_found
from .proposal_network import KeyFrameResNet, ProposalNetwork, at_key_frames, jittered

_NORM_MOMENTUM = 0.1
_FOR_PROPOSALS = "proposals"  # the features that the RPN sees, among those by endpoint


class Detector(nn.Module):
    """Assembled from its parts, as torchvision's detection models are.

    Args:
        settings: what the parts were built from.
        trunk: clips to feature maps; of RGB, or of flow where that is the only stream.
        head: scores and refines proposals.
        proposals: finds them, or None where they are given.
        resnet: what `proposals` sees of a key frame, or None where that is the trunk's features.
        examples: proposals of each key frame that the head is trained on.
        jitter: copies of each ground truth box, moved at random, that join the proposals in
            training: until the RPN has learnt, it proposes little that covers anybody.
        box_weight, proposal_box_weight: of the losses action_boxes and proposal_boxes among the
            others. The second is small, as torchvision divides it by all anchors drawn.
        flow_trunk: of two streams, the one of flow; ends at the head's endpoint.
    """

    def __init__(
        self,
        settings: DetectorSettings,
        trunk: Trunk,
        head: ActionHead,
        proposals: ProposalNetwork | None = None,
        resnet: KeyFrameResNet | None = None,
        examples: int = 64,
        jitter: int = 0,
        box_weight: float = 1.0,
        proposal_box_weight: float = 1.0,
        flow_trunk: Trunk | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.examples, self.jitter = settings, examples, jitter
        self.box_weight, self.proposal_box_weight = box_weight, proposal_box_weight
        self.trunk, self.head, self.proposals, self.resnet = trunk, head, proposals, resnet
        self.flow_trunk = flow_trunk
        for norm in self._frozen_norms():
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        for norm in self._frozen_norms():
            norm.eval()
        return self

    def _frozen_norms(self) -> list[nn.Module]:
        """The trunk's, and those of its blocks in the head, if they stay as they were."""
        if self.settings.norm == "batch":
            return []
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm3d)]

    @property
    def window(self) -> int:
        """Time steps of the feature map around a key frame."""
        stride = _shapes(self.settings)[self.settings.endpoint][1]
        return max(1, -(-self.settings.frames // stride))

    def grid(self, endpoint: str, length: int) -> Grid:
        """Where the cells of an endpoint look in clips of `length` frames."""
        if isinstance(self.trunk, TorchvisionTrunk):
            return self.trunk.variant.grid(endpoint)
        size = (length, self.settings.height, self.settings.width_pixels)
        return receptive_grid(self.trunk.variant, endpoint, size)

    def maps(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, H, W, C) uint8 clips → the head's feature map by its endpoint, and the RPN's.

        C is 3 (RGB), 2 (flow) or 5 (both); what the streams do not see is left aside.
        """
        settings = self.settings
        if settings.streams == "flow":
            pictures = normalise(clips[..., -2:], FLOW_MEAN, FLOW_STD)
        else:
            pictures = normalise(clips[..., :3], settings.mean, settings.std)
        maps = self.trunk.endpoints(pictures, settings.endpoints)
        if settings.proposals == "features":
            maps[_FOR_PROPOSALS] = maps[settings.proposal_endpoint]
        if self.flow_trunk is not None:
            flow = self.flow_trunk(normalise(clips[..., -2:], FLOW_MEAN, FLOW_STD))
            maps[settings.endpoint] = (maps[settings.endpoint] + flow) / 2
        return maps

    def propose(
        self,
        maps: dict[str, Tensor],
        clips: Tensor,
        clip_of: Tensor,
        key_frames: Tensor,
        boxes: Sequence[Tensor] | None = None,
        seeds: Sequence[int] = (),
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of each key frame, and in training the RPN's losses; see `forward`."""
        assert self.proposals is not None
        size = (self.settings.height, self.settings.width_pixels)
        if self.resnet is not None:
            grid = self.resnet.grid(size)
            pictures = self.resnet(clips[..., :3][clip_of, key_frames.round().long()])
        else:
            endpoint = self.settings.proposal_endpoint
            grid = self.grid(endpoint, clips.shape[1])
            pictures = at_key_frames(maps[_FOR_PROPOSALS], grid, clip_of, key_frames)
        return self.proposals(pictures, grid, size, boxes, seeds)

    def forward(
        self,
        clips: Tensor,
        clip_of: Tensor,
        key_frames: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        seeds: Sequence[int],
        given: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of a batch of clips.

        Args:
            clips: (N, T, H, W, C) uint8 of the size in the settings, see `maps`.
            clip_of: (K,) the clip that each key frame lies in.
            key_frames: (K,) frame of that clip.
            boxes, labels: K times (G, 4) in pixels of the clip and (G, classes), G may be 0.
            seeds: K; decide which anchors and proposals are trained on.
            given: K times (P, 4) proposals, for a detector without its own; without any, the ground
                truth jittered.

        Returns:
            objectness, proposal_boxes (of the RPN), action, action_boxes; and background where the
            head has `own_background`.
        """
        maps = self.maps(clips)
        losses: dict[str, Tensor] = {}
        if self.proposals is None:
            if given is None:
                given = [jittered(one, seed) for one, seed in zip(boxes, seeds)]
            proposals = list(given)
        else:
            proposals, losses = self.propose(maps, clips, clip_of, key_frames, boxes, seeds)
            if given is not None:
                proposals = [torch.cat(pair) for pair in zip(proposals, given)]
        if self.jitter:
            around = [jittered(one, seed, self.jitter) for one, seed in zip(boxes, seeds)]
            proposals = [torch.cat(pair) for pair in zip(proposals, around)]
        examples = choose_examples(proposals, boxes, labels, seeds, count=self.examples)
        logits, deltas = self._score(
            maps, clips.shape[1], examples.boxes, clip_of[examples.key], key_frames[examples.key]
        )
        losses |= action_losses(
            logits, deltas, examples, multi_label=self.head.multi_label,
            own_background=self.head.own_background,
        )  # fmt: skip
        weights = {"action_boxes": self.box_weight, "proposal_boxes": self.proposal_box_weight}
        return {name: weights.get(name, 1.0) * loss for name, loss in losses.items()}

    def find(
        self,
        maps: dict[str, Tensor],
        length: int,
        proposals: Sequence[Tensor],
        clip_of: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> Found:
        """What is done where on K key frames.

        Args:
            maps: of `maps`.
            length: frames of the clips.
            proposals: K times (P, 4).
            clip_of, key_frames: (K,).
            threshold: the lowest score kept.
        """
        scored = self.score(maps, length, proposals, clip_of, key_frames)
        size = (self.settings.height, self.settings.width_pixels)
        return choose_found(*scored, size, threshold=threshold)

    def score(
        self,
        maps: dict[str, Tensor],
        length: int,
        proposals: Sequence[Tensor],
        clip_of: Tensor,
        key_frames: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the head says of the proposals of K key frames, see `find`; nothing is left out.

        Returns:
            (R, classes) probabilities, (R, 1, 4) or (R, classes, 4) deltas, (R, 4) the proposals,
            and (R,) the key frame of each.
        """
        counts = torch.tensor([len(each) for each in proposals], device=clip_of.device)
        key = torch.arange(len(counts), device=clip_of.device).repeat_interleave(counts)
        rois = torch.cat(list(proposals))
        logits, deltas = self._score(maps, length, rois, clip_of[key], key_frames[key])
        return self.head.probabilities(logits), deltas, rois, key

    def _score(
        self,
        maps: dict[str, Tensor],
        length: int,
        rois: Tensor,
        clip_of: Tensor,
        key_frames: Tensor,
    ) -> tuple[Tensor, Tensor]:
        endpoint = self.settings.endpoint
        grid = self.grid(endpoint, length)
        return self.head(maps[endpoint], grid, rois, clip_of, key_frames, self.window)


def _shapes(settings: DetectorSettings) -> dict[str, tuple[int, int, int]]:
    """Of every endpoint of the backbone: channels, stride in time, stride in space."""
    if settings.backbone in TORCHVISION:
        return TORCHVISION[settings.backbone].shapes
    return endpoint_shapes(settings.width)


def build_detector(
    settings: DetectorSettings, trunk: Trunk | None = None, flow_trunk: Trunk | None = None
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
        if settings.height % stride or settings.width_pixels % stride:
            raise InputError(
                f"--size {settings.height} {settings.width_pixels}: height and width must be "
                f"multiples of {stride}, the stride of {endpoint}"
            )
    if settings.backbone in TORCHVISION:
        _require_plain(settings)
        # A trunk of the family by all that is asked of it but its grid and how it is cut.
        trunk = trunk or cast(Trunk, TorchvisionTrunk(TORCHVISION[settings.backbone]))
    elif trunk is None:
        variant = get_variant(settings.backbone)
        if settings.norm == "batch":
            # The family's 1e-3 suits hundreds of thousands of steps.
            layout = replace(variant.layout, norm_momentum=_NORM_MOMENTUM)
            variant = replace(variant, layout=layout)
        channels_in = 2 if settings.streams == "flow" else 3
        trunk = Trunk(variant, settings.width, channels_in=channels_in)
    if settings.streams == "both":
        if flow_trunk is None:
            flow_trunk = Trunk(trunk.variant, settings.width, channels_in=2)
        _require_one_grid(settings, trunk, flow_trunk)
        cut(flow_trunk, settings.endpoint)
    last = max(used, key=list(shapes).index)
    features: TemporalMean | RemainingBlocks
    if settings.head == "mean":
        if isinstance(trunk, TorchvisionTrunk):
            trunk.end_at(last)
        else:
            trunk, _ = cut(trunk, last)
        features = TemporalMean(
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
        features = RemainingBlocks(
            blocks, shapes[settings.endpoint][0], shapes["Mixed_5c"][0], settings.roi_size
        )
    head = ActionHead(
        features, len(settings.labels), multi_label=settings.multi_label,
        own_background=settings.own_background, per_class_boxes=settings.per_class_boxes,
        dropout=settings.dropout,
    )  # fmt: skip
    if settings.proposals == "given":
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


def _require_plain(settings: DetectorSettings) -> None:
    for name, value in (("width", 1.0), ("head", "mean"), ("streams", "rgb")):
        if getattr(settings, name) != value:
            raise InputError(
                f"{as_option(name)} {getattr(settings, name)}: only works with the S3D "
                f"family; with {settings.backbone} use {value}"
            )


def _require_one_grid(settings: DetectorSettings, rgb: Trunk, flow: Trunk) -> None:
    size = (settings.frames, settings.height, settings.width_pixels)
    grids = [receptive_grid(each.variant, settings.endpoint, size) for each in (rgb, flow)]
    if grids[0] != grids[1]:
        raise InputError(
            "--streams both: the RGB and the flow weights use different padding, so their "
            "feature maps do not line up; give --weights and --flow-weights from the same "
            "source"
        )
