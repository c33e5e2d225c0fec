"""Folders, patterns and lists stand for the right files; names are short and no two the same."""

from __future__ import annotations

import os
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


@pytest.mark.filterwarnings("ignore:.* passed over")
def test_files_folders_and_patterns(folder: Path) -> None:
    assert found("b.mp4", "absent.mp4", "notes") == ["b.mp4", "absent.mp4", "notes"]
    assert found("x") == ["x/c.mkv", "x/y/e.webm"]
    assert found(".") == ["[1].mp4", "a.AVI", "b.mp4", "x/c.mkv", "x/y/e.webm"]
    assert found(str(folder / "x")) == [str(folder / "x/c.mkv"), str(folder / "x/y/e.webm")]
    assert found("x/**/*.webm", "*.AVI") == ["x/y/e.webm", "a.AVI"]
    assert found("[1].mp4") == ["[1].mp4"], "a file of that name is no pattern"
    # What stands for nothing is told as a video that cannot be read, among the others.
    assert found("nothing", "*.mov") == ["nothing", "*.mov"]


def test_what_a_folder_has_besides_videos_is_said(folder: Path) -> None:
    (folder / "x" / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "x" / "frames").mkdir()
    for number in (0, 1):
        (folder / "x" / "frames" / f"img_{number}.jpg").touch()
    (folder / "x" / "c.mkv.tvl1.flow").touch()
    expected = (
        "x: passed over files without a video's extension (1, such as notes.md); hidden files "
        "(1, such as .hidden.mp4); links to files that do not exist (1, such as gone.mp4); "
        "folders of frames, because there are videos (1, such as frames)"
    )
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert found("x") == ["x/c.mkv", "x/y/e.webm"]
    assert [str(warning.message) for warning in caught] == [expected]


def test_folders_of_frames_where_there_are_no_videos(folder: Path) -> None:
    for name in ("z/a/1.jpg", "z/a/2.jpg", "z/b/00000.png", "z/c/poster1.jpg", "z/.d/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.warns(UserWarning, match=r"extension \(1, such as c.poster1.jpg\)"):
        assert found("z") == ["z/a", "z/b"]
    assert found("z/a") == ["z/a"]


@pytest.mark.parametrize("name", ["a.wmv", "a.FLV", "a.ts", "a.MTS", "a.3gp", "a.mpeg", "a.vob"])
def test_containers_by_their_extensions(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert expand_video_paths([tmp_path]) == [tmp_path / name]


def test_brackets_are_a_pattern_or_part_of_a_name(folder: Path) -> None:
    for name in ("take [2]/a.mp4", "b[final].mp4", "c[1].avi", "c1.avi"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert found("take [2]/*.mp4") == ["take [2]/a.mp4"]
    assert found("*[final].mp4") == ["b[final].mp4"]
    assert found("[ab].mp4") == ["b.mp4"]
    with pytest.raises(InputError, match=r"brackets fit c\[1\]\.avi as they stand, and c1\.avi as"):
        found("*[1].avi")
    assert found("*[[]1].avi") == ["c[1].avi"]


def test_patterns_find_folders_and_leave_out_what_was_drawn(folder: Path) -> None:
    assert found("x/*.webm", "x/[y]") == ["x/*.webm", "x/y/e.webm"]
    assert found("a.*") == ["a.AVI", "a.txt"]


def test_names_in_lists_may_be_anything(folder: Path) -> None:
    for name in ("#2 take.mp4", " led.mp4", os.fsdecode(b"caf\xe9.mp4"), "x/#3.mp4"):
        (folder / name).touch()
    content = b"#2 take.mp4\n# a comment\n led.mp4\ncaf\xe9.mp4\r\n#3.mp4\n#4.mp4\n"
    content += b'"b.mp4"\nx\\c.mkv\n"x\\y"\n'
    (folder / "x" / "all.txt").write_bytes(content)
    names = ["#2 take.mp4", " led.mp4", "caf\udce9.mp4", "x/#3.mp4", "b.mp4"]
    names += ["x/c.mkv", "x/y/e.webm"]
    assert found("x/all.txt") == names


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


@pytest.mark.filterwarnings("ignore:.* passed over")
@pytest.mark.parametrize("words", [("b.mp4", "./x/../b.mp4"), ("x/c.mkv", "x"), ("b.mp4", "*.mp4")])
def test_a_file_meant_twice(folder: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="is given twice"):
        found(*words)


def test_a_list_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.txt\n")
    with pytest.raises(InputError, match=r"a\.txt: .*a\.txt is a list, too; write its lines here"):
        expand_video_paths([tmp_path / "a.txt"])
    long = "x" * 5000 + ".mp4"
    (tmp_path / "a.txt").write_text(f"{long}\n")
    assert expand_video_paths([tmp_path / "a.txt"]) == [Path(long)]
