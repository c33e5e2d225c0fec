"""Person detectors of the YOLOX family as ONNX files, run by OpenCV's dnn module on the CPU.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; letterbox and grid as in
github.com/Megvii-BaseDetection/YOLOX (data/data_augment.py `preproc`, utils/demo_utils.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..datasets.files import InputError
from .onnx_shapes import input_shape
from .person_boxes import tidy_boxes

STRIDES = (8, 16, 32)
PADDING = 114  # the grey of the training pictures' borders
COCO_CLASSES = 80  # person is the first of them


def yolox_proposals(
    path: Path, *, threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by a YOLOX model whose head has one class (person) or COCO's 80.

    The model's output may be the raw grid or boxes that it has decoded itself; which of the two is
    told from where the boxes of the first pictures lie.

    Raises:
        InputError: the file is damaged, or holds another kind of model.
    """
    import cv2

    height, width = _network_size(path)
    try:
        with _quiet_stderr():
            network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise InputError(
            f"{path}: OpenCV cannot load this ONNX model ({_reason(error)})"
        ) from error

    def detect(frame: np.ndarray) -> np.ndarray:
        picture, scale = letterbox(frame, (height, width))
        network.setInput(np.ascontiguousarray(picture[None, :, :, ::-1].transpose(0, 3, 1, 2)))
        boxes, scores = people(_forward(network, path), (height, width), path)
        return tidy_boxes(boxes / np.tile(scale, 2), scores, frame.shape[:2], threshold=threshold)

    detect(np.full((height, width, 3), PADDING, np.uint8))  # a foreign model is refused here
    return lambda frames, first: [detect(frame) for frame in frames]


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


def people(output: np.ndarray, size: tuple[int, int], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4) x1, y1, x2, y2 in pixels of the network's input, and their scores (A,).

    Args:
        output: (1, A, 5 + classes): centre, width and height, objectness, class probabilities.
        size: (height, width) of the network's input.
        path: the model's file, for the message.

    Raises:
        InputError: the shape or the values are not those of a YOLOX head for people.
    """
    corners, strides = grid(size)
    if output.ndim != 3 or output.shape[:2] != (1, len(corners)) or output.shape[2] not in (
        5 + 1, 5 + COCO_CLASSES,
    ):  # fmt: skip
        raise InputError(
            f"{path}: gives {'x'.join(map(str, output.shape))}, not the 1x{len(corners)}x6 or "
            f"1x{len(corners)}x85 of a YOLOX person or COCO detector"
        )
    output = output[0].astype(np.float64)
    probabilities = output[:, 4:6]
    if not (probabilities >= 0).all() or not (probabilities <= 1).all():
        raise InputError(f"{path}: its scores are not probabilities; export it with its sigmoids")
    centre, extent = output[:, :2], output[:, 2:4]
    if not already_decoded(centre, corners, strides):
        centre, extent = (centre + corners) * strides, np.exp(np.minimum(extent, 20)) * strides
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return boxes, probabilities.prod(axis=1)


def already_decoded(centre: np.ndarray, corners: np.ndarray, strides: np.ndarray) -> bool:
    """Whether centres are pixels already: then each lies near its cell, else all lie near 0."""
    return bool(np.abs(centre - corners * strides).mean() < np.abs(centre).mean())


def _network_size(path: Path) -> tuple[int, int]:
    shape = input_shape(path)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise InputError(f"{path}: takes {shape}, not the 1x3xHxW pictures of a YOLOX detector")
    height, width = (side or 640 for side in shape[2:])  # a free size: YOLOX's own test size
    if height % STRIDES[-1] or width % STRIDES[-1]:
        raise InputError(f"{path}: takes {height}x{width} pictures, not multiples of 32")
    return height, width


def _forward(network, path: Path) -> np.ndarray:  # type: ignore[no-untyped-def]
    import cv2

    try:
        return network.forward()
    except cv2.error as error:
        raise InputError(f"{path}: OpenCV cannot run this ONNX model ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "err", "") or error).split())[:200]


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keeps what native code prints to stderr from the user; its exceptions say the same."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
