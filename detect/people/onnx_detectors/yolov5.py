"""YOLOv5, v6 and v7: boxes in pixels with an objectness, that of v6 always 1.

As github.com/ultralytics/yolov5 (export.py), meituan/YOLOv6 (deploy/ONNX) and WongKinYiu/yolov7
(export.py --grid) export them.
"""

from __future__ import annotations

import numpy as np

from .family import Family, Found, Outputs, Probe, center_to_corners, fit_rectangle
from .images import InputFormat, Size

_BOXES_PER_CELL = 3  # of v5 and v7, which have anchors


def _matches(probe: Probe) -> bool:
    shape = probe.first.shape
    if len(shape) != 3 or shape[2] < 6:
        return False
    if probe.has_cells(shape[1], _BOXES_PER_CELL):
        return True
    return probe.has_cells(shape[1]) and bool((probe.first[..., 4] == 1).all())


def _count_classes(probe: Probe) -> int:
    columns = probe.first.shape[2] - 5
    # Models that segment, too, have 32 columns more.
    return len(probe.names) if len(probe.outputs) > 1 and probe.names else columns


def _decode(outputs: Outputs, size: Size, person: int) -> Found:
    values = next(iter(outputs.values()))[0].astype(np.float64)
    return center_to_corners(values), values[:, 4] * values[:, 5 + person]


YOLOV5 = Family(
    name="YOLOv5, v6 or v7", layout="1 x boxes x (5 + classes)", input=InputFormat(fit="center"),
    matches=_matches, count_classes=_count_classes, decode=_decode, fit_size=fit_rectangle,
    in_pixels=True,
)  # fmt: skip
