"""The README's first command, but for the length of its training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from actiontubes.datasets.figures.motion import LABELS, PAIRS
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.reader import probe


@pytest.mark.slow
def test_demo_writes_its_files(command: Callable, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    few = ("demo", "--out", out, "--videos", 3, "--steps", 2)
    done = command(*few)
    assert done.code == 0, done.err
    for path in (out / "tubes.png", out / "test_000.tubes.mp4", out / "report" / "index.html"):
        assert path.is_file() and str(path) in done.out
    assert "detect VIDEO --checkpoint" in done.out
    assert json.loads((out / "results.json").read_text())["protocol"] == "act"
    pairs = json.loads((out / "pairs.json").read_text())
    assert list(pairs) == [" / ".join(pair) for pair in PAIRS]
    page = (out / "report" / "index.html").read_text()
    assert "s3d-g: AP" in page
    assert cv2.imread(str(out / "tubes.png")).shape == (4 * 288, 4 * 432, 3)
    assert probe(out / "test_000.tubes.mp4").num_frames == 64
    assert set(read_table(Tubes, out / "tubes.parquet").label_names) <= set(LABELS)

    # A second run draws and trains nothing; one with another number of videos is refused.
    state = (out / "trained" / "state.pt").stat().st_mtime_ns
    assert command(*few).code == 0
    assert (out / "trained" / "state.pt").stat().st_mtime_ns == state
    done = command("demo", "--out", out, "--videos", 4, "--steps", 2)
    assert done.code == 2
    assert done.err[-1].endswith(
        "was made with --videos 3 --seed 0; run with the same options, or choose another --out"
    )
