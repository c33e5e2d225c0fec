"""Person detectors of the YOLOX family as ONNX files, run by OpenCV's dnn module on the CPU.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; letterbox and grid as in
github.com/Megvii-BaseDetection/YOLOX (data/data_augment.py `preproc`, utils/demo_utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .cleanup import clean_boxes
from .onnx_file import input_shape

STRIDES = (8, 16, 32)
PADDING = 114  # the grey of the training pictures' borders
COCO_CLASSES = 80  # person is the first of them


def yolox_proposals(
    path: Path, *, threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by a YOLOX model whose head has one class (person) or COCO's 80.

    Models that give the raw grid run at about the frames' own size where OpenCV lets them
    (`input_size`): small people are lost when a frame is shrunk to the size of the export. Models
    that decode their boxes themselves run at the size they were exported for. Which of the two a
    file holds is told from where its boxes lie.

    Raises:
        InputError: the file is damaged, or holds another kind of model.
    """
    own_size = _declared_size(path)
    with _quiet_opencv():
        network = _load(path)
        output = _forward(network, np.full((*own_size, 3), PADDING, np.float32), path)
        require_yolox(output, own_size, path)
        decoded = is_decoded(output, own_size)
        any_size = not decoded and _takes_other_sizes(_load(path), own_size, path)

    def detect(frame: np.ndarray) -> np.ndarray:
        shape = (frame.shape[0], frame.shape[1])
        size = input_size(shape, own_size) if any_size else own_size
        picture, scale = letterbox(frame, size)
        boxes, scores = decode_yolox(_forward(network, picture, path), size, decoded)
        return clean_boxes(boxes / np.tile(scale, 2), scores, shape, threshold=threshold)

    return lambda frames, first: [detect(frame) for frame in frames]


def input_size(frame: tuple[int, int], own: tuple[int, int]) -> tuple[int, int]:
    """The size to run a network of free size at: the frame's, in whole cells of the coarsest grid.

    The long side is kept between half and twice that of the training pictures, beyond which the
    people would be of other sizes than those learnt. On UCF101-24 clips of 340x256 pixels, recall
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
    """The frame at the largest scale that fits, in the top left corner of a grey picture.

    Args:
        frame: (H, W, 3) uint8.
        size: (height, width) of the result.

    Returns:
        The (height, width, 3) float32 picture, 0 to 255, and the (2,) scales along x and y: a
        point of the frame times them is the same point in the picture. The two differ a little
        because the resized frame has whole pixels.
    """
    import cv2

    ratio = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    width, height = (max(1, int(side * ratio + 1e-9)) for side in (frame.shape[1], frame.shape[0]))
    picture = np.full((*size, 3), PADDING, np.float32)
    picture[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture, np.array([width / frame.shape[1], height / frame.shape[0]])


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Top left corners (A, 2) of YOLOX's cells, as column and row, and their strides (A, 1).

    Finest stride first, row after row, for a network input of `size` (height, width) pixels.
    """
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.indices((size[0] // stride, size[1] // stride))
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners), np.concatenate(strides)


def require_yolox(output: np.ndarray, size: tuple[int, int], path: Path) -> None:
    """Refuses an output that is not a YOLOX head's for people, given input `size`.

    Raises:
        InputError: it has another shape, or its scores are no probabilities.
    """
    cells = len(grid(size)[0])
    if output.shape not in ((1, cells, 5 + 1), (1, cells, 5 + COCO_CLASSES)):
        raise InputError(
            f"{path}: its output is {_shape(output.shape)}; a YOLOX person detector gives "
            f"1x{cells}x6 (one class) or 1x{cells}x85 (COCO)"
        )
    if not ((output[0, :, 4:] >= 0) & (output[0, :, 4:] <= 1)).all():
        raise InputError(
            f"{path}: its scores are not between 0 and 1; export the model with its sigmoids"
        )


def is_decoded(output: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether centres are pixels already: then each lies near its cell, else all lie near 0."""
    corners, strides = grid(size)
    centre = output[0, :, :2]
    return bool(np.abs(centre - corners * strides).mean() < np.abs(centre).mean())


def decode_yolox(
    output: np.ndarray, size: tuple[int, int], decoded: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4) x1, y1, x2, y2 in pixels of the network's input, and their scores (A,).

    Args:
        output: (1, A, 5 + classes): centre, width and height, objectness, class probabilities.
            Raw, they are an offset in cells from the cell's corner and logarithms of cells.
        size: (height, width) of the network's input.
        decoded: whether centre, width and height are pixels already.
    """
    values = output[0].astype(np.float64)
    centre, extent = values[:, :2], values[:, 2:4]
    if not decoded:
        corners, strides = grid(size)
        centre, extent = (centre + corners) * strides, np.exp(np.minimum(extent, 20)) * strides
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return boxes, values[:, 4] * values[:, 5]


def _declared_size(path: Path) -> tuple[int, int]:
    """(height, width) that the file declares; YOLOX's own test size where it leaves them free."""
    shape = input_shape(path)
    height, width = (side or 640 for side in shape[2:4]) if len(shape) == 4 else (0, 0)
    if len(shape) != 4 or shape[1] not in (3, None) or height % 32 or width % 32:
        raise InputError(
            f"{path}: its input is {_shape(shape)}; a YOLOX detector takes 1x3xHxW, with H "
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


def _forward(network: Any, picture: np.ndarray, path: Path) -> np.ndarray:
    """The network's output for one (H, W, 3) RGB picture of 0 to 255; YOLOX takes them as BGR."""
    import cv2

    network.setInput(cv2.dnn.blobFromImage(picture, swapRB=True))
    try:
        return network.forward()
    except cv2.error as error:
        raise InputError(f"{path}: OpenCV cannot run this ONNX model ({_reason(error)})") from error


def _takes_other_sizes(network: Any, own: tuple[int, int], path: Path) -> bool:
    """Tried, as an export may have its size built in; spoils a network that has."""
    other = (own[0] + STRIDES[-1], own[1] + 2 * STRIDES[-1])
    try:
        output = _forward(network, np.full((*other, 3), PADDING, np.float32), path)
        require_yolox(output, other, path)
    except InputError:
        return False
    return True


def _shape(sides: tuple[int | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in sides)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "err", "") or error).split())[:200]


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Without OpenCV's messages on stderr; its exceptions say the same."""
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
