"""YOLOX: one box in each cell of three grids, with an objectness.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; letterbox and grid as in
github.com/Megvii-BaseDetection/YOLOX (data/data_augment.py `preproc`, utils/demo_utils.py).
"""

from __future__ import annotations

import math

import numpy as np

from .family import Family, Found, Outputs, Probe, count_cells
from .images import InputFormat, Size

STRIDES = (8, 16, 32)


def input_size(frame: Size, own: Size) -> Size:
    """The size to run a network of free size at: the frame's, in whole cells of the coarsest grid.

    The long side is kept between half and twice that of the training images; beyond, people would
    have other sizes than in training. On UCF101-24 clips of 340x256 pixels, recall
    at IoU 0.3 rises from 0.92 to 0.97 for a model of 192x192 (at twice the time), and from 0.975
    to 0.984 for YOLOX-Nano of 416x416 (at two thirds of it); inputs larger than the frame lose.

    Args:
        frame: (height, width).
        own: (height, width) that the model was exported for.
    """
    longest = min(max(max(frame), max(own) / 2), max(own) * 2)
    scale = longest / max(frame)
    height, width = (max(1, math.ceil(side * scale / STRIDES[-1])) * STRIDES[-1] for side in frame)
    return height, width


def cell_grid(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Top left corners (A, 2) of YOLOX's cells, as column and row, and their strides (A, 1).

    Finest stride first, row after row, for a network input of `size` (height, width) pixels.
    """
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((size[0] // stride, size[1] // stride))
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners), np.concatenate(strides)


def is_decoded(output: np.ndarray, size: Size) -> bool:
    """Whether centers are pixels: then each lies near its cell, otherwise all lie near 0."""
    corners, strides = cell_grid(size)
    center = output[0, :, :2]
    return bool(np.abs(center - corners * strides).mean() < np.abs(center).mean())


def decode_yolox(output: np.ndarray, size: Size, decoded: bool, person: int = 0) -> Found:
    """Boxes (A, 4) x1, y1, x2, y2 in pixels of the network's input, and their scores (A,).

    Args:
        output: (1, A, 5 + classes): center, width and height, objectness, class probabilities.
            Where they are not decoded, the center is an offset in cells from its cell's corner,
            and width and height are natural logarithms of cells.
        size: (height, width) of the network's input.
        decoded: whether center, width and height are in pixels.
        person: number of the class.
    """
    values = output[0].astype(np.float64)
    center, extent = values[:, :2], values[:, 2:4]
    if not decoded:
        corners, strides = cell_grid(size)
        center, extent = (center + corners) * strides, np.exp(np.minimum(extent, 20)) * strides
    boxes = np.concatenate([center - extent / 2, center + extent / 2], axis=1)
    return boxes, values[:, 4] * values[:, 5 + person]


def _matches(probe: Probe) -> bool:
    shape = probe.first.shape
    return len(shape) == 3 and shape[1] == count_cells(probe.size, STRIDES) and shape[2] > 5


def _matches_raw(probe: Probe) -> bool:
    return _matches(probe) and not is_decoded(probe.first, probe.size)


def _count_classes(probe: Probe) -> int:
    return probe.first.shape[2] - 5


def _decode_raw(outputs: Outputs, size: Size, person: int) -> Found:
    return decode_yolox(next(iter(outputs.values())), size, False, person)


def _decode_pixels(outputs: Outputs, size: Size, person: int) -> Found:
    return decode_yolox(next(iter(outputs.values())), size, True, person)


_INPUT = InputFormat(fit="corner", bgr=True, scale=1)

YOLOX_GRID = Family(
    name="YOLOX", layout="1 x cells x (5 + classes), not decoded", input=_INPUT,
    matches=_matches_raw, count_classes=_count_classes, decode=_decode_raw, fit_size=input_size,
    may_take_any_size=True,
)  # fmt: skip
YOLOX_PIXELS = Family(
    name="YOLOX with decoding", layout="1 x cells x (5 + classes)", input=_INPUT,
    matches=_matches, count_classes=_count_classes, decode=_decode_pixels,
)  # fmt: skip
