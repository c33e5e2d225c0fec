"""The trunks and the action head in detectron2's registries; importing this module adds them.

A config that names them, after `add_actiontubes_config(cfg)`:

    VERSION: 2
    MODEL:
      META_ARCHITECTURE: GeneralizedRCNN
      PIXEL_MEAN: [110.2, 100.64, 95.99]     # 255 times the mean of S3D's Kinetics weights
      PIXEL_STD: [58.15, 56.47, 55.33]
      BACKBONE: {NAME: build_s3d_backbone}
      S3D: {NAME: s3d-g, WEIGHTS: kinetics400, ENDPOINT: Mixed_4e, FRAMES: 20}
      RPN: {IN_FEATURES: [key]}
      ROI_HEADS: {NAME: ActionROIHeads, IN_FEATURES: [clip], NUM_CLASSES: 24}
    INPUT: {FORMAT: RGB}

The system of the paper and of AVA, whose proposals come from a ResNet-50 on the key frame, needs
`S3D.KEY_FRAME_BACKBONE: build_resnet_backbone` and `RPN.IN_FEATURES: [res4]`.

A model's input is as in detectron2, except that "image" is the whole clip, (T, 3, H, W), and
"instances" are those of the key frame, T // 2. detectron2 normalizes and pads the last three axes.
Clips of a batch should have one size, as S3D-G's gates average over the padding, too.
MODEL.VIS_PERIOD cannot draw clips and must stay 0.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...backbones.classifier import PretrainedModel
from ...backbones.grid import FeatureGrid
from ...backbones.registry import Backbone as Trunk
from ...backbones.registry import build_backbone, load_backbone
from ...datasets.errors import InputError, choose_from
from .roi_align import Rois, features_at_key_frames
from .roi_features import (
    FeatureMap,
    LightPoolFeatures,
    MeanPoolFeatures,
    TrunkBlockFeatures,
)

try:
    from detectron2.config import CfgNode
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY, Backbone
    from detectron2.modeling.poolers import convert_boxes_to_pooler_format
    from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
except ImportError as error:
    raise InputError(
        f"actiontubes.detect.model.detectron2_modules: detectron2 cannot be imported ({error}); "
        "conda install -c conda-forge detectron2, or build it from its repository"
    ) from error


def add_actiontubes_config(cfg: CfgNode) -> None:
    """Adds the keys of this module to a config of detectron2, with their defaults.

    MODEL.S3D:
        NAME: a network of `BACKBONES`, such as "s3d-g" or "i3d".
        WEIGHTS: a name or file for `Backbone.load_pretrained`; "" for random weights.
        WIDTH: multiplier of the channels of a trunk without weights.
        ENDPOINT: the layer whose feature map is used.
        FREEZE_TO: the last endpoint that is not trained; "" trains all.
        FRAMES: number of frames of a clip; frame FRAMES // 2 is the key frame.
        KEY_FRAME_BACKBONE: a 2D backbone of detectron2's registry for the key frame, whose features
            the RPN uses instead of "key".
    MODEL.ROI_ACTION_HEAD:
        FEATURES: "mean", the temporal mean and two fully connected layers; "light", the same with
            CHANNELS channels and one layer; or "mixed", the trunk's remaining blocks for each box.
        HIDDEN: units of the fully connected layers.
        CHANNELS: that "light" reduces the map to.
    """
    cfg.MODEL.S3D = CfgNode({
        "NAME": "s3d-g", "WEIGHTS": "", "WIDTH": 1.0, "ENDPOINT": "Mixed_4e", "FREEZE_TO": "",
        "FRAMES": 20, "KEY_FRAME_BACKBONE": "",
    })  # fmt: skip
    cfg.MODEL.ROI_ACTION_HEAD = CfgNode({"FEATURES": "mean", "HIDDEN": 1024, "CHANNELS": 64})


class ClipBackbone(Backbone):
    """A trunk as a backbone of detectron2.

    Features: "clip", (N, C, T', H', W'), the trunk's map of the whole clip; and for the RPN "key",
    (N, C, H', W'), the map at the key frame (`rpn.features_at_key_frames`), or, with `key_frame`,
    that backbone's features of the key frame.

    Anchors are on the cells' centers with MODEL.ANCHOR_GENERATOR.OFFSET = (origin + 0.5) / stride
    of the grid of "key": 0.03 for S3D, where detectron2's default 0 will do, and 0.97 for I3D.

    Args:
        trunk: up to the endpoint whose map is used.
        frames: T of every clip.
        key_frame: a 2D backbone for the key frame, or None.
    """

    def __init__(self, trunk: Trunk, frames: int = 20, key_frame: Backbone | None = None) -> None:
        super().__init__()
        self.trunk, self.frames, self.key_frame = trunk, frames, key_frame
        self.grid = clip_grid(trunk, frames)

    @property
    def size_divisibility(self) -> int:
        """The stride; for multiples of it TensorFlow's SAME padding does not move the grid."""
        other = self.key_frame.size_divisibility if self.key_frame else 0
        return math.lcm(self.grid.stride[1], other or 1)

    def output_shape(self) -> dict[str, ShapeSpec]:
        shape = ShapeSpec(channels=self.trunk.out_channels, stride=self.grid.stride[1])
        key = self.key_frame.output_shape() if self.key_frame else {"key": shape}
        return {**key, "clip": shape}

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, 3, H, W) normalized clips → features by name.

        Raises:
            InputError: images instead of clips, or clips of another length.
        """
        if clips.shape[1:-2] != (self.frames, 3):
            shape = ", ".join(map(str, clips.shape[1:]))
            raise InputError(
                f'"image" has shape ({shape}); build_s3d_backbone needs clips of shape '
                f"({self.frames}, 3, H, W), where {self.frames} is MODEL.S3D.FRAMES"
            )
        features = self.trunk(clips.transpose(1, 2))
        middle = self.frames // 2
        if self.key_frame:
            return {**self.key_frame(clips[:, middle]), "clip": features}
        clip_index = torch.arange(len(clips), device=clips.device)
        key_frames = torch.full_like(clip_index, middle)
        key = features_at_key_frames(features, self.grid, clip_index, key_frames)
        return {"key": key, "clip": features}


class ActionFeatures(nn.Module):
    """Pools boxes in a feature map of clips, with the interface of detectron2's poolers.

    Args:
        features: of `roi_features`.
        grid: of the feature map, see `clip_grid`.
        frames: T of every clip.
    """

    def __init__(
        self,
        features: MeanPoolFeatures | LightPoolFeatures | TrunkBlockFeatures,
        grid: FeatureGrid,
        frames: int = 20,
    ) -> None:
        super().__init__()
        # detectron2's predictor refines boxes; unused weights stop its training on several GPUs.
        features.box_layers = nn.Sequential()
        self.features, self.grid, self.frames = features, grid, frames

    def forward(self, maps: list[Tensor], boxes: list[Any]) -> Tensor:
        """One map (N, C, T', H', W') and N `Boxes`, R in all → (R, features.out_channels)."""
        (clips,) = maps
        rows = convert_boxes_to_pooler_format(boxes)
        clip_index = rows[:, 0].long()
        rois = Rois(rows[:, 1:], clip_index, torch.full_like(clip_index, self.frames // 2))
        features, _ = self.features([FeatureMap(clips, self.grid, clips.shape[2])], rois)
        return features


@BACKBONE_REGISTRY.register()
def build_s3d_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ClipBackbone:
    """The backbone that MODEL.S3D describes.

    Raises:
        InputError: a name, endpoint or weights file that cannot be used.
    """
    options = cfg.MODEL.S3D
    trunk, _ = _build_trunk(cfg)
    if options.FREEZE_TO:
        _check_endpoint(trunk, "MODEL.S3D.FREEZE_TO", options.FREEZE_TO)
        trunk.freeze(options.FREEZE_TO)
    key_frame = None
    if options.KEY_FRAME_BACKBONE:
        key_frame = BACKBONE_REGISTRY.get(options.KEY_FRAME_BACKBONE)(cfg, input_shape)
    return ClipBackbone(trunk, options.FRAMES, key_frame)


@ROI_HEADS_REGISTRY.register()
class ActionROIHeads(StandardROIHeads):
    """Actions in boxes: detectron2's matching, sampling, losses and NMS on this project's features.

    MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD have the meaning that they have for any detector of
    detectron2 (one box for all classes, sigmoids, thresholds), except that MODEL.ROI_ACTION_HEAD
    replaces the box head's layers and POOLER_*.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        if list(names) != ["clip"]:
            raise InputError(
                f'MODEL.ROI_HEADS.IN_FEATURES: ActionROIHeads needs ["clip"], not {names}'
            )
        options, head = cfg.MODEL.S3D, cfg.MODEL.ROI_ACTION_HEAD
        trunk, rest = _build_trunk(cfg)
        features: MeanPoolFeatures | LightPoolFeatures | TrunkBlockFeatures
        if head.FEATURES == "mean":
            features = MeanPoolFeatures(trunk.out_channels, head.HIDDEN)
        elif head.FEATURES == "light":
            features = LightPoolFeatures(trunk.out_channels, head.HIDDEN, reduced=head.CHANNELS)
        elif head.FEATURES == "mixed" and len(rest) and trunk.blocks_fit_rois:
            last = [*trunk.endpoint_shapes.values()][-1]
            features = TrunkBlockFeatures(rest, trunk.out_channels, last.channels)
        elif head.FEATURES == "mixed":
            raise InputError(
                "MODEL.ROI_ACTION_HEAD.FEATURES mixed: no layers are left after "
                f"MODEL.S3D.ENDPOINT {options.ENDPOINT}; use mean, or an earlier endpoint"
            )
        else:
            raise InputError(
                f"MODEL.ROI_ACTION_HEAD.FEATURES {head.FEATURES}: must be mean, light or mixed"
            )
        grid = clip_grid(trunk, options.FRAMES)
        return {
            "box_in_features": names,
            "box_pooler": ActionFeatures(features, grid, options.FRAMES),
            "box_head": nn.Identity(),
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=features.out_channels)),
        }


def clip_grid(trunk: Trunk, frames: int) -> FeatureGrid:
    """The grid of the trunk's feature map for clips of `frames` frames of any padded size."""
    side = trunk.endpoint_shapes[trunk.last].space_stride
    return trunk.grid(trunk.last, (frames, side, side))


def _build_trunk(cfg: CfgNode) -> tuple[Trunk, nn.Sequential]:
    """The trunk up to MODEL.S3D.ENDPOINT, and the layers behind it.

    detectron2 builds backbone and head from the config alone, so that each reads the weights.
    """
    options = cfg.MODEL.S3D
    if options.WEIGHTS:
        model = load_backbone(options.NAME, options.WEIGHTS)
        trunk = model.trunk
        if trunk.width_multiplier != options.WIDTH:
            raise InputError(
                f"MODEL.S3D.WIDTH {options.WIDTH}: the weights {options.WEIGHTS} have width "
                f"{trunk.width_multiplier}"
            )
        _warn_if_other_normalization(cfg, model)
    else:
        trunk = build_backbone(options.NAME, width_multiplier=options.WIDTH)
    _check_endpoint(trunk, "MODEL.S3D.ENDPOINT", options.ENDPOINT)
    return trunk, trunk.truncate(options.ENDPOINT)


def _check_endpoint(trunk: Trunk, key: str, endpoint: str) -> None:
    names = list(trunk.endpoint_shapes)
    names = names[: names.index(trunk.last) + 1]
    if endpoint not in names:
        raise InputError(f"{key} {endpoint}: no such layer; {choose_from(endpoint, names)}")


def _warn_if_other_normalization(cfg: CfgNode, model: PretrainedModel) -> None:
    configured = [*cfg.MODEL.PIXEL_MEAN, *cfg.MODEL.PIXEL_STD]
    expected = [round(255 * value, 2) for value in (*model.mean, *model.std)]
    same = len(configured) == 6 and np.allclose(configured, expected, rtol=0, atol=0.5)
    if not same or cfg.INPUT.FORMAT != "RGB":
        warnings.warn(
            f"{cfg.MODEL.S3D.WEIGHTS}: were trained with MODEL.PIXEL_MEAN {expected[:3]}, "
            f"PIXEL_STD {expected[3:]} and INPUT.FORMAT RGB; the config has other values",
            stacklevel=2,
        )
