"""`actiontubes detect` on many videos: killed, shared, run again, it leaves the same tables."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.table_writer import RESULT_FILES
from actiontubes.datasets.tables import Detections, Tubes, Videos
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource, PersonBoxes
from actiontubes.detect.people.proposals import SOURCES, open_proposal_source

LENGTHS = {"a": 20, "b": 300, "c": 31, "d": 12}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    settings = DetectorConfig(
        labels=("clap", "dive"), backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("many") / "detector.safetensors"
    save_detector(build_detector(settings).eval(), path)
    return path


@pytest.fixture(scope="module")
def folder(numbered, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, length in LENGTHS.items():
        numbered.write(folder / f"{name}.mp4", length)
    return folder


@pytest.fixture
def words(checkpoint: Path, folder: Path) -> Callable[..., list[str]]:
    """The command's words, for all videos and into `out`."""

    def given(out: Path, *more: object, videos: Path = folder) -> list[str]:
        options = ["--checkpoint", checkpoint, "--proposals", "frame", "--tables-only", "--device",
                   "cpu", "--precision", "no", "--link", "act", "--threshold", 0.3, "--out", out,
                   *more]  # fmt: skip
        return ["detect", *map(str, [videos, *options])]

    return given


@pytest.fixture(scope="module")
def undisturbed(checkpoint: Path, folder: Path, tmp_path_factory, run) -> list[bytes]:
    """The tables of a run in a process of its own."""
    out = tmp_path_factory.mktemp("undisturbed")
    done = run("detect", folder, "--checkpoint", checkpoint, "--proposals", "frame",
               "--tables-only", "--device", "cpu", "--precision", "no", "--link", "act",
               "--threshold", 0.3, "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    tubes = read_table(Tubes, out / "tubes.parquet")
    assert np.unique(tubes.video).tolist() == [0, 1, 2, 3]
    return tables(out)


def tables(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in RESULT_FILES]


def started(words: list[str], **environment: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "actiontubes.tools.main", *words], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {name: str(value) for name, value in environment.items()},
    )  # fmt: skip


