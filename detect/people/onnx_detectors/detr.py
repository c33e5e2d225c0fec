"""Detectors of the DETR family: a fixed number of boxes, with no grid and no NMS.

RF-DETR as github.com/roboflow/rf-detr exports it; RT-DETR and D-FINE as github.com/lyuwenyu/RT-DETR
and Peterande/D-FINE do (tools/export_onnx.py), as transformers does (logits and pred_boxes), and as
ultralytics does (one output: scores of all classes, or of late rows of boxes with their class).
"""

from __future__ import annotations

import numpy as np

from .end_to_end import are_final_rows
from .family import Family, Found, Outputs, Probe, center_to_corners
from .images import IMAGENET_MEAN, IMAGENET_STD, InputFormat, Size

_WITH_BACKGROUND = (91, 92)  # classes of the first DETRs, which were normalized in another way


def _are_queries(probe: Probe, boxes: str, scores: str) -> bool:
    """Whether two outputs are (1, Q, 4) boxes and (1, Q, classes) scores."""
    if boxes not in probe.outputs or scores not in probe.outputs:
        return False
    shape, other = probe.outputs[boxes].shape, probe.outputs[scores].shape
    return len(shape) == len(other) == 3 and shape[2] == 4 and shape[:2] == other[:2]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(logits)


def _decode_pair(outputs: Outputs, size: Size, person: int, boxes: str, logits: str) -> Found:
    """Of boxes as fractions, by center, and logits."""
    corners = center_to_corners(outputs[boxes][0].astype(np.float64))
    scores = _sigmoid(outputs[logits][0, :, person].astype(np.float64))
    return corners * np.tile(size[::-1], 2), scores


def _decode_final(outputs: Outputs, size: Size, person: int) -> Found:
    """Of boxes whose class is known, in pixels of the size that the network is told."""
    people = outputs["labels"][0] == person
    return outputs["boxes"][0][people].astype(np.float64), outputs["scores"][0][people]


def _matches_final(probe: Probe) -> bool:
    names = ("labels", "boxes", "scores")
    if not all(name in probe.outputs for name in names):
        return False
    labels, boxes, scores = (probe.outputs[name] for name in names)
    return labels.ndim == 2 and scores.shape == labels.shape and boxes.shape == (*labels.shape, 4)


def _matches_joined(probe: Probe) -> bool:
    values = probe.first
    if len(probe.outputs) != 1 or values.ndim != 3 or values.shape[2] < 5:
        return False
    classes = values.shape[2] - 4
    is_fraction = ((values >= 0) & (values <= 1)).all() and values.any()
    return bool(is_fraction) and classes == (len(probe.names) or classes)


def _matches_rows(probe: Probe) -> bool:
    if not are_final_rows(probe.first) or probe.first.shape[2] != 6:
        return False
    boxes = probe.first[..., :4]
    return bool(((boxes >= 0) & (boxes <= 1)).all() and boxes.any())


def _decode_rows(outputs: Outputs, size: Size, person: int) -> Found:
    values = next(iter(outputs.values()))[0].astype(np.float64)
    people = values[values[:, 5] == person]
    return center_to_corners(people) * np.tile(size[::-1], 2), people[:, 4]


def _decode_joined(outputs: Outputs, size: Size, person: int) -> Found:
    values = next(iter(outputs.values()))[0].astype(np.float64)
    return center_to_corners(values) * np.tile(size[::-1], 2), values[:, 4 + person]


RF_DETR = Family(
    name="RF-DETR", layout="dets 1 x boxes x 4 and labels 1 x boxes x classes",
    input=InputFormat(fit="smooth", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    matches=lambda probe: _are_queries(probe, "dets", "labels"),
    count_classes=lambda probe: probe.outputs["labels"].shape[2],
    decode=lambda outputs, size, person: _decode_pair(outputs, size, person, "dets", "labels"),
)  # fmt: skip
RT_DETR = Family(
    name="RT-DETR or D-FINE", layout="labels and scores 1 x boxes, boxes 1 x boxes x 4",
    input=InputFormat(fit="smooth"), matches=_matches_final, count_classes=lambda probe: None,
    decode=_decode_final,
)  # fmt: skip
RT_DETR_TRANSFORMERS = Family(
    name="RT-DETR or D-FINE of transformers",
    layout="logits 1 x boxes x classes and pred_boxes 1 x boxes x 4",
    input=InputFormat(fit="smooth"),
    matches=lambda probe: (
        _are_queries(probe, "pred_boxes", "logits")
        and probe.outputs["logits"].shape[2] not in _WITH_BACKGROUND
    ),
    count_classes=lambda probe: probe.outputs["logits"].shape[2],
    decode=lambda outputs, size, person: _decode_pair(
        outputs, size, person, "pred_boxes", "logits"
    ),
)  # fmt: skip
RT_DETR_ULTRALYTICS = Family(
    name="RT-DETR of ultralytics", layout="1 x boxes x (4 + classes)",
    input=InputFormat(fit="stretch"), matches=_matches_joined,
    count_classes=lambda probe: probe.first.shape[2] - 4, decode=_decode_joined,
)  # fmt: skip
RT_DETR_ROWS = Family(
    name="RT-DETR of ultralytics", layout="1 x boxes x 6 (center, width, height, score, class)",
    input=InputFormat(fit="stretch"), matches=_matches_rows, count_classes=lambda probe: None,
    decode=_decode_rows,
)  # fmt: skip
