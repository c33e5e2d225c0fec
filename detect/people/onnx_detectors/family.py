"""What a family of detectors is: its input, how its outputs are told apart, and their decoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .images import InputFormat, Size

Outputs = Mapping[str, np.ndarray]
"""A network's outputs by name, in its order."""
Found = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 4) x1 y1 x2 y2 in pixels of the input, and the scores (N,) of their being a person."""
COARSEST = 32  # pixels of the input in a cell of the usual coarsest grid


@dataclass(frozen=True)
class Probe:
    """A model's outputs for a gray image, and what else tells its family.

    Attributes:
        size: (height, width) of the input.
        outputs: by name.
        names: of the classes by number, as the model's metadata give them; may be empty.
        task: in the metadata of ultralytics' models: detect, pose, segment; empty where it is not
            said.
    """

    size: Size
    outputs: Outputs
    names: Mapping[int, str]
    task: str = ""

    @property
    def first(self) -> np.ndarray:
        """The first output."""
        return next(iter(self.outputs.values()))

    def has_cells(self, count: int, boxes_per_cell: int = 1) -> bool:
        """Whether so many boxes are those of a YOLO network's grids for this input."""
        return any(
            count == boxes_per_cell * count_cells(self.size, strides) for strides in STRIDE_SETS
        )


@dataclass(frozen=True, kw_only=True)
class Family:
    """Detectors with one kind of input and outputs.

    Attributes:
        name: for messages.
        layout: of the outputs, in words, for messages.
        input: how the input is made.
        matches: whether a model is of this family.
        count_classes: how many classes its scores are for; None where boxes carry a class number.
        decode: boxes and person scores; the arguments are the outputs, (height, width) of the
            input, and the number of the class person.
        fit_size: (height, width) to run a network of free size at; the arguments are those of the
            frame and of the export. None always takes the latter.
        in_pixels: whether boxes are in pixels of the input as they come, so that fractions would be
            a mistake.
        may_take_any_size: whether a network that declares its size is tried at another one.
    """

    name: str
    layout: str
    input: InputFormat
    matches: Callable[[Probe], bool]
    count_classes: Callable[[Probe], int | None]
    decode: Callable[[Outputs, Size, int], Found]
    fit_size: Callable[[Size, Size], Size] | None = None
    in_pixels: bool = False
    may_take_any_size: bool = False


STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Of YOLO networks: the usual ones, P6, P2 and tiny."""


def count_cells(size: Size, strides: tuple[int, ...]) -> int:
    """Cells of all grids of an input of `size` (height, width)."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def center_to_corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) of center, width and height as x1 y1 x2 y2."""
    center, half = boxes[:, :2], boxes[:, 2:4] / 2
    return np.concatenate([center - half, center + half], axis=1)


def fit_rectangle(frame: Size, own: Size) -> Size:
    """The smallest input that holds the frame at the scale of the export, in whole cells."""
    scale = max(own) / max(frame)
    height, width = (max(1, math.ceil(side * scale / COARSEST - 1e-9)) * COARSEST for side in frame)
    return height, width
