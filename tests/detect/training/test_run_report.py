"""What a run says and draws of itself."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from actiontubes.detect.training.loop import time_left
from actiontubes.detect.training.run_report import class_line, report_curves
from actiontubes.detect.training.state import evaluations_since_best
from actiontubes.detect.visualization.training_plots import (
    draw_test_frames,
    plot_confusion,
    plot_precision_recall,
)


def write(path: Path, *rows: tuple) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_evaluations_since_the_best(tmp_path: Path) -> None:
    path, header = tmp_path / "evaluations.csv", ("step", "protocol", "frame-mAP@0.5", "other")
    assert evaluations_since_best(tmp_path) == 0
    write(path, header)
    assert evaluations_since_best(tmp_path) == 0
    write(path, header, (10, "act", 5.0, 1), (20, "act", 7.5, 9), (30, "act", 7.0, 99))
    assert evaluations_since_best(tmp_path) == 1
    write(path, header, (10, "act", 7.5, 1), (20, "act", 7.5, 2), (30, "act", 7.4, 3))
    assert evaluations_since_best(tmp_path) == 2, "as good is no better"


def test_the_time_that_is_left() -> None:
    assert time_left([9, 9, *[0.5] * 8], 100) == (
        "0.50 s a step: about 50 s for the other 100 steps, without evaluations"
    )
    assert "about 10 min for" in time_left([6.0] * 10, 100)
    assert "about 2.5 h for" in time_left([9.0] * 10, 1000)


def test_classes_in_one_line() -> None:
    line = class_line({"run": 12.34, "sit": None, "jump": 56.0})
    assert line == "  AP by class: jump 56.0, run 12.3"


def test_pictures_are_written(tmp_path: Path) -> None:
    write(tmp_path / "losses.csv", ("step", "lr", "class", "box", "seconds", "waited"),
          *((i, 0.01, 2 / (1 + i), 1 / (1 + i), 0.5, 0.1) for i in range(50)))  # fmt: skip
    write(tmp_path / "evaluations.csv", ("step", "protocol", "frame-mAP@0.5", "video-mAP@0.5"),
          (25, "act", 20, 10), (50, "act", 40, 30))  # fmt: skip
    report_curves(tmp_path)
    names = ("run", "jump")
    plot_confusion(np.array([[8, 1, 1], [2, 5, 0], [3, 0, 0]]), names, "t", tmp_path / "c.png")
    curve = np.linspace(1, 0.2, 9), np.linspace(0, 1, 9)
    nothing = np.empty(0), np.empty(0)
    curves = {"run": curve, "jump": nothing}
    plot_precision_recall(curves, {"run": 60.0, "jump": 0.0}, "t", tmp_path / "p.png")
    frames = [np.full((60, 80, 3), 90, np.uint8), np.full((80, 60, 3), 90, np.uint8)]
    found = [(np.array([[10, 10, 40, 50.0]]), ["run"], np.array([0.9])),
             (np.empty((0, 4)), [], np.empty(0))]  # fmt: skip
    truth = [(np.array([[12, 10, 42, 52.0]]), ["run"])] * 2
    draw_test_frames(frames, found, truth, tmp_path / "t.jpg")
    for name in ("curves.png", "c.png", "p.png"):
        image = cv2.imread(str(tmp_path / name))
        assert image is not None and image.std() > 5, name
    sheet = cv2.imread(str(tmp_path / "t.jpg"))
    assert sheet.shape == (533, 800, 3)  # two frames of 400 pixels, the higher one 533 high
