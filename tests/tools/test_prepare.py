"""`actiontubes prepare custom`, and the way of a CVAT export to a detector and back."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

EXPORT = Path(__file__).parents[1] / "files" / "cvat" / "annotations.xml"


@pytest.fixture
def folder(tmp_path: Path, numbered) -> Path:
    """A CVAT zip beside its video: two tracks, keyframes, an outside, an attribute that changes."""
    folder = tmp_path / "data"
    folder.mkdir()
    numbered.write(folder / "Tom & Ann.mp4", 40)
    with zipfile.ZipFile(folder / "task_12.zip", "w") as archive:
        archive.write(EXPORT, "annotations.xml")
    return folder


def test_what_is_in_a_data_set(command, folder: Path) -> None:
    done = command("prepare", "custom", "--root", folder, "--preview")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == (
        "all videos: 1 videos (0.0 min), 2 persons, 3 stretches, 55 boxes, 40 annotated frames"
    )
    # 10 frames; 10 and 35 frames, at 25 a second.
    assert [line.split() for line in lines[3:5]] == [["walk", "&", "talk", "1", "0.4"],
                                                     ["wave", "2", "1.8"]]  # fmt: skip
    assert "boxes, all videos: median 16x38 pixels" in done.out
    assert "noticed: " in done.out and "51 boxes between keyframes were interpolated" in done.out
    page = (folder / "preview" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 3
    assert "walk &amp; talk" in page and "Tom &amp; Ann" in page


def test_tables_are_written_on_request(command, folder: Path, tmp_path: Path) -> None:
    done = command("prepare", "custom", "--root", folder, "--out", tmp_path / "tables")
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "groundtruth.parquet", "videos.csv"
    }  # fmt: skip
    assert command("prepare", "custom", "--root", folder, "--pack", tmp_path / "p").code == 2


def test_mistakes_are_one_line(command, folder: Path) -> None:
    (folder / "Tom & Ann.mp4").unlink()
    done = command("prepare", "custom", "--root", folder)
    assert done.code == 2
    assert done.err[-1].endswith(
        "1 of 1 videos were not found (the first is Tom & Ann); give their folder with --media, "
        "or choose other --train-videos and --test-videos"
    )
    assert command("prepare", "jhmdb", "--root", folder / "task_12.zip").code == 2


@pytest.mark.parametrize("name", ["task_12.zip", "."])
def test_training_reads_a_cvat_export(command, folder: Path, recipe, name, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--data", folder / name, "--out", out, "--precision", "no", "--device", "cpu")
    done = command("train", "--config", recipe, *words)
    assert done.code == 0, done.err
    assert (out / "detector.safetensors").is_file()


def test_three_commands_of_the_readme_lead_from_cvat_to_a_detector(
    command, folder: Path, recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """They stand in the README as they are run here, but for the recipe and the folder's names."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "custom").write_text(Path(recipe).read_text())
    commands = (
        "actiontubes prepare custom --root data --preview",
        "actiontubes train --config custom --data data",
        "actiontubes detect new.mp4 --checkpoint trained/detector.safetensors --out tubes",
    )
    (tmp_path / "new.mp4").write_bytes((folder / "Tom & Ann.mp4").read_bytes())
    for words in commands:
        assert words in readme
        done = command(*words.split()[1:], *["--tables-only"] * ("detect" in words))
        assert done.code == 0, done.err
    assert (tmp_path / "tubes" / "tubes.parquet").is_file()