@pytest.mark.slow
def test_killed_in_the_middle(command, words, undisturbed: list[bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(words(out))
    for _ in range(100_000):
        if list(out.glob("videos/.b.part/.*.parquet")):
            break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not any((out / name).exists() for name in RESULT_FILES)
    assert sorted(path.name for path in (out / "videos").iterdir()) == [".b.part", "a"]
    done = command(*words(out))
    assert done.code == 0 and not done.err, done.err
    assert done.out.splitlines()[0] == (
        "1 of 4 videos already have results (use --overwrite to redo them)"
    )
    assert tables(out) == undisturbed
    assert sorted(path.name for path in out.glob("videos/[!.]*")) == ["a", "b", "c", "d"]


def test_twice_into_one_folder(command, words, undisturbed: list[bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*words(out)).code == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    done = command(*words(out))
    assert (done.code, done.err) == (0, [])
    assert done.out.splitlines() == [
        "4 of 4 videos already have results (use --overwrite to redo them)",
        f"363 frames in all: {out} (the tables are unchanged)",
    ]
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert after == before
    assert tables(out) == undisturbed


@pytest.mark.slow
def test_two_processes(words, undisturbed: list[bytes], folder: Path, tmp_path: Path) -> None:
    """And a bad video in the share of the second, which the first one, that ends last, tells."""
    mixed, out = tmp_path / "mixed", tmp_path / "out"
    mixed.mkdir()
    for video in folder.iterdir():
        (mixed / video.name).symlink_to(video)
    (mixed / "bb.mp4").write_text("Once upon a time there was a video.\n" * 20)
    (mixed / "list.txt").write_text("a.mp4\nb.mp4\nc.mp4\nbb.mp4\nd.mp4\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        started(words(out, videos=mixed / "list.txt"), RANK=rank, LOCAL_RANK=rank, **launched)
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [2, 0], outputs
    assert [text.count(" action") for text, _ in outputs] == [3, 1]
    first, second = (error.strip().splitlines()[-1] for _, error in outputs)
    assert first == f"actiontubes detect: 1 of 5 videos failed: {mixed / 'bb.mp4'}"
    assert second.startswith(f"actiontubes detect: {mixed / 'bb.mp4'}: ")
    assert tables(out) == undisturbed


def test_other_settings_and_overwrite(command, words, undisturbed, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*words(out, "--threshold", 0.4)).code == 0
    before = tables(out)
    code, text, err = command(*words(out))
    assert (code, text) == (2, "") and len(err) == 1
    assert err[0] == (
        f"actiontubes detect: {out / 'videos' / 'a'}: contains results made with "
        "--threshold 0.4, and this run is with --threshold 0.3; choose another --out, or give "
        "--overwrite"
    )
    assert tables(out) == before
    assert command(*words(out, "--overwrite")).code == 0
    assert tables(out) == undisturbed


def test_a_folder_with_one_more_video(command, words, undisturbed, folder, tmp_path) -> None:
    growing, out = tmp_path / "growing", tmp_path / "out"
    growing.mkdir()
    for name in ("a", "c"):
        (growing / f"{name}.mp4").symlink_to(folder / f"{name}.mp4")
    assert command(*words(out, videos=growing)).code == 0
    assert read_table(Videos, out / "videos.parquet").video == ("a", "c")
    for name in ("b", "d"):
        (growing / f"{name}.mp4").symlink_to(folder / f"{name}.mp4")
    done = command(*words(out, videos=growing / "*.mp4"))
    assert done.code == 0 and done.out.startswith(
        "2 of 4 videos already have results (use --overwrite to redo them)\nb: "
    )
    assert tables(out) == undisturbed


def test_a_video_deleted_while_it_is_read(
    command, words, numbered, monkeypatch, tmp_path: Path
) -> None:
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    for name in "abc":
        numbered.write(mine / f"{name}.mp4", 90)
    source = open_proposal_source("frame").open(VideoInfo(mine / "a.mp4", 64, 48, 25.0, None))

    def deleting(frames: np.ndarray, first: int) -> list[PersonBoxes]:
        if first == 8 and not (out / "videos" / "b").exists() and (out / "videos" / "a").exists():
            (mine / "b.mp4").unlink(missing_ok=True)
        return source.propose(frames, first)

    monkeypatch.setitem(SOURCES, "frame", lambda name, **options: FunctionSource(deleting))
    code, _, err = command(*words(out, videos=mine / "*.mp4"))
    assert code == 2
    assert err == [
        f"actiontubes detect: {mine / 'b.mp4'}: changed or was deleted while it was being "
        "read; run again",
        f"actiontubes detect: 1 of 3 videos failed: {mine / 'b.mp4'}",
    ]
    assert read_table(Videos, out / "videos.parquet").video == ("a", "c")
    assert sorted(path.name for path in out.glob("videos/[!.]*")) == ["a", "c"]


def test_disk_full_while_tables_are_written(
    command, words, undisturbed, monkeypatch, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    write, calls = pq.ParquetWriter.write_table, []

    def full(self, rows, *rest, **options) -> None:
        calls.append(1)
        if 3 <= len(calls) <= 4:
            raise OSError(28, "No space left on device")
        write(self, rows, *rest, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        code, _, err = command(*words(out))
    assert code == 2 and "No space left on device" in err[0]
    assert err[-1].startswith("actiontubes detect: ")
    assert not [*out.rglob(".part-*"), *out.rglob(".*.part")], "nothing half-written"
    done = command(*words(out))
    assert (done.code, done.err) == (0, []) and "videos already have results" in done.out
    assert tables(out) == undisturbed


def test_half_precision_and_compilation_are_options(
    command, words, monkeypatch, tmp_path: Path
) -> None:
    compiled: list[dict] = []
    monkeypatch.setattr(torch, "compile", lambda call, **options: compiled.append(options) or call)
    out = tmp_path / "out"
    assert command(*words(out)).code == 0 and not compiled
    exact = read_table(Detections, out / "detections.parquet")
    for precision in ("bf16", "fp16"):
        more = ["--overwrite", "--compile", "--precision", precision]
        assert command(*words(out, *more)).code == 0
        near = read_table(Detections, out / "detections.parquet")
        assert len(near) == len(exact)
        np.testing.assert_allclose(np.sort(near.score), np.sort(exact.score), atol=0.05)
    assert compiled == [{"dynamic": False}] * 2
