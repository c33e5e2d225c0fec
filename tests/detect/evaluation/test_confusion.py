"""The confusion matrix, by hand."""

from __future__ import annotations

import numpy as np
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.evaluation.confusion import confusion_matrix

NAMES = {"video_names": ("a", "b"), "label_names": ("run", "jump")}


def test_boxes_are_counted_by_true_and_detected_class() -> None:
    truth = Tubes(
        video=np.array([0, 0, 0, 1], np.int32), frame=np.array([0, 1, 2, 0], np.int32),
        label=np.array([0, 0, 1, 1], np.int32), tube=np.arange(4, dtype=np.int32),
        boxes=np.array([[0, 0, 10, 10.0]] * 4), **NAMES,
    )  # fmt: skip
    rows = [  # video, frame, label, score, x1
        (0, 0, 1, 0.9, 0), (0, 0, 0, 0.3, 1),  # right, though another class has a higher score
        (0, 1, 1, 0.5, 0), (0, 1, 0, 0.2, 0),  # taken for the other: the right one is too low
        (0, 2, 1, 0.9, 6),  # beside the person: missed, and a detection of nobody
        (1, 3, 0, 0.4, 0),  # in a frame without ground truth
    ]  # fmt: skip
    video, frame, label, score, x1 = (np.array(column) for column in zip(*rows))
    boxes = np.column_stack([x1, 0 * x1, x1 + 10, 0 * x1 + 10]).astype(float)
    detections = Detections(
        video=video.astype(np.int32), frame=frame.astype(np.int32), label=label.astype(np.int32),
        score=score, boxes=boxes, **NAMES,
    )  # fmt: skip
    assert confusion_matrix(truth, detections).tolist() == [[1, 1, 0], [0, 0, 2], [1, 1, 0]]
    assert confusion_matrix(truth, detections, min_score=0.95).tolist() == [
        [0, 0, 2], [0, 0, 2], [0, 0, 0]
    ]  # fmt: skip
