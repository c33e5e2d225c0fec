"""`actiontubes flow`, and `train`, `detect` and `detect --fuse` on optical flow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.flow.cache import cache_path, is_valid_cache
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections
from actiontubes.datasets.video.reader import probe, read_timed_video
from actiontubes.datasets.video.writer import open_video_writer
from actiontubes.detect.model.checkpoint import load_detector


@pytest.fixture
def videos(numbered, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in "ab":
        numbered.write(folder / f"{name}.mp4", 4)
    return folder


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_caches_and_drawings(command: Callable, videos: Path) -> None:
    done = command("flow", videos, "--method", "dis")
    assert done.code == 0 and not done.err
    assert listed(videos) == [
        "a.mp4", "a.mp4.dis.flow", "a.mp4.flow.mp4", "b.mp4", "b.mp4.dis.flow", "b.mp4.flow.mp4"
    ]  # fmt: skip
    assert "4 frames" in done.out
    assert is_valid_cache(cache_path(videos / "a.mp4", "dis"), videos / "a.mp4", "dis")
    # Drawn videos are none of a folder's; what is there stays.
    made = {path: path.stat().st_mtime_ns for path in videos.iterdir()}
    again = command("flow", videos, "--method", "dis")
    assert again.code == 0 and again.out.count("already exists, kept") == 2
    assert made == {path: path.stat().st_mtime_ns for path in videos.iterdir()}
    anew = command("flow", videos / "a.mp4", "--method", "dis", "--overwrite")
    assert anew.code == 0 and "4 frames" in anew.out


def test_drawings_keep_times_and_shape(command: Callable, tmp_path: Path) -> None:
    times, path = [0.0, 0.04, 0.5, 0.6], tmp_path / "v.mp4"
    with open_video_writer(path, 10, pixel_aspect=Fraction(8, 9)) as writer:
        for number, time in enumerate(times):
            writer.write(np.full((32, 48, 3), 40 * number, np.uint8), time)
    assert command("flow", path, "--method", "dis").code == 0
    drawn = tmp_path / "v.mp4.flow.mp4"
    assert [time for time, _ in read_timed_video(drawn)] == pytest.approx(times, abs=1e-3)
    assert probe(drawn).pixel_aspect == Fraction(8, 9)


def test_another_folder(command: Callable, videos: Path, tmp_path: Path) -> None:
    done = command("flow", videos / "a.mp4", "--out", tmp_path / "out", "--no-drawing")
    assert done.code == 0
    assert listed(tmp_path / "out") == ["a.mp4.tvl1.flow"] and listed(videos) == ["a.mp4", "b.mp4"]


def test_bad_videos_among_good_ones(command: Callable, videos: Path, tmp_path: Path) -> None:
    (videos / "bad.mp4").write_bytes(b"no video")
    done = command("flow", videos, tmp_path / "none.mp4", "--method", "dis", "--no-drawing")
    assert done.code == 2 and len(done.err) == 2
    assert "bad.mp4: cannot be opened" in done.err[0] and "none.mp4: file not found" in done.err[1]
    assert {"a.mp4.dis.flow", "b.mp4.dis.flow"} < set(listed(videos))
    (tmp_path / "empty").mkdir()
    done = command("flow", tmp_path / "empty")
    assert done.code == 2 and "contains no video file and no frames" in done.err[0]


@pytest.fixture
def train(command: Callable, recipe: Path, figures: Path, tmp_path: Path) -> Callable:
    def run(out: str, *words: object) -> Path:
        done = command(
            "train", "--config", recipe, "--data", figures, "--out", tmp_path / out,
            "--flow-method", "dis", *words,
        )  # fmt: skip
        assert done.code == 0, done.err
        return tmp_path / out / "detector.safetensors"

    return run


@pytest.mark.slow
def test_from_training_to_tubes(
    command: Callable, train: Callable, figures: Path, tmp_path: Path
) -> None:
    flow = train("flow", "--streams", "flow", "--steps", 1)
    rgb = train("rgb", "--steps", 1)
    both = train("both", "--streams", "both", "--steps", 1, "--weights", rgb,
                 "--flow-weights", flow)  # fmt: skip
    assert load_detector(both).config.streams == "both"
    video = Path(shutil.copy(figures / "videos" / "test_000.mp4", tmp_path / "v.mp4"))

    def detected(out: str, *words: object) -> Detections:
        options = ["--out", tmp_path / out, "--tables-only", "--key-frame-step", 9, *words]
        done = command("detect", video, *options)
        assert done.code == 0, done.err
        return read_table(Detections, tmp_path / out / "detections.parquet")

    computed = [
        detected("c1", "--checkpoint", both), detected("c2", "--checkpoint", rgb, "--fuse", flow)
    ]  # fmt: skip
    assert command("flow", video, "--method", "dis", "--no-drawing").code == 0
    cached = [
        detected("d1", "--checkpoint", both), detected("d2", "--checkpoint", rgb, "--fuse", flow)
    ]  # fmt: skip
    for one, other in zip(computed, cached):
        assert len(one) and np.array_equal(one.score, other.score)
        assert np.array_equal(one.boxes, other.boxes)
    assert not np.array_equal(computed[0].score, computed[1].score)


def test_words_that_do_not_fit(command: Callable, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").touch()
    done = command("detect", tmp_path / "v.mp4", "--fuse", "d.safetensors")
    assert done.code == 2 and "--fuse: only works with --checkpoint" in done.err[0]
    done = command("train", "--config", recipe, "--data", tmp_path, "--streams", "two")
    assert done.code == 2 and "streams" in done.err[0]
