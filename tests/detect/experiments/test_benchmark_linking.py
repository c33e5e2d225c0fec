"""The comparison of linkers: switches counted by hand, and its tables."""

from __future__ import annotations

import numpy as np
from actiontubes.datasets.tables import Detections, tubes_from_rows
from actiontubes.detect.experiments.benchmark_linking import (
    compare_linkers,
    count_switches,
    halve_and_double,
    linkers_table,
    spread_table,
)
from actiontubes.detect.linking.interface import Calibration


def rows(frames: range, left: float) -> np.ndarray:
    frame = np.array(frames, np.float64)
    box = np.tile([left, 0, left + 40, 80], (len(frame), 1))
    return np.column_stack([frame, box])


def test_switches_by_hand() -> None:
    truth = tubes_from_rows(
        [(0, 0, rows(range(20), 0), None), (0, 0, rows(range(20), 200), None)], ("a",), ("run",)
    )
    tubes = tubes_from_rows(
        [
            (0, 0, rows(range(8), 0), 0.9),
            (0, 0, rows(range(10, 20), 5), 0.8),  # another one after a gap
            (0, 0, rows(range(20), 205), 0.7),
            (0, 0, rows(range(5, 9), 200), 0.6),  # of a lower score
            (0, 0, rows(range(12, 15), 200), 0.95),  # there and back
        ],
        ("a",),
        ("run",),
    )
    assert count_switches(truth, tubes) == 1 + 2


def test_tables() -> None:
    truth = tubes_from_rows([(0, 0, rows(range(30), 0), None)], ("a",), ("run",))
    zeros = np.zeros(30, np.int32)
    detections = Detections(
        zeros, truth.frame, zeros, np.full(30, 0.5), truth.boxes, ("a",), ("run",)
    )
    result = compare_linkers(truth, detections, Calibration(score_shift=1.0), repeats=1)
    assert [row["video_map"]["0.5"] for row in result] == [100.0] * 8
    assert linkers_table(result).count("| 100.0 | 100.0 | 100.0 | 100.0 | 0 | 1 |") == 8
    spread = halve_and_double(truth, detections)
    assert {row["number"]: row["values"] for row in spread}["merge_iou"] == [0.25, 0.5, 1.0]
    assert spread_table(spread).count("\n") == len(spread) + 1
