"""Folders, patterns and lists stand for the right files; names are short and no two the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.find import expand_video_paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Empty files; the current folder is the one that holds them."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.mp4", "a.AVI", "a.txt", "a.mp4.tubes.mp4", "x/c.mkv", "x/.hidden.mp4", ".git/d.mp4",
        "x/y/e.webm", "x/notes.md", "[1].mp4",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "nothing").mkdir()
    return tmp_path


def found(*words: str) -> list[str]:
    return [str(video) for video in expand_video_paths([Path(word) for word in words])]


def test_files_folders_and_patterns(folder: Path) -> None:
    assert found("b.mp4", "absent.mp4", "notes") == ["b.mp4", "absent.mp4", "notes"]
    assert found("x") == ["x/c.mkv", "x/y/e.webm"]
    assert found(".") == ["[1].mp4", "a.AVI", "b.mp4", "x/c.mkv", "x/y/e.webm"]
    assert found(str(folder / "x")) == [str(folder / "x/c.mkv"), str(folder / "x/y/e.webm")]
    assert found("x/**/*.webm", "*.AVI") == ["x/y/e.webm", "a.AVI"]
    assert found("[1].mp4") == ["[1].mp4"], "a file of that name is no pattern"
    # What stands for nothing is told as a video that cannot be read, among the others.
    assert found("nothing", "*.mov") == ["nothing", "*.mov"]


def test_lists(folder: Path) -> None:
    (folder / "x" / "list.txt").write_text("# clips\n\nb.mp4\n  c.mkv \r\ny\nabsent.avi\n")
    assert found("x/list.txt") == ["b.mp4", "x/c.mkv", "x/y/e.webm", "absent.avi"]
    (folder / "empty.TXT").write_text("\n# nothing\n")
    with pytest.raises(InputError, match=r"empty\.TXT: lists no videos; write one path a line"):
        found("empty.TXT")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.txt: is UTF-16"):
        found("bytes.txt")
    assert found("absent.txt") == ["absent.txt"]


@pytest.mark.parametrize("words", [("b.mp4", "./x/../b.mp4"), ("x/c.mkv", "x"), ("b.mp4", "*.mp4")])
def test_a_file_meant_twice(folder: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="is given twice"):
        found(*words)
