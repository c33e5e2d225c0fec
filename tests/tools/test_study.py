"""`actiontubes study`: from data to the page, gone on with, and every bad input in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from actiontubes.datasets.figures import dataset as drawing
from actiontubes.datasets.flow.cache import cache_path

TINY = (
    "backbones: [i2d, s3d]\nseeds: [0]\nwidth: 0.0625\nsize: [40, 32]\nbatch: 2\nsteps: 2\n"
    "warm_up: 0\nflow_method: dis\ndevice: cpu\nprecision: 'no'\n"
)


@pytest.fixture
def study(command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the smallest study in a folder of its own, into the folder "out"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)

    def run(*words: object) -> Any:
        return command("study", "--config", "tiny.yaml", "--out", "out", *words)

    return run


def rows(out: Path) -> list[tuple[str, str, str]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return [(row["backbone"], row["streams"], row["seeds"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_study_and_what_is_added_to_it(study: Callable, figures: Path, tmp_path: Path) -> None:
    done = study("--data", figures)
    assert (done.code, done.err) == (0, [])
    out = tmp_path / "out"
    assert rows(out) == [("i2d", "rgb", "1"), ("s3d", "rgb", "1")]
    assert done.out.startswith("| network | seeds |") and done.out.endswith("out/index.html\n")
    assert "S3D above I2D, pairs" in done.out
    record = json.loads((out / "runs/i2d.rgb.0.json").read_text())
    assert record["normal"] == record["reversed"] and record["normal"]["pairs"] is not None
    assert "clips of 9 frames of 40x32 pixels" in (out / "index.html").read_text("utf-8")
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}

    more = study("--data", figures, "--seeds", 0, 1, "--backbones", "i2d")
    assert more.code == 0 and rows(out) == [("i2d", "rgb", "2"), ("s3d", "rgb", "1")]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path.is_file())

    other = study("--data", figures, "--steps", 3)
    assert other.code == 2
    assert other.err == [
        "actiontubes study: out/study.json: this study was started with steps 2, now it is 3; use "
        "the same options, or choose another --out"
    ]


@pytest.mark.slow
def test_it_draws_its_own_data(
    study: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}

    def make_small(folder: Path, **options: Any) -> None:
        made.update(options)
        small = {"train": 1, "test": 1, "frames": 52, "height": 96, "width": 128}
        original(folder, **small, progress=False)

    original = drawing.make_figure_dataset
    monkeypatch.setattr(drawing, "make_figure_dataset", make_small)
    done = study("--videos", 12, "--backbones", "i2d", "--streams", "both")
    assert (done.code, done.err) == (0, [])
    assert (made["train"], made["test"]) == (12, 4)
    assert rows(tmp_path / "out") == [("i2d", stream, "1") for stream in ("rgb", "flow", "both")]
    videos = list((tmp_path / "out/data/videos").glob("*.mp4"))
    assert len(videos) == 2 and all(cache_path(video, "dis").is_file() for video in videos)
    page = (tmp_path / "out/index.html").read_text("utf-8")
    assert "RGB, optical flow, and both" in page and "The drawn figures" in page
    monkeypatch.setattr(drawing, "make_figure_dataset", None)
    assert study("--videos", 12, "--backbones", "i2d").code == 0
    assert "started with data {'videos': 12}" in study("--videos", 13, "--backbones", "i2d").err[0]


def test_labelled_videos(study: Callable, numbered: Any, tmp_path: Path) -> None:
    for part, names in (("train", "ab"), ("test", "c")):
        for label in ("open door", "close door"):
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for name in names:
                numbered.write(folder / f"{label}_{name}.avi", 10, codec="mpeg4", b_frames=0)
    words = ["--data", "data", "--clips", "videos", "--size", 32, "--frames", 9]
    done = study(*words, "--pairs", "open door/close door")
    assert (done.code, done.err) == (0, [])
    record = json.loads((tmp_path / "out/runs/s3d.rgb.0.json").read_text())
    assert record["clips"] == 2 and record["normal"]["pairs"] in (0.0, 50.0, 100.0)
    assert "data: clips of 9 frames of 32 pixels" in (tmp_path / "out/index.html").read_text(
        "utf-8"
    )
    wrong = study(*words, "--pairs", "open door/shut door", "--out", "other")
    assert (
        wrong.code == 2
        and "--pairs open door/shut door: must be two different classes" in wrong.err[0]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clips", "videos"], "--clips videos: needs --data"),
        (["--backbones", "i5d"], "--backbone i5d: unknown network; choose from i2d, i3d"),
        (
            ["--backbones", "fast-s3d"],
            "fast-s3d: with --endpoint Mixed_3c it is the same network as i2d; leave it out",
        ),
        (["--size", "40"], "--size: needs 2 numbers, not 1"),
        (["--steps", "0"], "--steps 0: must be 1 or more"),
        (["--frames", "-1"], "--frames -1: must be 1 or more"),
        (["--data", "nowhere"], "nowhere"),
        (["--streams", "audio"], '"streams" element 1: Expected'),
    ],
)
def test_every_bad_input_in_one_line(
    study: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    done = study(*words)
    assert done.code == 2 and len(done.err) == 1 and message in done.err[0]
    assert not (tmp_path / "out/study.json").exists()
