"""Folders that cannot be written or are in use, full disks, and kills: one line, nothing lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from actiontubes.datasets.table_writer import RESULT_FILES
from actiontubes.detect.inference.distributed import lock_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def words(figures: Path, recipe: Path) -> dict[str, list[object]]:
    """The command lines of the runs, without --out."""
    few = ["--config", recipe, "--data", figures, "--device", "cpu"]
    return {
        "train": ["train", *few],
        "detect": ["detect", figures / "videos" / "test_000.mp4", "--proposals", "frame"],
        "demo": ["demo", "--videos", 1, "--steps", 1],
        "classify": ["classify", "--data", figures / "classes.txt", "--media", figures / "videos",
                     "--weights", "null", "--norm", "batch", "--steps", 1, "--width", 0.0625,
                     "--device", "cpu"],
        "study": ["study", "--data", figures, "--steps", 1, "--backbones", "i2d", "--seeds", 0,
                  "--device", "cpu"],
    }  # fmt: skip


@pytest.fixture
def classes(figures: Path) -> None:
    (figures / "classes.txt").write_text("train_000.mp4 0\ntrain_001.mp4 1\n")


COMMANDS = ("train", "detect", "demo", "classify", "study")


@pytest.fixture
def needs_no_network(trained: Path, words: dict[str, list[object]]) -> None:
    words["detect"][2:] = ["--checkpoint", trained / "detector.safetensors"]


@pytest.mark.usefixtures("classes", "needs_no_network")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_in_use(
    command: Callable, words: dict[str, list[object]], name: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with lock_folder(out):
        done = command(*words[name], "--out", out)
    assert done.code == 2
    assert done.err[-1] == (
        f"actiontubes {name}: {out}: another run (process {os.getpid()}) is writing there; wait "
        "for it, or choose another --out"
    )
    assert not out.exists()


@pytest.mark.usefixtures("classes", "needs_no_network")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written(
    command: Callable, words: dict[str, list[object]], name: str, tmp_path: Path
) -> None:
    """Below a file, where not even root can write; and in place of a file."""
    file = tmp_path / "file"
    file.write_text("content")
    for out in (file / "below", file):
        done = command(*words[name], "--out", out)
        assert done.code == 2 and done.err[-1].startswith(f"actiontubes {name}: {file}"), done.err
        assert file.read_text() == "content"


@pytest.mark.usefixtures("needs_no_network")
def test_a_full_disk_leaves_finished_tables(
    command: Callable, words: dict[str, list[object]], figures: Path, tmp_path: Path
) -> None:
    """No file may grow beyond some bytes; in a later run the second video's tables do not fit."""
    name, video, *options = words["detect"]
    options += ["--tables-only", "--threshold", 0.05, "--out", tmp_path / "out"]
    assert command(name, video, *options).code == 0
    before = [(tmp_path / "out" / name).read_bytes() for name in RESULT_FILES]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        done = command(name, video, figures / "videos" / "train_000.mp4", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 2 and "File too large" in done.err[0], done.err
    assert [(tmp_path / "out" / name).read_bytes() for name in RESULT_FILES] == before
    assert not [*tmp_path.rglob(".part-*"), *tmp_path.rglob(".*.part")]


@pytest.mark.slow
def test_two_kills() -> None:
    """The command of docs/robustness.md, for a part of a minute."""
    words = ["--kills", "2", "--seed", "1", "--commands", "train", "detect"]
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "kill_runs.py", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [row.split("|")[2::2] for row in done.stdout.splitlines()[2:]] == [
        [" 1 ", " none "], [" 1 ", " none "]
    ]  # fmt: skip
