"""Person detectors of the YOLOX family as ONNX files, run by OpenCV's dnn module on the CPU.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; letterbox and grid as in
github.com/Megvii-BaseDetection/YOLOX (data/data_augment.py `preproc`, utils/demo_utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.box_coordinates import rescale_boxes
from ...datasets.errors import InputError
from .onnx_file import input_shape
from .person_boxes import FunctionSource, PersonBoxes, clean_boxes

STRIDES = (8, 16, 32)
PADDING = 114  # gray value of the borders of the training images
COCO_CLASSES = 80  # person is the first of them


def yolox_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """A YOLOX model whose head has one class (person) or COCO's 80.

    Models that output the raw grid run at about the size of the frames where OpenCV can do so
    (`input_size`), since small people are lost when a frame is shrunk to the size of the export.
    Models that decode their boxes run at the size they were exported for. `is_decoded` tells the
    two apart.

    Args:
        name: path of the .onnx file.
        device: ignored; OpenCV runs it on the CPU.
        threshold: the lowest score kept.

    Raises:
        InputError: the file is damaged, or contains another kind of model.
    """
    path = Path(name)
    own_size = _declared_size(path)
    with _quiet_opencv():
        network = _load(path)
        output = _forward(network, np.full((*own_size, 3), PADDING, np.float32), path)
        check_yolox_output(output, own_size, path)
        decoded = is_decoded(output, own_size)
        any_size = not decoded and _takes_other_sizes(_load(path), own_size, path)

    def detect(frame: np.ndarray) -> PersonBoxes:
        frame_size = (frame.shape[0], frame.shape[1])
        size = input_size(frame_size, own_size) if any_size else own_size
        image, scale = letterbox(frame, size)
        boxes, scores = decode_yolox(_forward(network, image, path), size, decoded)
        return clean_boxes(
            rescale_boxes(boxes, scale, (1, 1)), scores, frame_size, threshold=threshold
        )

    return FunctionSource(lambda frames, first_frame: map(detect, frames))


def input_size(frame: tuple[int, int], own: tuple[int, int]) -> tuple[int, int]:
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


def letterbox(frame: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The frame at the largest scale that fits, in the top left corner of a gray image.

    Args:
        frame: (H, W, 3) uint8.
        size: (height, width) of the result.

    Returns:
        The (height, width, 3) float32 image, 0 to 255, and the (2,) scales along x and y: a point
        of the frame times the scales is the same point in the image. The two differ a little
        because the resized frame has whole pixels.
    """
    import cv2

    ratio = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    width, height = (max(1, int(side * ratio + 1e-9)) for side in (frame.shape[1], frame.shape[0]))
    image = np.full((*size, 3), PADDING, np.float32)
    image[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return image, np.array([width / frame.shape[1], height / frame.shape[0]])


def cell_grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Top left corners (A, 2) of YOLOX's cells, as column and row, and their strides (A, 1).

    Finest stride first, row after row, for a network input of `size` (height, width) pixels.
    """
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((size[0] // stride, size[1] // stride))
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners), np.concatenate(strides)


def check_yolox_output(output: np.ndarray, size: tuple[int, int], path: Path) -> None:
    """Checks that an output is that of a YOLOX head for people, for an input of `size`.

    Raises:
        InputError: it has another shape, or its scores are not in [0, 1].
    """
    cells = len(cell_grid(size)[0])
    if output.shape not in ((1, cells, 5 + 1), (1, cells, 5 + COCO_CLASSES)):
        raise InputError(
            f"{path}: its output is {_format_shape(output.shape)}; a YOLOX person detector gives "
            f"1x{cells}x6 (one class) or 1x{cells}x85 (COCO)"
        )
    if not ((output[0, :, 4:] >= 0) & (output[0, :, 4:] <= 1)).all():
        raise InputError(
            f"{path}: its scores are not between 0 and 1; export the model with its sigmoids"
        )


def is_decoded(output: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether centers are pixels: then each lies near its cell, otherwise all lie near 0."""
    corners, strides = cell_grid(size)
    center = output[0, :, :2]
    return bool(np.abs(center - corners * strides).mean() < np.abs(center).mean())


def decode_yolox(
    output: np.ndarray, size: tuple[int, int], decoded: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4) x1, y1, x2, y2 in pixels of the network's input, and their scores (A,).

    Args:
        output: (1, A, 5 + classes): center, width and height, objectness, class probabilities.
            Where they are not decoded, the center is an offset in cells from its cell's corner,
            and width and height are natural logarithms of cells.
        size: (height, width) of the network's input.
        decoded: whether center, width and height are in pixels.
    """
    values = output[0].astype(np.float64)
    center, extent = values[:, :2], values[:, 2:4]
    if not decoded:
        corners, strides = cell_grid(size)
        center, extent = (center + corners) * strides, np.exp(np.minimum(extent, 20)) * strides
    boxes = np.concatenate([center - extent / 2, center + extent / 2], axis=1)
    return boxes, values[:, 4] * values[:, 5]


def _declared_size(path: Path) -> tuple[int, int]:
    """(height, width) that the file declares; YOLOX's test size of 640 for free dimensions."""
    shape = input_shape(path)
    height, width = (side or 640 for side in shape[2:4]) if len(shape) == 4 else (0, 0)
    if len(shape) != 4 or shape[1] not in (3, None) or height % 32 or width % 32:
        raise InputError(
            f"{path}: its input is {_format_shape(shape)}; a YOLOX detector takes 1x3xHxW, with H "
            "and W multiples of 32"
        )
    return height, width


def _load(path: Path) -> Any:
    import cv2

    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise InputError(
            f"{path}: OpenCV cannot load this ONNX model ({_reason(error)})"
        ) from error


def _forward(network: Any, image: np.ndarray, path: Path) -> np.ndarray:
    """The network's output for one (H, W, 3) RGB image of 0 to 255; YOLOX takes BGR."""
    import cv2

    network.setInput(cv2.dnn.blobFromImage(image, swapRB=True))
    try:
        return network.forward()
    except cv2.error as error:
        raise InputError(f"{path}: OpenCV cannot run this ONNX model ({_reason(error)})") from error


def _takes_other_sizes(network: Any, own: tuple[int, int], path: Path) -> bool:
    """Whether inputs of other sizes work; a network that has its size built in fails for good."""
    other = (own[0] + STRIDES[-1], own[1] + 2 * STRIDES[-1])
    try:
        output = _forward(network, np.full((*other, 3), PADDING, np.float32), path)
        check_yolox_output(output, other, path)
    except InputError:
        return False
    return True


def _format_shape(sides: tuple[int | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in sides)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "err", "") or error).split())[:200]


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Hides OpenCV's messages on stderr; its exceptions say the same."""
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
