"""The detector: a trunk, proposals on key frames, ROI pooling in space-time, and the action head.

The paper's section on detection, after AVA (Gu et al. 2018). A clip may have several key frames.
Each uses the time steps around it, so that the trunk runs once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...backbones.classifier import normalize
from ...backbones.flow_input import FLOW_MEAN, FLOW_STD
from ...backbones.grid import FeatureGrid
from ...backbones.registry import Backbone
from .config import DetectorConfig
from .head import ActionHead
from .losses import action_losses
from .postprocess import RoiScores
from .roi_align import Rois, features_at_key_frames
from .roi_features import FeatureMap
from .rpn import KeyFrameResNet, ProposalNetwork, steps_at_key_frames
from .sampling import jitter_boxes, sample_rois

_RPN_FEATURES = "proposals"  # the key of the RPN's feature map where it is no endpoint's


class Detector(nn.Module):
    """A detector of actions, assembled from its parts as torchvision's detection models are.

    Args:
        config: what the parts were built from.
        trunk: clips to feature maps; of RGB, or of flow where that is the only stream.
        head: scores and refines proposals.
        proposals: the RPN, or None where proposals are external.
        resnet: what the RPN uses of a key frame, or None where it uses the trunk's features.
        flow_trunk: with two streams, the one of flow; it ends at the head's last endpoint.

    Attributes:
        endpoints: the trunk's feature maps that the head, and an RPN on features, use.
        head_endpoints: those that the head uses, see `DetectorConfig.head_endpoints`.
        rois_per_frame: proposals of each key frame that the head is trained on.
        jitter: copies of each ground truth box, moved at random, that are added to the proposals in
            training: an RPN that has learned little proposes few boxes with people.
        box_weight, proposal_box_weight: factors of the losses action_boxes and proposal_boxes. The
            second loss is small, as torchvision divides it by all sampled anchors.
    """

    def __init__(
        self,
        config: DetectorConfig,
        trunk: Backbone,
        head: ActionHead,
        *,
        proposals: ProposalNetwork | None = None,
        resnet: KeyFrameResNet | None = None,
        flow_trunk: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.rois_per_frame, self.jitter = 64, 0
        self.box_weight, self.proposal_box_weight = 1.0, 1.0
        self.trunk, self.head, self.proposals, self.resnet = trunk, head, proposals, resnet
        self.flow_trunk = flow_trunk
        network = list(trunk.endpoint_shapes)
        self.endpoints = config.endpoints(network)
        self.head_endpoints = config.head_endpoints(network)
        for norm in self._frozen_norms():
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        for norm in self._frozen_norms():
            norm.eval()
        return self

    def _frozen_norms(self) -> list[nn.Module]:
        """The trunk's batch norms, also in its blocks in the head, where they are not trained."""
        if self.config.norm == "batch":
            return []
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm3d)]

    def window(self, endpoint: str) -> int:
        """Time steps of a feature map that the head pools around a key frame."""
        stride = self.trunk.endpoint_shapes[endpoint].time_stride
        return max(1, -(-self.config.frames // stride))

    def grid(self, endpoint: str, clip_frames: int) -> FeatureGrid:
        """Where the cells of an endpoint lie in clips of `clip_frames` frames."""
        return self.trunk.grid(endpoint, (clip_frames, *self.config.size))

    def extract_features(self, clips: Tensor) -> dict[str, Tensor]:
        """The feature maps that `propose` and `score` use.

        Args:
            clips: (N, T, H, W, C) uint8 of the size in the config; C is 3 (RGB), 2 (flow) or 5
                (both). Channels that the detector does not use are ignored.

        Returns:
            By name: (N, C', T', H', W').
        """
        config = self.config
        if config.streams == "flow":
            images = normalize(clips[..., -2:], FLOW_MEAN, FLOW_STD)
        else:
            images = normalize(clips[..., :3], config.mean, config.std)
        features = self.trunk.endpoints(images, self.endpoints)
        if self.flow_trunk is not None:
            if config.proposals == "features":
                features[_RPN_FEATURES] = features[config.proposal_endpoint]
            flow_images = normalize(clips[..., -2:], FLOW_MEAN, FLOW_STD)
            for name, flow in self.flow_trunk.endpoints(flow_images, self.head_endpoints).items():
                features[name] = (features[name] + flow) / 2
        return features

    def propose(
        self,
        features: dict[str, Tensor],
        clips: Tensor,
        clip_index: Tensor,
        key_frames: Tensor,
        boxes: Sequence[Tensor] | None = None,
        seeds: Sequence[int] = (),
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The RPN's proposals on K key frames, and in training its losses.

        Args:
            features: of `extract_features`.
            clips, clip_index, key_frames, boxes, seeds: see `forward`; boxes and seeds in training.

        Returns:
            K times (P, 4) in pixels of the clip, best first; objectness and proposal_boxes.
        """
        assert self.proposals is not None
        if self.resnet is not None:
            grid = self.resnet.grid
            key_features = self.resnet(clips[..., :3][clip_index, key_frames.round().long()])
        else:
            grid = self.grid(self.config.proposal_endpoint, clips.shape[1])
            maps = features.get(_RPN_FEATURES, features[self.config.proposal_endpoint])
            at_key_frames = maps, grid, clip_index, key_frames
            # Training has few key frames in a clip, and exports have a network of their own, with
            # no shapes that depend on data.
            if not self.training and isinstance(self.proposals, ProposalNetwork):
                maps, steps = steps_at_key_frames(*at_key_frames)
                return self.proposals(maps, grid, self.config.size, steps=steps)
            key_features = features_at_key_frames(*at_key_frames)
        return self.proposals(key_features, grid, self.config.size, boxes, seeds)

    def forward(
        self,
        clips: Tensor,
        clip_index: Tensor,
        key_frames: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        seeds: Sequence[int],
        external_proposals: Sequence[Tensor] | None = None,
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of a batch of clips with K key frames in all.

        Args:
            clips: (N, T, H, W, C) uint8, see `extract_features`.
            clip_index: (K,) int64, the clip of each key frame.
            key_frames: (K,) its frame in that clip, from 0.
            boxes: K times (G, 4), the ground truth in pixels of the clip; G may be 0.
            labels: K times (G, classes), 1 for each class of a box.
            seeds: K integers that decide which anchors and proposals are sampled.
            external_proposals: K times (P, 4), which are added to those of the RPN. A detector
                without an RPN uses the jittered ground truth where there are none.
            features: of `extract_features`, where they are known; of the clips only T is used then,
                unless the RPN uses their key frames.

        Returns:
            objectness and proposal_boxes (of the RPN), action and action_boxes; also background
            where the head has `separate_background`.
        """
        if features is None:
            features = self.extract_features(clips)
        losses: dict[str, Tensor] = {}
        if self.proposals is None:
            if external_proposals is None:
                external_proposals = [jitter_boxes(one, seed) for one, seed in zip(boxes, seeds)]
            proposals = list(external_proposals)
        else:
            proposals, losses = self.propose(features, clips, clip_index, key_frames, boxes, seeds)
            if external_proposals is not None:
                proposals = [torch.cat(pair) for pair in zip(proposals, external_proposals)]
        if self.jitter:
            jittered = [jitter_boxes(one, seed, self.jitter) for one, seed in zip(boxes, seeds)]
            proposals = [torch.cat(pair) for pair in zip(proposals, jittered)]
        samples = sample_rois(proposals, boxes, labels, seeds, count=self.rois_per_frame)
        at = samples.key_frame_index
        rois = Rois(samples.boxes, clip_index[at], key_frames[at])
        logits, deltas = self.apply_head(features, clips.shape[1], rois)
        losses |= action_losses(
            logits, deltas, samples, multi_label=self.head.multi_label,
            separate_background=self.head.separate_background,
        )  # fmt: skip
        weights = {"action_boxes": self.box_weight, "proposal_boxes": self.proposal_box_weight}
        return {name: weights.get(name, 1.0) * loss for name, loss in losses.items()}

    def score(
        self,
        features: dict[str, Tensor],
        clip_frames: int,
        proposals: Sequence[Tensor],
        clip_index: Tensor,
        key_frames: Tensor,
    ) -> RoiScores:
        """The head's scores and box deltas for all proposals of K key frames.

        Args:
            features: of `extract_features`.
            clip_frames: T of the clips.
            proposals: K times (P, 4) in pixels of the clip; P may be 0.
            clip_index: (K,) int64, the clip of each key frame.
            key_frames: (K,) its frame in that clip, from 0.
        """
        counts = torch.tensor([len(each) for each in proposals], device=clip_index.device)
        at = torch.arange(len(counts), device=clip_index.device).repeat_interleave(counts)
        rois = Rois(torch.cat(list(proposals)), clip_index[at], key_frames[at])
        logits, deltas = self.apply_head(features, clip_frames, rois)
        return RoiScores(self.head.probabilities(logits), deltas, rois.boxes)

    def apply_head(
        self, features: dict[str, Tensor], clip_frames: int, rois: Rois
    ) -> tuple[Tensor, Tensor]:
        """Logits and box deltas of proposals; see `ActionHead.forward` and `score`."""
        maps = [
            FeatureMap(features[name], self.grid(name, clip_frames), self.window(name))
            for name in self.head_endpoints
        ]
        return self.head(maps, rois)
