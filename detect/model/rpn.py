"""Person proposals that are trained with the detector: torchvision's RPN on key frames.

Its features are those of a separate 2D ResNet on the key frame, as in the paper (section on
detection, after AVA), independent of the clip's length; or the 3D features of the trunk, at no
extra cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import get_weight, resnet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from ...backbones.classifier import normalize
from ...backbones.grid import FeatureGrid
from ...backbones.weights.cache import fetch_torchvision
from ...backbones.weights.convert import IncompatibleWeightsError, load_strict
from ...backbones.weights.load import load_state_dict
from ...datasets.errors import InputError
from .roi_align import features_at_key_frames, neighboring_steps
from .sampling import SeededSampler

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ShiftedAnchors(AnchorGenerator):
    """torchvision's anchors moved from pixel edge 0 to the center of the feature map's cell 0.

    Attributes:
        shift: (x, y) in pixels.
    """

    shift = (0.0, 0.0)

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        return [each + each.new_tensor(self.shift * 2) for each in super().forward(images, maps)]


class KeyFrameSteps(NamedTuple):
    """Where each of K key frames lies among U time steps.

    Attributes:
        before, after: (K,) int64, the steps around it.
        weight: (K,) of the one after, 0 to 1.
    """

    before: Tensor
    after: Tensor
    weight: Tensor

    def interpolate(self, maps: Tensor) -> Tensor:
        """(U, C, H, W) maps of the steps → (K, C, H, W) of the key frames."""
        weight = self.weight.to(maps.dtype)[:, None, None, None]
        return torch.lerp(maps[self.before], maps[self.after], weight)


class SplitRPNHead(RPNHead):
    """torchvision's RPN head in two parts, between which maps can be interpolated.

    Interpolation and convolution are linear, so their order does not matter, and the convolution
    is cheaper on the few time steps that many key frames share.

    Args:
        channels: of the features.
        num_anchors: at each place.
        hidden: channels of the convolution.
    """

    conv: Any  # torchvision's: a sequence of one sequence of convolution and ReLU

    def __init__(self, channels: int, num_anchors: int, hidden: int) -> None:
        super().__init__(hidden, num_anchors)
        if hidden != channels:
            layer = Conv2dNormActivation(channels, hidden, kernel_size=3, norm_layer=None)
            nn.init.normal_(layer[0].weight, std=0.01)
            self.conv = nn.Sequential(layer)

    def convolve(self, maps: Tensor) -> Tensor:
        """The 3x3 convolution, without its ReLU."""
        ((convolution, _),) = self.conv
        return convolution(maps)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box deltas from the results of `convolve`."""
        hidden = [each.relu() for each in x]
        return [self.cls_logits(each) for each in hidden], [self.bbox_pred(each) for each in hidden]


class KeyFrameResNet(nn.Module):
    """A ResNet up to conv4 (stride 16) with frozen norms, as in Faster R-CNN's C4.

    Args:
        depth: 50 as in the paper; 18 for small runs.
    """

    def __init__(self, depth: Literal[18, 50]) -> None:
        super().__init__()
        build = resnet.resnet50 if depth == 50 else resnet.resnet18
        stages = list(build(norm_layer=FrozenBatchNorm2d).named_children())
        self.layers = nn.Sequential(OrderedDict(stages[:7]))  # conv1 to layer3
        self.depth = depth
        self.out_channels = 1024 if depth == 50 else 256

    # Every layer's padding is symmetric.
    grid = FeatureGrid(origin=(0.0, 0.0, 0.0), stride=(1, 16, 16))

    def forward(self, frames: Tensor) -> Tensor:
        """(K, H, W, 3) uint8 → (K, C, H/16, W/16)."""
        clips = normalize(frames[:, None], IMAGENET_MEAN, IMAGENET_STD)
        return self.layers(clips[:, :, 0].contiguous(memory_format=torch.channels_last))


def load_resnet(resnet: KeyFrameResNet, weights: str) -> None:
    """Loads the weights of torchvision's ResNet.

    Args:
        weights: "imagenet", or the path of a state dict.

    Raises:
        InputError: a file that is missing, cannot be downloaded, is damaged or of another network.
    """
    if weights == "imagenet":
        path = fetch_torchvision(get_weight(f"ResNet{resnet.depth}_Weights.DEFAULT"))
    else:
        path = Path(weights)
    state, keys = load_state_dict(path), resnet.layers.state_dict()
    try:
        load_strict(resnet.layers, {key: state[key] for key in keys if key in state})
    except IncompatibleWeightsError as error:
        raise InputError(f"{path}: is not a torchvision ResNet-{resnet.depth} ({error})") from error


