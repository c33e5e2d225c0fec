"""The families of detectors, and which of them a model is of."""

from __future__ import annotations

from collections.abc import Sequence

from ....datasets.errors import InputError
from .detr import RF_DETR, RT_DETR, RT_DETR_ROWS, RT_DETR_TRANSFORMERS, RT_DETR_ULTRALYTICS
from .end_to_end import END_TO_END
from .family import Family, Probe
from .yolov5 import YOLOV5
from .yolov8 import YOLOV8
from .yolox import YOLOX_GRID, YOLOX_PIXELS

FAMILIES: tuple[Family, ...] = (
    RF_DETR,
    RT_DETR,
    RT_DETR_TRANSFORMERS,
    YOLOV8,
    YOLOV5,
    YOLOX_GRID,
    YOLOX_PIXELS,
    RT_DETR_ROWS,
    END_TO_END,
    RT_DETR_ULTRALYTICS,
)
"""Named outputs before grids, and these before the rest: the first that matches is it."""


def find_family(probe: Probe) -> Family:
    """The family of a model.

    Raises:
        InputError: without the file's name: of none.
    """
    for family in FAMILIES:
        if family.matches(probe):
            return family
    outputs = ", ".join(f"{n} {format_shape(each.shape)}" for n, each in probe.outputs.items())
    known = "; ".join(f"{family.name}: {family.layout}" for family in FAMILIES)
    raise InputError(
        f"its outputs are not those of a detector that is known here ({outputs}); known are "
        f"{known}. Another one can be a Python function: actiontubes.load(..., proposals=FUNCTION)"
    )


def format_shape(sides: Sequence[int | None]) -> str:
    """As 1x3x?x640; a free side is a question mark."""
    return "x".join("?" if side is None else str(side) for side in sides)
