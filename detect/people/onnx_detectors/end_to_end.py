"""YOLOv10, YOLO26, and any ultralytics model exported with NMS: rows of boxes that are final.

A row is x1, y1, x2, y2 in pixels of the input, score, class; behind it there may be key points or
coefficients of masks.
"""

from __future__ import annotations

import numpy as np

from .family import Family, Found, Outputs, Probe, fit_rectangle
from .images import InputFormat, Size

_COLUMNS = 6


def are_final_rows(values: np.ndarray) -> bool:
    """Whether an output (1, N, 6 or more) has a score and a class number behind four columns."""
    if values.ndim != 3 or values.shape[2] < _COLUMNS:
        return False
    score, label = values[0, :, 4], values[0, :, 5]
    return bool(((score >= 0) & (score <= 1) & (label == np.floor(label)) & (label >= 0)).all())


def _matches(probe: Probe) -> bool:
    if not are_final_rows(probe.first):
        return False
    return probe.first.shape[2] == _COLUMNS or probe.task in ("pose", "segment")


def _decode(outputs: Outputs, size: Size, person: int) -> Found:
    values = next(iter(outputs.values()))[0].astype(np.float64)
    people = values[values[:, 5] == person]
    return people[:, :4], people[:, 4]


END_TO_END = Family(
    name="YOLO with NMS or end to end (v10, YOLO26)",
    layout="1 x boxes x 6 (x1, y1, x2, y2, score, class)", input=InputFormat(fit="center"),
    matches=_matches, count_classes=lambda probe: None, decode=_decode, fit_size=fit_rectangle,
)  # fmt: skip
