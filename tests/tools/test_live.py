"""`actiontubes live` on files."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import save_pretrained
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.datasets.video.reader import read_video
from actiontubes.tools.live import live


def test_a_file(command: Callable, figures: Path, trained: Path, tmp_path: Path) -> None:
    """What `detect` finds on every frame is what live tubes are made of."""
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    out = tmp_path / "out"
    words = ["--checkpoint", checkpoint, "--out", out, "--threshold", 0.01, "--precision", "no"]
    done = command("live", video, *words, "--speed", "max", "--look-ahead", 8)
    assert done.code == 0
    assert re.match(r"52 frames, 0 dropped, \d+ tubes, latency .*: .*out\n", done.out)
    assert sorted(path.name for path in out.iterdir()) == ["live-0001.mp4", "tubes.csv"]
    assert sum(1 for _ in read_video(out / "live-0001.mp4")) == 52
    tubes = read_table(Tubes, out / "tubes.csv")
    assert len(np.unique(tubes.tube)) == int(done.out.split(" dropped, ")[1].split()[0]) > 0

    done = command("detect", video, "--checkpoint", checkpoint, "--out", tmp_path / "d",
                   "--tables-only", "--precision", "no")  # fmt: skip
    assert done.code == 0
    found = read_table(Detections, tmp_path / "d" / "detections.parquet")
    boxes = {
        (frame, found.label_names[label], *box)
        for frame, label, box in zip(found.frame, found.label, found.boxes.round(1).tolist())
    }
    same = [
        (frame, tubes.label_names[label], *box) in boxes
        for frame, label, box in zip(tubes.frame, tubes.label, tubes.boxes.round(1).tolist())
    ]
    # Not those between two found ones.
    assert np.mean(same) > 0.5


def test_the_run_ends_after_so_many_frames(
    command: Callable, figures: Path, trained: Path, tmp_path: Path
) -> None:
    video, checkpoint = figures / "videos" / "test_000.mp4", trained / "detector.safetensors"
    words = ["--checkpoint", checkpoint, "--out", tmp_path, "--speed", "max", "--precision", "no"]
    done = command("live", video, *words, "--loop", "--frames", 70, "--proposals", "frame")
    assert done.code == 0 and done.out.startswith("70 frames, 0 dropped")
    assert sum(1 for _ in read_video(tmp_path / "live-0001.mp4")) == 70


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier of three classes."""
    torch.manual_seed(0)
    trunk = Trunk(get_variant("i3d"), width_multiplier=0.125).eval()
    head = Classifier(trunk.out_channels, 3).eval()
    model = PretrainedModel(trunk, head, ("clap", "dive", "golf"), (0.5,) * 3, (0.5,) * 3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_pretrained(model, path)
    return path


def test_events_without_training(
    command: Callable, figures: Path, weights: Path, tmp_path: Path
) -> None:
    """Somebody who is everywhere begins and ends; with zones, those inside alone."""
    video = figures / "videos" / "test_000.mp4"
    words = ["live", video, "--weights", weights, "--proposals", "frame", "--speed", "max",
             "--threshold", 0.05]  # fmt: skip
    done = command(*words, "--events", tmp_path / "events.jsonl")
    assert done.code == 0
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    kinds = [(each["label"], each["event"]) for each in events]
    assert kinds and len(kinds) == 2 * kinds.count((kinds[0][0], "begin")) * len(
        {label for label, _ in kinds}
    )
    assert {each["person"] for each in events} == {1} and "zone" not in events[0]
    for each in events:
        assert each["source"] == "test_000" and 0 <= each["time"] <= 52 / 25 + 0.1
        assert 0.05 < each["score"] <= 1 and len(each["box"]) == 4
    # The middle of the lower edge of the whole frame: in one zone, not in the other.
    zones = ["--zone", "floor=0,0,9999,9999", "--zone", "corner=0,0,10,10"]
    done = command(*words, "--events", "-", *zones)
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert len(lines) == len(events) and {each["zone"] for each in lines} == {"floor"}


def test_in_a_thread(figures: Path, trained: Path, tmp_path: Path) -> None:
    """Where Python does not let it handle signals."""
    words = {"checkpoint": trained / "detector.safetensors", "out": tmp_path, "speed": "max"}
    with ThreadPoolExecutor(1) as pool:
        video = str(figures / "videos" / "test_000.mp4")
        pool.submit(live, [video], frames=20, **words).result()
    assert (tmp_path / "tubes.csv").is_file()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process there")
def test_ctrl_c_leaves_whole_files(figures: Path, trained: Path, tmp_path: Path) -> None:
    words = ["live", figures / "videos" / "test_000.mp4", "--loop", "--out", tmp_path, "--show",
             "--port", 0, "--checkpoint", trained / "detector.safetensors"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "actiontubes.tools.main", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        assert address.startswith("http://127.0.0.1:")
        with urlopen(f"{address}stream.mjpg", timeout=60) as pictures:
            assert pictures.readline() == b"--frame\r\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    frames = int(out.split()[0])
    assert "Traceback" not in err and re.match(r"\d+ frames, \d+ dropped, \d+ tubes, latency", out)
    read_table(Tubes, tmp_path / "tubes.csv")
    assert sum(1 for _ in read_video(tmp_path / "live-0001.mp4")) == frames > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("absent.mp4", "absent.mp4: file not found; give a camera number"),
        ("VIDEO --step 0", "--step 0: must be 1 or more"),
        ("VIDEO --frames 0", "--frames 0: must be 1 or more"),
        ("VIDEO --timeout 0", "--timeout 0.0: must be greater than 0"),
        ("0 --loop", "--loop: only works for video files"),
        ("rtsp://host/cam --speed max", "--speed max: only works for video files"),
        ("VIDEO --out full", "full/tubes.csv: already exists"),
        ("rtsp://127.0.0.1:9/cam --out out", "rtsp://127.0.0.1:9/cam: cannot be read"),
        ("99 --out out", "camera 99"),
    ],
)
def test_errors(
    command: Callable, figures: Path, trained: Path, words: str, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "tubes.csv").touch()
    line = words.replace("VIDEO", str(figures / "videos" / "test_000.mp4")).split()
    done = command("live", *line, "--checkpoint", trained / "detector.safetensors")
    assert done.code == 2 and message in done.err[-1], done.err
