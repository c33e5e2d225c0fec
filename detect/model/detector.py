"""The detector: a trunk, proposals on key frames, ROI pooling in space-time, and the action head.

The paper's section on detection, after AVA (Gu et al. 2018). A clip may hold several key frames;
each sees the time steps around it, so that one pass through the trunk serves them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...backbones.classifier import normalize
from ...backbones.family import endpoint_shapes
from ...backbones.flow_input import FLOW_MEAN, FLOW_STD
from ...backbones.grid import FeatureGrid, feature_grid
from ...backbones.inception import Trunk
from ...backbones.torchvision_video import TORCHVISION_NETWORKS, TorchvisionTrunk
from .config import DetectorConfig
from .head import ActionHead
from .losses import action_losses
from .postprocess import KeyFrameDetections, postprocess
from .rpn import KeyFrameResNet, ProposalNetwork, features_at_key_frames
from .sampling import jitter_boxes, sample_rois

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
        rois_per_frame: proposals of each key frame that the head is trained on.
        jitter: copies of each ground truth box, moved at random, that join the proposals in
            training: until the RPN has learnt, it proposes little that covers anybody.
        box_weight, proposal_box_weight: of the losses action_boxes and proposal_boxes among the
            others. The second is small, as torchvision divides it by all anchors drawn.
        flow_trunk: of two streams, the one of flow; ends at the head's endpoint.
    """

    def __init__(
        self,
        settings: DetectorConfig,
        trunk: Trunk,
        head: ActionHead,
        proposals: ProposalNetwork | None = None,
        resnet: KeyFrameResNet | None = None,
        rois_per_frame: int = 64,
        jitter: int = 0,
        box_weight: float = 1.0,
        proposal_box_weight: float = 1.0,
        flow_trunk: Trunk | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.rois_per_frame, self.jitter = settings, rois_per_frame, jitter
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

    def grid(self, endpoint: str, length: int) -> FeatureGrid:
        """Where the cells of an endpoint look in clips of `length` frames."""
        if isinstance(self.trunk, TorchvisionTrunk):
            return self.trunk.variant.grid(endpoint)
        size = (length, self.settings.height, self.settings.width)
        return feature_grid(self.trunk.variant, endpoint, size)

    def maps(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, H, W, C) uint8 clips → the head's feature map by its endpoint, and the RPN's.

        C is 3 (RGB), 2 (flow) or 5 (both); what the streams do not see is left aside.
        """
        settings = self.settings
        if settings.streams == "flow":
            pictures = normalize(clips[..., -2:], FLOW_MEAN, FLOW_STD)
        else:
            pictures = normalize(clips[..., :3], settings.mean, settings.std)
        maps = self.trunk.endpoints(pictures, settings.endpoints)
        if settings.proposals == "features":
            maps[_FOR_PROPOSALS] = maps[settings.proposal_endpoint]
        if self.flow_trunk is not None:
            flow = self.flow_trunk(normalize(clips[..., -2:], FLOW_MEAN, FLOW_STD))
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
        size = (self.settings.height, self.settings.width)
        if self.resnet is not None:
            grid = self.resnet.grid(size)
            pictures = self.resnet(clips[..., :3][clip_of, key_frames.round().long()])
        else:
            endpoint = self.settings.proposal_endpoint
            grid = self.grid(endpoint, clips.shape[1])
            pictures = features_at_key_frames(maps[_FOR_PROPOSALS], grid, clip_of, key_frames)
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
            head has `separate_background`.
        """
        maps = self.maps(clips)
        losses: dict[str, Tensor] = {}
        if self.proposals is None:
            if given is None:
                given = [jitter_boxes(one, seed) for one, seed in zip(boxes, seeds)]
            proposals = list(given)
        else:
            proposals, losses = self.propose(maps, clips, clip_of, key_frames, boxes, seeds)
            if given is not None:
                proposals = [torch.cat(pair) for pair in zip(proposals, given)]
        if self.jitter:
            around = [jitter_boxes(one, seed, self.jitter) for one, seed in zip(boxes, seeds)]
            proposals = [torch.cat(pair) for pair in zip(proposals, around)]
        examples = sample_rois(proposals, boxes, labels, seeds, count=self.rois_per_frame)
        logits, deltas = self._score(
            maps, clips.shape[1], examples.boxes, clip_of[examples.key], key_frames[examples.key]
        )
        losses |= action_losses(
            logits, deltas, examples, multi_label=self.head.multi_label,
            separate_background=self.head.separate_background,
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
    ) -> KeyFrameDetections:
        """What is done where on K key frames.

        Args:
            maps: of `maps`.
            length: frames of the clips.
            proposals: K times (P, 4).
            clip_of, key_frames: (K,).
            threshold: the lowest score kept.
        """
        scored = self.score(maps, length, proposals, clip_of, key_frames)
        size = (self.settings.height, self.settings.width)
        return postprocess(*scored, size, threshold=threshold)

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


def _shapes(settings: DetectorConfig) -> dict[str, tuple[int, int, int]]:
    """Of every endpoint of the backbone: channels, stride in time, stride in space."""
    if settings.backbone in TORCHVISION_NETWORKS:
        return TORCHVISION_NETWORKS[settings.backbone].shapes
    return endpoint_shapes(settings.width_multiplier)