def steps_at_key_frames(
    features: Tensor, grid: FeatureGrid, clip_index: Tensor, key_frames: Tensor
) -> tuple[Tensor, KeyFrameSteps | None]:
    """The maps that `ProposalNetwork` convolves for key frames, as few as possible.

    Args:
        features, grid, clip_index, key_frames: see `features_at_key_frames`.

    Returns:
        (U, C, H, W) maps of the time steps around the key frames, each once, and where the key
        frames lie among them; or the result of `features_at_key_frames` and None where there are
        no fewer steps than key frames.
    """
    length = features.shape[2]
    before, after, weight = neighboring_steps(key_frames, grid, length)
    numbers = torch.stack([before, after]) + clip_index * length
    used, (before, after) = numbers.unique(return_inverse=True)
    if len(used) >= len(key_frames):
        return features_at_key_frames(features, grid, clip_index, key_frames), None
    maps = features.transpose(1, 2)[used // length, used % length]
    return maps, KeyFrameSteps(before, after, weight)


class ProposalNetwork(nn.Module):
    """torchvision's RPN on the features of key frames.

    Args:
        channels: of the features.
        anchor_sides: in pixels of the clip.
        anchor_ratios: height / width.
        num_proposals: of each key frame, after NMS of the best five times as many anchors; in
            training twice as many proposals from ten times as many anchors.
        anchors_per_frame: anchors of each key frame that are sampled for training.
        hidden: channels of the 3x3 convolution; 0 is as many as the features have.
    """

    def __init__(
        self,
        channels: int,
        *,
        anchor_sides: Sequence[int],
        anchor_ratios: Sequence[float],
        num_proposals: int = 100,
        anchors_per_frame: int = 256,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        anchors = ShiftedAnchors((tuple(anchor_sides),), (tuple(anchor_ratios),))
        self.rpn = RegionProposalNetwork(
            anchors,
            SplitRPNHead(channels, anchors.num_anchors_per_location()[0], hidden or channels),
            fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=anchors_per_frame,
            positive_fraction=0.5, pre_nms_top_n={}, post_nms_top_n={}, nms_thresh=0.7,
        )  # fmt: skip
        self.limit(num_proposals)
        self.anchors = anchors
        self.sampler = SeededSampler(anchors_per_frame, 0.5)
        self.rpn.fg_bg_sampler = self.sampler

    def limit(self, num_proposals: int) -> None:
        """Changes the number of proposals; see the class."""
        self.rpn._pre_nms_top_n = {"training": 10 * num_proposals, "testing": 5 * num_proposals}
        self.rpn._post_nms_top_n = {"training": 2 * num_proposals, "testing": num_proposals}

    def forward(
        self,
        features: Tensor,
        grid: FeatureGrid,
        size: tuple[int, int],
        boxes: Sequence[Tensor] | None = None,
        seeds: Sequence[int] = (),
        steps: KeyFrameSteps | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of K key frames.

        Args:
            features: (K, C, H', W'), or (U, C, H', W') of time steps.
            grid: of the features.
            size: (height, width) of the clip.
            boxes: K times (G, 4), the ground truth in pixels of the clip; in training.
            seeds: K integers that decide which anchors are sampled; in training.
            steps: where the key frames lie among the time steps; see `steps_at_key_frames`.

        Returns:
            K times (P, 4) in pixels of the clip, best first; and in training the losses objectness
            and proposal_boxes.
        """
        # torchvision centers the anchors of cell 0 on edge 0, half a pixel before pixel 0's center.
        self.anchors.shift = (grid.origin[2] + 0.5, grid.origin[1] + 0.5)
        self.sampler.seeds = seeds
        targets = None if boxes is None else [{"boxes": each} for each in boxes]
        hidden = self._convolve(features)
        if steps is not None:
            hidden = steps.interpolate(hidden)
        # Boxes need single precision, whatever that of the features.
        with torch.autocast(features.device.type, enabled=False):
            hidden = hidden.float()
            # The RPN uses only the shape of the images.
            images = ImageList(hidden.new_empty((1, 3, *size)), [size] * len(hidden))
            proposals, losses = self.rpn(images, {"0": hidden}, targets)
        names = {"loss_objectness": "objectness", "loss_rpn_box_reg": "proposal_boxes"}
        # torchvision divides by the number of sampled anchors. Divided by the number requested, as
        # the head's losses are, the mean over processes is the loss of all clips in one batch.
        return proposals, {names[name]: loss * self.sampler.share for name, loss in losses.items()}

    def _convolve(self, features: Tensor) -> Tensor:
        """In the precision of the caller, but trained in float32.

        Gradients of bfloat16 convolutions on small maps are wrong on some processors.
        """
        if not self.training:
            return self.rpn.head.convolve(features)
        with torch.autocast(features.device.type, enabled=False):
            return self.rpn.head.convolve(features.float())
