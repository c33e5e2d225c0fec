"""The benchmark runs, on what it says; how fast we are is for its own command to tell."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT
from actiontubes.detect.experiments.benchmark_evaluation import (
    benchmark_evaluation,
    benchmark_table,
    synthetic_detections,
)
from actiontubes.detect.experiments.plain_loop import plain_frame_ap


def test_a_small_one() -> None:
    result = benchmark_evaluation(0.05)
    assert result["detections"] == pytest.approx(14_000, rel=0.2)
    steps = {name: step["seconds"] for name, step in result["steps"].items()}
    assert result["ratio"] == pytest.approx({
        "linking": steps["plain loop: linking"] / steps["linking"],
        "frame_map": steps["plain loop: frame-mAP"] / steps["frame-mAP, one threshold"],
    })  # fmt: skip
    table = benchmark_table(result)
    assert "times as fast as the plain loop" in table and all(name in table for name in steps)


def test_the_plain_loop_agrees() -> None:
    truth, detections = synthetic_detections(0.03)
    (result,) = evaluate_tables(truth, [ACT], detections, frame_thresholds=[0.5])
    expected = [np.nan if ap is None else ap for ap in result.frame_scores[0].ap.values()]
    plain = plain_frame_ap(truth, detections, 0.5)
    assert plain == pytest.approx(expected, nan_ok=True)


def test_synthetic_detections_are_like_ucf101_24() -> None:
    truth, detections = synthetic_detections(1)
    assert len(truth.video_names) == 910
    assert len(detections) == pytest.approx(275_000, rel=0.1)
    assert len(truth) == pytest.approx(170_580, rel=0.1)
    assert (detections.boxes[:, 2:] >= detections.boxes[:, :2]).all()
