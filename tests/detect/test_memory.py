"""Memory of a long video: not more than of a short one. An hour's worth only where it is asked for.

ACTIONTUBES_LONG=1 python -m pytest tests/detect/test_memory.py -k hour -s
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

import av
import numpy as np
import pytest
import torch
from actiontubes.datasets import table_files
from actiontubes.datasets.table_files import open_table
from actiontubes.datasets.tables import Detections
from actiontubes.detect import video_results
from actiontubes.detect.detector import build_detector
from actiontubes.detect.detector_file import save_detector
from actiontubes.detect.detector_settings import DetectorSettings
from actiontubes.detect.linking.greedy import ACT
from actiontubes.detect.trained_tubes import Linking
from actiontubes.detect.video_results import TubeStore

PIECE, PEOPLE, LABELS, STAY = 64, 8, ("run", "sit", "jump"), 100


def busy_piece(number: int, every: int) -> Detections:
    """A crowd in which each stays for 100 frames at a place, scored for every class."""
    frames = np.arange(number * PIECE, (number + 1) * PIECE, every)
    frame, person, label = (
        grid.ravel()
        for grid in np.meshgrid(frames, np.arange(PEOPLE), np.arange(len(LABELS)), indexing="ij")
    )
    visit = (frame + 13 * person) // STAY
    left = 60.0 * person + 1000 * (visit % 2)
    boxes = np.stack([left, left * 0 + 10, left + 40, left * 0 + 90], axis=1)
    score = 0.4 + 0.15 * np.sin(visit + label)
    return Detections(
        np.zeros(len(frame), np.int32), frame.astype(np.int32), label.astype(np.int32), score,
        boxes, ("clip",), LABELS,
    )  # fmt: skip


def state_of_linking(pieces: int, folder: Path, every: int) -> tuple[int, int, int]:
    """Bytes that linking holds after so many pieces, most rows that wait for a file, tube rows."""
    rows = waiting = 0
    with open_table(folder / "detections.parquet") as table, TemporaryFile(dir=folder) as file:
        tubes = TubeStore(file)
        linking = Linking(table.write, tubes.add, ACT, 0.2, every)
        for number in range(pieces):
            linking.add(busy_piece(number, every))
            waiting = max(waiting, table._rows)
        size = len(pickle.dumps((linking._strong, linking._all)))
        linking.finish(pieces * PIECE)
        for part in tubes.best_first("clip", LABELS):
            assert len(part) <= video_results._ROWS_AT_ONCE + STAY
            rows += len(part)
    return size, waiting, rows


@pytest.mark.parametrize("every", [1, 4])
def test_rows_do_not_stay_in_memory(tmp_path: Path, monkeypatch, every: int) -> None:
    """But those of open tubes: after 40 pieces about as many bytes as after 10."""
    monkeypatch.setattr(table_files, "_GROUP", 5000)
    monkeypatch.setattr(video_results, "_ROWS_AT_ONCE", 5000)
    short, _, few = state_of_linking(10, tmp_path, every)
    long, waiting, many = state_of_linking(40, tmp_path, every)
    assert many - few > 30 * PIECE * PEOPLE * len(LABELS) * 0.9
    assert long < 1.5 * short + 50_000, (short, long)
    assert waiting < 5000


CROWD = 30  # boxes a frame that the detector below finds


@pytest.fixture(scope="module")
def crowded(tmp_path_factory) -> Path:
    """A cheap detector with its own proposals and many boxes on every frame."""
    torch.manual_seed(0)
    settings = DetectorSettings(
        ("clap", "dive", "run"), backbone="i2d", width=0.0625, endpoint="Mixed_3c", hidden=8,
        proposals="features", proposal_endpoint="Mixed_3c", proposal_count=CROWD, frames=4,
        height=48, width_pixels=64, norm="batch", anchor_sides=(8, 16),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("crowded") / "detector.safetensors"
    save_detector(build_detector(settings).eval(), path)
    return path


def moving_video(path: Path, frames: int) -> Path:
    """320x240 at 25 frames a second: a bright square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 80, (240, 320, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            picture = noise.copy()
            x, y = 3 * number % 260, 2 * number % 180
            picture[y : y + 60, x : x + 60] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


DETECT = (
    "import resource, sys\n"
    "from actiontubes.tools.main import main\n"
    "assert main(['detect', *sys.argv[1:]]) == 0\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


@pytest.mark.skipif(not os.environ.get("ACTIONTUBES_LONG"), reason="takes many minutes")
def test_an_hour_and_two_minutes(crowded: Path, tmp_path: Path) -> None:
    peaks = {}
    for minutes in (2, int(os.environ.get("ACTIONTUBES_LONG_MINUTES", "60"))):
        video = moving_video(tmp_path / f"{minutes}.mp4", minutes * 60 * 25)
        words = [video, "--checkpoint", crowded, "--threshold", 0.1, "--out", tmp_path / "out",
                 "--device", "cpu", "--tables-only"]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", DETECT, *map(str, words)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        peaks[minutes] = int(done.stdout.splitlines()[-1]) / 1024
        print(done.stdout, f"{minutes} minutes: {peaks[minutes]:.0f} MB")
    short, long = peaks.values()
    assert long - short < 100
