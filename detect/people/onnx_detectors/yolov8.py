"""YOLOv8 to v12 and the others of that head: a column for each cell, boxes in pixels.

As ultralytics exports them (engine/exporter.py), with class names in the metadata; columns of
key points or masks below the classes are ignored.
"""

from __future__ import annotations

import numpy as np

from .family import Family, Found, Outputs, Probe, center_to_corners, fit_rectangle
from .images import InputFormat, Size

_WITH_MORE_ROWS = ("pose", "segment")  # tasks whose boxes are those of detection


def _matches(probe: Probe) -> bool:
    shape = probe.first.shape
    if len(shape) != 3 or not probe.has_cells(shape[2]) or probe.task == "obb":
        return False
    if probe.has_cells(shape[1]):  # of YOLOX, for a tiny input
        return False
    rows = shape[1] - 4
    if probe.names and (len(probe.outputs) > 1 or probe.task in _WITH_MORE_ROWS):
        return rows >= len(probe.names)
    return rows > 0 and rows == (len(probe.names) or rows) and len(probe.outputs) == 1


def _count_classes(probe: Probe) -> int:
    return len(probe.names) or probe.first.shape[1] - 4


def _decode(outputs: Outputs, size: Size, person: int) -> Found:
    values = next(iter(outputs.values()))[0].astype(np.float64)
    return center_to_corners(values[:4].T), values[4 + person]


YOLOV8 = Family(
    name="YOLOv8 to v12", layout="1 x (4 + classes) x cells", input=InputFormat(fit="center"),
    matches=_matches, count_classes=_count_classes, decode=_decode, fit_size=fit_rectangle,
    in_pixels=True,
)  # fmt: skip
