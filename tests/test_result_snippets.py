"""The snippets of docs/files.md load results into FiftyOne and supervision, if installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.tables import Tubes, make_videos

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(numbered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tubes:
    """Results of `detect` in the folder tubes, and their video in the folder videos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    numbered.write(tmp_path / "videos" / "clip.mp4", 6)
    tubes = Tubes(
        video=np.zeros(3, np.int32), frame=np.array([0, 1, 1], np.int32),
        label=np.array([0, 0, 1], np.int32), score=np.array([0.5, 0.75, 0.25]),
        boxes=np.array([[8.0, 6, 40, 30], [8, 6, 40, 36], [16, 12, 32, 24]]),
        tube=np.array([0, 0, 1]), tube_score=np.array([0.5, 0.5, 0.25]),
        person=np.array([1, 1, 2], np.int32), video_names=("clip",), label_names=("walk", "wave"),
    )  # fmt: skip
    write_table(tubes, tmp_path / "tubes" / "tubes.parquet")
    write_table(make_videos(("clip",), 6, 64, 48, 25.0), tmp_path / "tubes" / "videos.parquet")
    return tubes


def snippet(library: str) -> str:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    (block,) = (each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                if f"import {library}" in each)  # fmt: skip
    return str(block)


def test_supervision(results: Tubes) -> None:
    pytest.importorskip("supervision")
    space: dict[str, Any] = {}
    exec(snippet("supervision"), space)
    found = space["detections"]("clip", 1)
    np.testing.assert_array_equal(found.xyxy, results.boxes[1:])
    assert found.confidence.tolist() == [0.75, 0.25]
    assert (found.class_id.tolist(), found.tracker_id.tolist()) == ([0, 1], [1, 2])
    assert found["class_name"].tolist() == ["walk", "wave"]
    assert len(space["detections"]("clip", 5)) == 0


def test_fiftyone(results: Tubes, monkeypatch: pytest.MonkeyPatch) -> None:
    fiftyone = pytest.importorskip("fiftyone")
    monkeypatch.setattr(fiftyone, "launch_app", lambda dataset: dataset)
    space: dict[str, Any] = {}
    exec(snippet("fiftyone"), space)
    (sample,) = space["session"]
    assert sorted(sample.frames) == [1, 2]
    first, second = sample.frames[2].actions.detections
    assert (first.label, first.index, first.confidence) == ("walk", 1, 0.75)
    assert first.bounding_box == [8 / 64, 6 / 48, 32 / 64, 30 / 48]
    assert (second.label, second.index) == ("wave", 2)
