"""The trunks and the action head in detectron2's registries; importing this module puts them there.

A config that names them, after `add_actiontubes_config(cfg)`:

    VERSION: 2
    MODEL:
      META_ARCHITECTURE: GeneralizedRCNN
      PIXEL_MEAN: [110.2, 100.64, 95.99]     # 255 times those of S3D's Kinetics weights
      PIXEL_STD: [58.15, 56.47, 55.33]
      BACKBONE: {NAME: build_s3d_backbone}
      S3D: {NAME: s3d-g, WEIGHTS: kinetics400, ENDPOINT: Mixed_4e, FRAMES: 20}
      RPN: {IN_FEATURES: [key]}
      ROI_HEADS: {NAME: ActionROIHeads, IN_FEATURES: [clip], NUM_CLASSES: 24}
    INPUT: {FORMAT: RGB}

The system of the paper and of AVA, whose proposals come from a ResNet-50 on the key frame, has
`S3D.KEY_FRAME_BACKBONE: build_resnet_backbone` and `RPN.IN_FEATURES: [res4]`.

A model's input is detectron2's own, except that "image" is the whole clip, (T, 3, H, W), with the
key frame, whose "instances" are to be found, at T // 2. detectron2 normalises and pads the last
three axes of whatever it is given. Clips of a batch should have one size: S3D-G's gates see the
padding, too. MODEL.VIS_PERIOD cannot draw clips and stays 0.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ...backbones.family import endpoint_shapes, get_variant
from ...backbones.grid import FeatureGrid, feature_grid
from ...backbones.inception import Trunk, cut
from ...backbones.weights.load import load_pretrained
from ...datasets.errors import InputError, choose_from
from .head import MeanPoolFeatures, TrunkBlockFeatures
from .rpn import features_at_key_frames

try:
    from detectron2.config import CfgNode
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY, Backbone
    from detectron2.modeling.poolers import convert_boxes_to_pooler_format
    from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
except ImportError as error:
    raise InputError(
        f"actiontubes.detect.detectron2_parts: detectron2 cannot be imported ({error}); "
        "conda install -c conda-forge detectron2, or build it from its repository"
    ) from error


def add_actiontubes_config(cfg: CfgNode) -> None:
    """Adds the keys of this module to a config of detectron2, with their defaults.

    MODEL.S3D:
        NAME: a network of the family, such as "s3d-g" or "i3d" (`inception.get_variant`).
        WEIGHTS: as `weights.load_pretrained` takes them; "" for random ones.
        WIDTH: multiplies the channels of a trunk without weights.
        ENDPOINT: where the feature map is taken.
        FREEZE_TO: the last endpoint that is not trained; "" trains all.
        FRAMES: of a clip; frame FRAMES // 2 is the key frame.
        KEY_FRAME_BACKBONE: a 2D backbone of detectron2's registry whose features of the key frame
            are there for the RPN, instead of "key".
    MODEL.ROI_ACTION_HEAD:
        FEATURES: "mean", the temporal mean and two fully connected layers, or "mixed", the trunk's
            remaining blocks.
        HIDDEN: size of the fully connected layers.
    """
    cfg.MODEL.S3D = CfgNode(
        {
            "NAME": "s3d-g",
            "WEIGHTS": "",
            "WIDTH": 1.0,
            "ENDPOINT": "Mixed_4e",
            "FREEZE_TO": "",
            "FRAMES": 20,
            "KEY_FRAME_BACKBONE": "",
        }
    )
    cfg.MODEL.ROI_ACTION_HEAD = CfgNode({"FEATURES": "mean", "HIDDEN": 1024})


class ClipBackbone(Backbone):
    """A trunk of the family as a backbone of detectron2.

    Features: "clip", (N, C, T', H', W'), the trunk's map of the whole clip; and for the RPN "key",
    (N, C, H', W'), its mean at the key frame (`proposal_network.at_key_frames`), or, with
    `key_frame`, what that backbone makes of the key frame's picture.

    Anchors lie on the centres of "key" with MODEL.ANCHOR_GENERATOR.OFFSET = (first + 0.5) / stride
    of its grid: S3D's 0.03 is as good as detectron2's default 0, I3D needs 0.97.

    Args:
        trunk: up to the endpoint wanted.
        frames: T of every clip.
        key_frame: a 2D backbone for the key frame, or None.
    """

    def __init__(self, trunk: Trunk, frames: int = 20, key_frame: Backbone | None = None) -> None:
        super().__init__()
        self.trunk, self.frames, self.key_frame = trunk, frames, key_frame
        self.grid = clip_grid(trunk, frames)

    @property
    def size_divisibility(self) -> int:
        """The stride, so that TensorFlow's SAME padding never moves the grid."""
        other = self.key_frame.size_divisibility if self.key_frame else 0
        return math.lcm(self.grid.stride[1], other or 1)

    def output_shape(self) -> dict[str, ShapeSpec]:
        shape = ShapeSpec(channels=self.trunk.out_channels, stride=self.grid.stride[1])
        key = self.key_frame.output_shape() if self.key_frame else {"key": shape}
        return {**key, "clip": shape}

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, 3, H, W) normalised clips → features by name.

        Raises:
            InputError: pictures instead of clips, or clips of another length.
        """
        if clips.shape[1:-2] != (self.frames, 3):
            given = ", ".join(map(str, clips.shape[1:]))
            raise InputError(
                f'"image" has shape ({given}); build_s3d_backbone needs clips of shape '
                f"({self.frames}, 3, H, W), where {self.frames} is MODEL.S3D.FRAMES"
            )
        maps = self.trunk(clips.transpose(1, 2))
        key = self.frames // 2
        if self.key_frame:
            return {**self.key_frame(clips[:, key]), "clip": maps}
        clip = torch.arange(len(clips), device=clips.device)
        return {
            "key": features_at_key_frames(maps, self.grid, clip, torch.full_like(clip, key)),
            "clip": maps,
        }


class ActionFeatures(nn.Module):
    """Pools boxes in a map of clips and computes their features, as detectron2 calls a pooler.

    Args:
        features: of `action_head`.
        grid: of the map, `clip_grid`.
        frames: of a clip.
    """

    def __init__(
        self, features: MeanPoolFeatures | TrunkBlockFeatures, grid: FeatureGrid, frames: int = 20
    ) -> None:
        super().__init__()
        # detectron2's predictor refines boxes; weights of no use would stop its training on GPUs.
        features.box_layers = nn.Sequential()
        self.features, self.grid, self.frames = features, grid, frames

    def forward(self, maps: list[Tensor], boxes: list[Any]) -> Tensor:
        """One map (N, C, T', H', W') and N `Boxes`, R in all → (R, features.out_channels)."""
        (clips,) = maps
        rois = convert_boxes_to_pooler_format(boxes)
        clip = rois[:, 0].long()
        key = torch.full_like(clip, self.frames // 2)
        features, _ = self.features(clips, self.grid, rois[:, 1:], clip, key, clips.shape[2])
        return features


@BACKBONE_REGISTRY.register()
def build_s3d_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ClipBackbone:
    """The backbone that MODEL.S3D describes.

    Raises:
        InputError: a name, endpoint or weights file that cannot be used.
    """
    settings = cfg.MODEL.S3D
    trunk, _ = _trunk_and_rest(cfg)
    if settings.FREEZE_TO:
        _check_endpoint(trunk, "MODEL.S3D.FREEZE_TO", settings.FREEZE_TO)
        trunk.freeze(settings.FREEZE_TO)
    key_frame = None
    if settings.KEY_FRAME_BACKBONE:
        key_frame = BACKBONE_REGISTRY.get(settings.KEY_FRAME_BACKBONE)(cfg, input_shape)
    return ClipBackbone(trunk, settings.FRAMES, key_frame)


@ROI_HEADS_REGISTRY.register()
class ActionROIHeads(StandardROIHeads):
    """What is done in each box: detectron2's matching, sampling, losses and NMS on our features.

    MODEL.ROI_HEADS and MODEL.ROI_BOX_HEAD say how, as for any detector of detectron2 (one box for
    all classes, sigmoids, thresholds); but MODEL.ROI_ACTION_HEAD stands in the place of the box
    head's layers and of POOLER_*.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        if list(names) != ["clip"]:
            raise InputError(
                f'MODEL.ROI_HEADS.IN_FEATURES: ActionROIHeads needs ["clip"], not {names}'
            )
        settings, head = cfg.MODEL.S3D, cfg.MODEL.ROI_ACTION_HEAD
        trunk, rest = _trunk_and_rest(cfg)
        features: MeanPoolFeatures | TrunkBlockFeatures
        if head.FEATURES == "mean":
            features = MeanPoolFeatures(trunk.out_channels, head.HIDDEN)
        elif head.FEATURES == "mixed" and len(rest):
            last = [name for name, _ in rest.named_children()][-1]
            channels = trunk.out_channels, endpoint_shapes(trunk.width)[last][0]
            features = TrunkBlockFeatures(rest, *channels)
        elif head.FEATURES == "mixed":
            raise InputError(
                "MODEL.ROI_ACTION_HEAD.FEATURES mixed: no layers are left after "
                f"MODEL.S3D.ENDPOINT {settings.ENDPOINT}; use mean, or an earlier endpoint"
            )
        else:
            raise InputError(
                f"MODEL.ROI_ACTION_HEAD.FEATURES {head.FEATURES}: must be mean or mixed"
            )
        grid = clip_grid(trunk, settings.FRAMES)
        return {
            "box_in_features": names,
            "box_pooler": ActionFeatures(features, grid, settings.FRAMES),
            "box_head": nn.Identity(),
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels=features.out_channels)),
        }


def clip_grid(trunk: Trunk, frames: int) -> FeatureGrid:
    """The grid of the trunk's map on clips of `frames` frames, sides multiples of its stride."""
    side = endpoint_shapes()[trunk.last][2]
    return feature_grid(trunk.variant, trunk.last, (frames, side, side))


def _trunk_and_rest(cfg: CfgNode) -> tuple[Trunk, nn.Sequential]:
    """The trunk up to MODEL.S3D.ENDPOINT, and the layers behind it.

    Backbone and head are built apart, each from the config alone: each reads the weights.
    """
    settings = cfg.MODEL.S3D
    variant = get_variant(settings.NAME)
    if settings.WEIGHTS:
        model = load_pretrained(variant, settings.WEIGHTS)
        trunk = model.trunk
        if trunk.width != settings.WIDTH:
            raise InputError(
                f"MODEL.S3D.WIDTH {settings.WIDTH}: the weights {settings.WEIGHTS} have width "
                f"{trunk.width}"
            )
        _warn_of_other_colours(cfg, model.mean, model.std)
    else:
        trunk = Trunk(variant, settings.WIDTH)
    _check_endpoint(trunk, "MODEL.S3D.ENDPOINT", settings.ENDPOINT)
    return cut(trunk, settings.ENDPOINT)


def _check_endpoint(trunk: Trunk, key: str, endpoint: str) -> None:
    names = [name for name, _ in trunk.named_children()]
    if endpoint not in names:
        raise InputError(f"{key} {endpoint}: no such layer; {choose_from(endpoint, names)}")


def _warn_of_other_colours(cfg: CfgNode, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    theirs = [*cfg.MODEL.PIXEL_MEAN, *cfg.MODEL.PIXEL_STD]
    ours = [round(255 * value, 2) for value in (*mean, *std)]
    near = len(theirs) == 6 and all(abs(a - b) < 0.5 for a, b in zip(theirs, ours))
    if not near or cfg.INPUT.FORMAT != "RGB":
        warnings.warn(
            f"{cfg.MODEL.S3D.WEIGHTS}: were trained with MODEL.PIXEL_MEAN {ours[:3]}, "
            f"PIXEL_STD {ours[3:]} and INPUT.FORMAT RGB; the config has other values",
            stacklevel=2,
        )
