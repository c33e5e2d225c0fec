"""Person proposals learned with the detector: torchvision's RPN over key frames.

Two places it can look at: a 2D ResNet of its own on the key frame, as the paper has it (section on
detection, after AVA), which does not depend on the clip's length; or the 3D features of the trunk,
which cost nothing more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FrozenBatchNorm2d

from ...backbones.classifier import normalize
from ...backbones.grid import FeatureGrid
from .roi_align import neighboring_steps
from .sampling import SeededSampler

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ShiftedAnchors(AnchorGenerator):
    """torchvision's anchors, whose cell 0 is centred on pixel edge 0, on a map's true centres."""

    shift = (0.0, 0.0)

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        return [each + each.new_tensor(self.shift * 2) for each in super().forward(images, maps)]


class KeyFrameResNet(nn.Module):
    """ResNet's stages up to conv4 (stride 16), its norms frozen, as Faster R-CNN's C4 has it.

    Args:
        depth: 50 as in the paper; 18 for small runs.
    """

    def __init__(self, depth: Literal[18, 50]) -> None:
        super().__init__()
        build = resnet.resnet50 if depth == 50 else resnet.resnet18
        stages = list(build(norm_layer=FrozenBatchNorm2d).named_children())
        self.layers = nn.Sequential(OrderedDict(stages[:7]))  # conv1 to layer3
        self.out_channels = 1024 if depth == 50 else 256

    def forward(self, pictures: Tensor) -> Tensor:
        """(K, H, W, 3) uint8 → (K, C, H/16, W/16)."""
        clips = normalize(pictures[:, None], IMAGENET_MEAN, IMAGENET_STD)
        return self.layers(clips[:, :, 0].contiguous(memory_format=torch.channels_last))

    @staticmethod
    def grid(size: tuple[int, int]) -> FeatureGrid:
        """Cell 0 at pixel 0: every stride's padding is symmetric."""
        return FeatureGrid((0.0, 0.0, 0.0), (1, 16, 16))


def features_at_key_frames(
    maps: Tensor, grid: FeatureGrid, clip: Tensor, key_frames: Tensor
) -> Tensor:
    """(N, C, T, H, W) maps → (K, C, H, W), between two time steps their weighted mean."""
    before, after, share = neighboring_steps(key_frames, grid, maps.shape[2])
    frames = maps.transpose(1, 2)
    share = share.to(maps.dtype)[:, None, None, None]
    return torch.lerp(frames[clip, before], frames[clip, after], share)


class ProposalNetwork(nn.Module):
    """torchvision's RPN on the maps of key frames.

    Args:
        channels: of the maps.
        sides, ratios: of the anchors, in pixels of the clip and height over width.
        count: proposals of each key frame, the best of five times as many anchors; in training
            twice as many of ten times.
        sampled: anchors of each key frame that are trained on.
    """

    def __init__(
        self,
        channels: int,
        *,
        sides: Sequence[int],
        ratios: Sequence[float],
        count: int = 100,
        sampled: int = 256,
    ) -> None:
        super().__init__()
        anchors = ShiftedAnchors((tuple(sides),), (tuple(ratios),))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=sampled,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 10 * count, "testing": 5 * count},
            post_nms_top_n={"training": 2 * count, "testing": count},
            nms_thresh=0.7,
        )  # fmt: skip
        self.anchors = anchors
        self.sampler = SeededSampler(sampled, 0.5)
        self.rpn.fg_bg_sampler = self.sampler

    def forward(
        self,
        maps: Tensor,
        grid: FeatureGrid,
        size: tuple[int, int],
        boxes: Sequence[Tensor] | None = None,
        seeds: Sequence[int] = (),
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of K key frames.

        Args:
            maps: (K, C, H', W').
            grid: of the maps.
            size: (height, width) of the clip.
            boxes: K times (G, 4), the ground truth, in training.
            seeds: K, in training.

        Returns:
            K times (P, 4), best first, and the losses, in training.
        """
        # torchvision puts the anchors of cell 0 at edge 0, half a pixel before its first centre.
        self.anchors.shift = (grid.first[2] + 0.5, grid.first[1] + 0.5)
        self.sampler.seeds = seeds
        # Only the shape of the pictures is asked for.
        images = ImageList(maps.new_empty((1, 3, *size)), [size] * len(maps))
        targets = None if boxes is None else [{"boxes": each} for each in boxes]
        # Whatever the precision of the maps, boxes are whole numbers of pixels and fractions.
        with torch.autocast(maps.device.type, enabled=False):
            found, losses = self.rpn(images, {"0": maps.float()}, targets)
        names = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposal_boxes"}
        # torchvision divides by the anchors drawn; by those asked for, as the head's losses, the
        # mean over processes is the loss of all their clips in one.
        return found, {names[name]: loss * self.sampler.share for name, loss in losses.items()}
