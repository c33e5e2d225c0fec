"""Person detectors of the YOLOX family as ONNX files, run by onnxruntime on the CPU.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430; letterbox and grid as in
github.com/Megvii-BaseDetection/YOLOX (data/data_augment.py `preproc`, utils/demo_utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.box_coordinates import rescale_boxes
from ...datasets.errors import InputError
from .onnx_file import (
    input_shape,
    isolated_attempt,
    load_model,
    open_session,
    short_reason,
    with_free_shape,
)
from .person_boxes import FunctionSource, PersonBoxes, clean_boxes

STRIDES = (8, 16, 32)
PADDING = 114  # gray value of the borders of the training images
COCO_CLASSES = 80  # person is the first of them


def yolox_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """A YOLOX model whose head has one class (person) or COCO's 80.

    Models that output the raw grid run at about the size of the frames where the network allows it
    (`input_size`), since small people are lost when a frame is shrunk to the size of the export.
    Models that decode their boxes run at the size they were exported for. `is_decoded` tells the
    two apart.

    Args:
        name: path of the .onnx file.
        device: ignored; the model runs on the CPU.
        threshold: the lowest score kept.

    Raises:
        InputError: the file is damaged, or contains another kind of model.
    """
    path = Path(name)
    model = load_model(path)
    own_size = _declared_size(model, path)
    decoded, any_size = isolated_attempt(_try_model, path)
    run = _open(with_free_shape(model) if any_size else model, path)

    def detect(frame: np.ndarray) -> PersonBoxes:
        frame_size = (frame.shape[0], frame.shape[1])
        size = input_size(frame_size, own_size) if any_size else own_size
        image, scale = letterbox(frame, size)
        boxes, scores = decode_yolox(run(image), size, decoded)
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


def _declared_size(model: Any, path: Path) -> tuple[int, int]:
    """(height, width) that the file declares; YOLOX's test size of 640 for free dimensions."""
    shape = input_shape(model, path)
    height, width = (side or 640 for side in shape[2:4]) if len(shape) == 4 else (0, 0)
    if len(shape) != 4 or shape[1] not in (3, None) or height % 32 or width % 32:
        raise InputError(
            f"{path}: its input is {_format_shape(shape)}; a YOLOX detector takes 1x3xHxW, with H "
            "and W multiples of 32"
        )
    return height, width


def _open(model: Any, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function of one (H, W, 3) float32 RGB image of 0 to 255; YOLOX takes BGR."""
    session = open_session(model.SerializeToString(), path)
    name = session.get_inputs()[0].name

    def run(image: np.ndarray) -> np.ndarray:
        blob = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)[None])
        try:
            return np.asarray(session.run(None, {name: blob})[0])
        except Exception as error:  # as in `open_session`
            raise InputError(
                f"{path}: onnxruntime cannot run it ({short_reason(error)}); export it again"
            ) from error

    return run


def _try_model(path: Path) -> tuple[bool, bool]:
    """Whether the network decodes its boxes, and whether it takes images of any size.

    Raises:
        InputError: the file contains another kind of model.
    """
    model = load_model(path)
    own_size = _declared_size(model, path)
    output = _open(model, path)(np.full((*own_size, 3), PADDING, np.float32))
    check_yolox_output(output, own_size, path)
    if is_decoded(output, own_size):
        return True, False
    other = (own_size[0] + STRIDES[-1], own_size[1] + 2 * STRIDES[-1])
    try:  # a network that has its size built in fails
        run = _open(with_free_shape(model), path)
        check_yolox_output(run(np.full((*other, 3), PADDING, np.float32)), other, path)
    except InputError:
        return False, False
    return False, True


def _format_shape(sides: tuple[int | None, ...]) -> str:
    return "x".join("?" if side is None else str(side) for side in sides)
