"""`actiontubes detect` on videos at addresses, given directly and in lists; as from files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pandas
import pytest
import torch
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    config = DetectorConfig(
        labels=("clap", "dive"), backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("addresses") / "detector.safetensors"
    save_detector(build_detector(config).eval(), path)
    return path


@pytest.fixture
def served(numbered, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server's address and its folder, with the videos a and b."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("a", "b"):
        numbered.write(folder / f"{name}.mp4", 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def words(checkpoint: Path, out: Path, *videos: object) -> list[object]:
    return ["detect", *videos, "--checkpoint", checkpoint, "--proposals", "frame", "--device",
            "cpu", "--precision", "no", "--link", "act", "--threshold", 0.3,
            "--out", out]  # fmt: skip


def test_the_same_as_from_files(command, checkpoint, served, tmp_path: Path) -> None:
    address, folder = served
    local = command(*words(checkpoint, tmp_path / "local", folder / "a.mp4", "--tables-only"))
    out = tmp_path / "remote"
    given = words(checkpoint, out, f"{address}/a.mp4?signature=secret")
    done = command(*given)
    assert (local.code, done.code, done.err) == (0, 0, []), done
    for name in ("tubes.parquet", "detections.parquet", "actions.csv"):
        assert (out / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert (out / "a.tubes.mp4").is_file(), "drawn from the copy"
    assert sorted(path.name for path in (out / "videos").iterdir()) == [".joined.json", "a"]
    record = json.loads((out / "videos" / "a" / "record.json").read_text())
    assert record["path"] == f"{address}/a.mp4", "without the signature"
    again = command(*given)
    assert again.out.startswith("1 of 1 videos already have results") and not again.err
    # A drawn copy that was lost needs the video again.
    (out / "a.tubes.mp4").unlink()
    assert command(*given).code == 0 and (out / "a.tubes.mp4").is_file()
    # Another file at the address is noticed, and one that is gone is not missed.
    (folder / "a.mp4").write_bytes((folder / "b.mp4").read_bytes()[:-1])
    changed = command(*given)
    assert changed.code == 2 and f"results of another {address}/a.mp4" in changed.err[-1]
    (folder / "a.mp4").unlink()
    assert command(*given).code == 0


def test_lists_and_bad_addresses(command, checkpoint, served, numbered, tmp_path: Path) -> None:
    address, _ = served
    (tmp_path / "list.txt").write_text(f"# two\n{address}/a.mp4\nserved/b.mp4\n")
    addresses = [f"{address}/none.mp4", f"{address}/a.mp4", "served/b.mp4"]
    pandas.DataFrame({"url": addresses, "n": 1}).to_parquet(tmp_path / "list.parquet")
    first, second = tmp_path / "first", tmp_path / "second"
    done = command(*words(checkpoint, first, tmp_path / "list.txt", "--tables-only"))
    assert (done.code, done.err) == (0, [])
    done = command(*words(checkpoint, second, tmp_path / "list.parquet", "--tables-only"))
    assert done.code == 2 and done.err == [
        f"actiontubes detect: {address}/none.mp4: file not found",
        f"actiontubes detect: 1 of 3 videos failed: {address}/none.mp4",
    ]
    tubes = read_table(Tubes, first / "tubes.parquet")
    assert tubes.video_names == ("a", "b")
    assert (first / "tubes.parquet").read_bytes() == (second / "tubes.parquet").read_bytes()


def test_a_folder_in_memory_and_no_video(command, checkpoint, served, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/clips/x/a.mp4", (served[1] / "a.mp4").read_bytes())
    memory.pipe("/clips/bad.mp4", b"Once upon a time " * 20)
    try:
        done = command(*words(checkpoint, tmp_path / "out", "memory://clips", "--tables-only"))
    finally:
        memory.rm("/clips", recursive=True)
    assert done.code == 2 and done.err[-1].endswith("1 of 2 videos failed: memory:///clips/bad.mp4")
    assert "memory:///clips/bad.mp4: cannot be opened as a video" in done.err[-2]
    assert "a: " in done.out


@pytest.mark.parametrize(
    "columns, reason",
    [
        ({"name": ["a.mp4"]}, "has none of them"), ({"url": ["a"], "path": ["b"]}, "path and url"),
        ({"url": [3]}, "row 1: url 3 is not"), ({"url": [None, "a"]}, "row 1: url None"),
        ({"url": []}, "lists no videos"),
    ],
)  # fmt: skip
def test_tables_that_are_no_lists(command, checkpoint, tmp_path, columns, reason: str) -> None:
    pandas.DataFrame(columns).to_parquet(tmp_path / "list.parquet")
    done = command(*words(checkpoint, tmp_path / "out", tmp_path / "list.parquet"))
    assert done.code == 2 and reason in done.err[-1]
