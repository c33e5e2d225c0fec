"""Files that version 0.1 wrote still load, and say what they said then.

files/v0.1 was made there by these commands, of which a few outputs were left out:

    train --config train.yaml --data data --out run        (state and losses: stopped
                                                            after 298 of 300 steps)
    detect data/videos --checkpoint run/detector.safetensors --out found --tables-only
    link --detections found/detections.parquet --out tubes.csv
    classify --config classify.yaml --data classes.txt --media data/videos

Both recipes have every option that their command had. The files stay as they are: where a test
here fails, the code is to read what was written once.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

FILES = Path(__file__).parent / "files" / "v0.1"
EXPECTED = json.loads((FILES / "expected.json").read_text())
CHECKPOINT = FILES / "run" / "detector.safetensors"


@pytest.fixture
def succeed(run: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., None]:
    def call(*words: object) -> None:
        done = run(*words)
        assert done.returncode == 0, done.stderr

    return call


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same_boxes(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether each of the better boxes is found, to what a processor changes."""

    def numbers(row: dict[str, Any]) -> list[float]:
        # A score of 0.01 weighs as much as half a pixel.
        return [float(row[name]) for name in ("x1", "y1", "x2", "y2")] + [50 * float(row["score"])]

    def place(row: dict[str, Any]) -> tuple[str, int, str]:
        return row["video"], int(row["frame"]), row["label"]

    boxes: dict[tuple[str, int, str], list[list[float]]] = {}
    for row in found:
        boxes.setdefault(place(row), []).append(numbers(row))
    return all(
        np.abs(np.array(boxes.get(place(row), np.empty((0, 5)))) - numbers(row))
        .max(axis=1)
        .min(initial=np.inf)
        < 0.5
        for row in expected
        if float(row["score"]) > 0.1
    )


@pytest.mark.slow
def test_a_checkpoint_detects(succeed: Callable[..., None], tmp_path: Path) -> None:
    words = ["--checkpoint", CHECKPOINT, "--device", "cpu", "--tables-only", "--out", tmp_path]
    words += ["--precision", "no", "--link", "act"]
    succeed("detect", FILES / "data" / "videos", *words)
    for name in ("detections", "tubes"):
        found, expected = (
            rows(folder / f"{name}.parquet") for folder in (tmp_path, FILES / "found")
        )
        assert len(found) == pytest.approx(len(expected), rel=0.02)
        assert same_boxes(found, expected) and same_boxes(expected, found), name
    assert rows(tmp_path / "videos.parquet") == rows(FILES / "found" / "videos.parquet")


@pytest.mark.parametrize("tubes", ["found/tubes.parquet", "tubes.csv"])
def test_tables_are_evaluated(succeed: Callable[..., None], tmp_path: Path, tubes: str) -> None:
    words = ["--ground-truth", FILES / "data" / "groundtruth.parquet", "--tubes", FILES / tubes]
    words += ["--detections", FILES / "found" / "detections.parquet"]
    succeed("evaluate", *words, "--json", tmp_path / "results.json")
    results = json.loads((tmp_path / "results.json").read_text())
    for name in ("frame_map", "frame_errors"):
        assert results[name] == pytest.approx(EXPECTED[name], abs=1e-6)
    expected = EXPECTED[f"video_map of {tubes}"]
    assert {name: results["video_map"][name] for name in expected} == pytest.approx(expected)


def test_detections_are_linked(succeed: Callable[..., None], tmp_path: Path) -> None:
    out = tmp_path / "tubes.csv"
    succeed("link", "--detections", FILES / "found" / "detections.parquet", "--out", out)
    assert rows(out) == rows(FILES / "tubes.csv")


@pytest.mark.slow
def test_a_run_goes_on(succeed: Callable[..., None], tmp_path: Path) -> None:
    """By the recipe with which it began, from step 298 of 300."""
    out = tmp_path / "run"
    shutil.copytree(FILES / "run", out)
    words = ["--config", FILES / "train.yaml", "--data", FILES / "data", "--out", out]
    succeed("train", *words, "--resume")
    losses = rows(out / "losses.csv")
    assert [int(row["step"]) for row in losses] == list(range(300))
    names = list(losses[0])[: len(EXPECTED["losses of the last steps"][0])]
    last = [[float(row[name]) for name in names] for row in losses[-2:]]
    np.testing.assert_allclose(last, EXPECTED["losses of the last steps"], rtol=0.01)


@pytest.mark.slow
def test_a_recipe_and_a_checkpoint_s_weights_begin_a_run(
    succeed: Callable[..., None], tmp_path: Path
) -> None:
    words = ["--config", FILES / "train.yaml", "--data", FILES / "data", "--out", tmp_path]
    succeed("train", *words, "--steps", 2, "--warm-up", 0, "--weights", CHECKPOINT)
    assert len(rows(tmp_path / "losses.csv")) == 2


def test_a_classifier_names_videos(succeed: Callable[..., None], tmp_path: Path) -> None:
    words = ["--config", FILES / "classify.yaml", "--data", FILES / "classes.txt", "--steps", 0]
    words += ["--media", FILES / "data" / "videos", "--out", tmp_path]
    succeed("classify", *words, "--weights", FILES / "classifier.safetensors")
    best = {
        row["name"]: [row["best1"], float(row["score1"])]
        for row in rows(tmp_path / "predictions.csv")
    }
    for name, (label, score) in EXPECTED["top scores of classifier"].items():
        assert best[name] == [label, pytest.approx(score, abs=0.01)]
