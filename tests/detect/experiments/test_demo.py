"""Which of two opposite classes scores higher on a box."""

from __future__ import annotations

import numpy as np
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.experiments.demo import PairScores, pairs_table, score_pairs

NAMES = ("push", "pull", "wave")
BOX, NEAR, FAR = (0, 0, 10, 10), (0, 0, 10, 8), (50, 50, 60, 60)


def test_right_by_hand() -> None:
    frames = np.arange(5, dtype=np.int32)
    truth = Tubes(
        np.zeros(5, np.int32), frames, np.array([0, 0, 1, 1, 2], np.int32),
        np.array([BOX] * 5, float), np.zeros(5, np.int64), ("video",), NAMES,
    )  # fmt: skip
    rows = [
        (0, 0, 0.9, BOX), (0, 1, 0.5, NEAR), (0, 2, 1.0, BOX),  # right, whatever a third class has
        (1, 0, 0.4, NEAR), (1, 1, 0.6, BOX),  # wrong
        (2, 1, 0.3, BOX), (2, 0, 0.8, FAR),  # right: the other overlaps nothing
        (3, 0, 0.7, FAR),  # nothing there
        (4, 0, 0.7, BOX),  # of a class that is in no pair
    ]  # fmt: skip
    frame, label, score, boxes = zip(*rows)
    detections = Detections(
        np.zeros(len(rows), np.int32), np.array(frame, np.int32), np.array(label, np.int32),
        np.array(score), np.array(boxes, float), ("video",), NAMES,
    )  # fmt: skip
    ap = {"push": 10.0, "pull": None, "wave": 30.0}
    scores = score_pairs(truth, detections, ap, [("push", "pull"), ("wave", "wave")])
    assert scores["push / pull"] == PairScores((10.0, None), 100 * 2 / 3)
    columns, rows = pairs_table({"s3d": scores, "i2d": scores})
    assert columns == ["pair", "s3d: AP", "right", "i2d: AP", "right"]
    assert rows[0] == ["push / pull", "10.0 / -", "66.7", "10.0 / -", "66.7"]
