"""Precision, recall and F1 by score: by hand, and against leaving out rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT, MULTISPORTS, PROTOCOLS, Protocol
from actiontubes.detect.evaluation.score_thresholds import (
    OperatingPoint,
    precision_recall_json,
    precision_recall_table,
    score_curve,
)

from .test_properties import detections_of, run, tubes_of
from .test_properties import truth_of as random_truth

BOX = [0.0, 0, 9, 9]


def one_frame_tubes(count: int) -> Tubes:
    """Ground truth of one class on `count` frames."""
    zero = np.zeros(count, np.int32)
    frame = np.arange(count, dtype=np.int32)
    return Tubes(zero, frame, zero, np.array([BOX] * count), frame.astype(np.int64), ("v",),
                 ("run",))  # fmt: skip


def test_by_hand() -> None:
    """Of 4 truths: hits at 0.9, 0.8, 0.8 and 0.3, false boxes at 0.8, 0.5 and 0.4."""
    score = np.array([0.9, 0.8, 0.8, 0.8, 0.5, 0.4, 0.3])
    frame = np.array([0, 1, 2, 9, 9, 9, 3], np.int32)
    zero = np.zeros(7, np.int32)
    boxes = Detections(zero, frame, zero, score, np.array([BOX] * 7), ("v",), ("run",))
    (result,) = evaluate_tables(one_frame_tubes(4), [ACT], boxes)
    curve = score_curve(result.matches["frame"], 0.5)
    assert curve.at(0.95) == OperatingPoint(0.95, 100, 0, 0, 0)
    assert curve.at(0.9) == OperatingPoint(0.9, 100, 25, 40, 1)
    assert curve.at(0.8) == OperatingPoint(0.8, 75, 75, 75, 4)  # at least: equal scores count
    assert curve.at(0.45) == OperatingPoint(0.45, 60, 75, pytest.approx(200 / 3), 5)
    assert curve.at(0.0).detections == 7 and curve.at(0.0).recall == 100
    assert curve.best() == curve.at(0.8)
    found = precision_recall_json(result, 0.5)
    assert (
        found["frame"]["best"]["threshold"]
        == 0.8
        == found["frame"]["best_by_class"]["run"]["threshold"]
    )
    assert "best F1 0.8000" in precision_recall_table(result, 0.5)
    assert len(found["frame"]["by_threshold"]) == 19
    with pytest.raises(InputError, match=r"frame-mAP is not evaluated at this IoU .* --frame-iou"):
        precision_recall_json(result, 0.4)


def test_no_detections() -> None:
    truth = one_frame_tubes(2)
    nothing = Detections(*(np.zeros(0, np.int32),) * 3, np.zeros(0), np.zeros((0, 4)), ("v",),
                         ("run",))  # fmt: skip
    result = run(truth, ACT, nothing)
    curve = score_curve(result.matches["frame"], 0.5)
    assert curve.best() is None and curve.at(0.5) == OperatingPoint(0.5, 100, 0, 0, 0)
    assert "no detections" in precision_recall_table(result, 0.5)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.name)
@pytest.mark.parametrize("seed", range(4))
def test_equals_leaving_out_what_scores_less(protocol: Protocol, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random_truth(random)
    boxes, tubes = detections_of(random, truth), tubes_of(random, truth)
    tubes = replace(tubes, tube_score=(tubes.tube + 1) / 10)  # no equal scores
    whole = run(truth, protocol, boxes, tubes)
    for threshold in (0.2, 0.5, 0.7):
        kept = select_rows(boxes, boxes.score >= threshold)
        assert tubes.tube_score is not None
        kept_tubes = select_rows(tubes, tubes.tube_score >= threshold)
        some = run(truth, protocol, kept, kept_tubes)
        for part in ("frame", "video"):
            point = score_curve(whole.matches[part], 0.5).at(threshold)
            matches = some.matches[part]
            rows = [rows for _, rows, _ in matches.classes]
            hits = sum(int(matches.hits[0.5][each].sum()) for each in rows)
            assert point.detections == sum(len(matches.score[each]) for each in rows)
            assert point.recall == pytest.approx(100 * hits / sum(n for _, _, n in matches.classes))


def test_a_class_alone() -> None:
    random = np.random.default_rng(0)
    truth = random_truth(random)
    result = run(truth, MULTISPORTS, detections_of(random, truth))
    matches = result.matches["frame"]
    curves = [score_curve(matches, 0.5, name) for name, _, _ in matches.classes]
    together = score_curve(matches, 0.5).at(0.3)
    assert sum(curve.at(0.3).detections for curve in curves) == together.detections
    assert sum(curve.num_positives for curve in curves) == len(truth)
