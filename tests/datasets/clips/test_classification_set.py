"""Labelled videos: found by their lists' names, told of where they are missing."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.clips.classification_set import open_classification_set, with_labels
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.labels import normalize_label, same_labels


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_names_of_kinetics_with_their_times_or_without(tmp_path: Path) -> None:
    rows = ["abc_defghij,5,15", "-bc_defghij,0,10", "xbc_defghij,3,13"]
    text = "".join(f"run,{row},train\n" for row in rows)
    (tmp_path / "train.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{text}")
    media = touch(
        tmp_path / "media", "run/abc_defghij_000005_000015.mp4", "run/abc_defghij.mkv",
        "-bc_defghij.mp4",
    )  # fmt: skip
    with pytest.warns(
        UserWarning,
        match=r"media: ignoring 1 of the 3 train videos that were not found; the first is "
        r"xbc_defghij_000003_000013",
    ):
        videos = open_classification_set(tmp_path / "train.csv", "train", media=media)
    assert videos.names == ("abc_defghij_000005_000015", "-bc_defghij_000000_000010")
    assert videos.media == (media / "run/abc_defghij_000005_000015.mp4", media / "-bc_defghij.mp4")
    assert videos.labels == ("run",) and videos.label.tolist() == [0, 0]


def test_too_many_missing(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.mp4 run\nb.mp4 run\nc.mp4 sit\n")
    with pytest.raises(InputError, match=r"none of the 3 .*the first is a.mp4.; give their folder"):
        open_classification_set(tmp_path / "list.txt", "test")
    touch(tmp_path, "c.mp4")
    with pytest.raises(InputError, match=r"2 of the 3 .* with --allow-missing"):
        open_classification_set(tmp_path / "list.txt", "test")
    with pytest.warns(UserWarning, match="2 of the 3"):
        videos = open_classification_set(tmp_path / "list.txt", "test", allow_missing=True)
    assert videos.names == ("c.mp4",) and videos.label.tolist() == [1]
    with pytest.raises(InputError, match="absent: folder not found"):
        open_classification_set(tmp_path / "list.txt", "test", media=tmp_path / "absent")


def test_paths_names_and_folders_of_frames(tmp_path: Path) -> None:
    touch(tmp_path, "deep/er/x.mp4", "media/100/00001.jpg", "y/z.avi")
    (tmp_path / "list.csv").write_text(f"er/x.mp4,b\n100,a\n{tmp_path / 'y/z.avi'},a\n")
    videos = open_classification_set(tmp_path / "list.csv", "train")
    assert videos.media == (
        tmp_path / "deep/er/x.mp4", tmp_path / "media/100", tmp_path / "y/z.avi"
    )  # fmt: skip
    assert videos.labels == ("a", "b") and videos.label.tolist() == [1, 0, 0]


def test_a_missing_video_is_none_of_another_class(tmp_path: Path) -> None:
    touch(tmp_path, "run/a.mp4")
    (tmp_path / "list.txt").write_text("run/a.mp4 run\nsit/a.mp4 sit\n")
    with pytest.warns(UserWarning, match=r"1 of the 2 .* the first is sit/a\.mp4"):
        videos = open_classification_set(tmp_path / "list.txt", "train")
    assert videos.names == ("run/a.mp4",)


def test_official_splits(tmp_path: Path) -> None:
    touch(tmp_path, "videos/B/v_B_g01.avi", "videos/A/v_A_g02.avi")
    (tmp_path / "classInd.txt").write_text("1 B\n2 A\n")
    (tmp_path / "trainlist02.txt").write_text("B/v_B_g01.avi 1\n")
    (tmp_path / "testlist02.txt").write_text("A/v_A_g02.avi\n")
    train, test = (open_classification_set(tmp_path, part, split=2) for part in ("train", "test"))  # type: ignore[arg-type]
    assert (train.split, test.split) == ("train2", "test2")
    assert train.labels == test.labels == ("B", "A")
    assert (train.label.tolist(), test.label.tolist()) == ([0], [1])


def test_another_list_to_test_on(tmp_path: Path) -> None:
    touch(tmp_path, "one/run/a.mp4", "two/sit/b.mp4", "two/run/c.mp4")
    one, two = tmp_path / "one", tmp_path / "two"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train = open_classification_set(one, "train", test_data=two)
        test = open_classification_set(one, "test", test_data=two)
        both = open_classification_set(one, "test")
    assert train.labels == test.labels == ("run", "sit")
    assert train.media == both.media == (one / "run/a.mp4",)
    assert test.media == (two / "run/c.mp4", two / "sit/b.mp4")


def test_numbers_as_labels(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = tmp_path / "list.txt"
    path.write_text("a.mp4 10\nb.mp4 2\nc.mp4 10\n")
    videos = open_classification_set(path, "train")
    assert videos.labels == ("2", "10") and videos.label.tolist() == [1, 0, 1]
    path.write_text("a.mp4 1\nb.mp4 0\nc.mp4 2\n")
    videos = open_classification_set(path, "train", labels=["x", "y", "z"])
    assert videos.labels == ("x", "y", "z") and videos.label.tolist() == [1, 0, 2]
    with pytest.raises(
        InputError, match=r"list\.txt: video c\.mp4 has class 2, .* one of the 2 labels"
    ):
        open_classification_set(path, "train", labels=["x", "y"])


def test_classes_in_another_order_and_way_of_writing(tmp_path: Path) -> None:
    touch(tmp_path, "riding_a_bike/a.mp4", "Sitting/b.mp4")
    videos = open_classification_set(tmp_path, "train", labels=["sitting", "Riding a bike"])
    assert videos.names == ("Sitting/b.mp4", "riding_a_bike/a.mp4")
    assert videos.label.tolist() == [0, 1]
    other = with_labels(videos, ["riding_A_bike", "sitting"])
    assert other.label.tolist() == [1, 0] and other.labels == ("riding_A_bike", "sitting")
    assert np.array_equal(videos.label, [0, 1])
    assert normalize_label(" Riding_a  Bike ") == "riding a bike"
    assert same_labels(videos.labels, other.labels) and not same_labels(["a"], ["a", "a"])
    with pytest.raises(InputError, match=r"video Sitting/b.mp4 has class Sitting, .* the 1 labels"):
        open_classification_set(tmp_path, "train", labels=["riding a bike"])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a.mp4 run\nb.mp4 sit\n", "b.mp4 sit\nc.mp4 run\n",
         r"video b.mp4 is in both the training list and the test list; take it out"),
        ("a.mp4 run\na.mp4 sit\n", "b.mp4 sit\n", r"video a.mp4 has the classes run and sit; a"),
        ("a.mp4 Run\nb.mp4 sit\n", "c.mp4 run\n", r"labels 'Run' and 'run' differ only in how"),
    ],
)  # fmt: skip
def test_lists_that_contradict_themselves(
    tmp_path: Path, train: str, test: str, message: str
) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "test.txt").write_text(test)
    for part in ("train", "test"):
        with pytest.raises(InputError, match=message):
            open_classification_set(tmp_path, part)  # type: ignore[arg-type]


def test_the_training_list_may_be_tested_on(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    path = tmp_path / "train.txt"
    path.write_text("a.mp4 run\nb.mp4 sit\n")
    assert len(open_classification_set(path, "test", test_data=path)) == 2


def test_two_files_of_one_video(tmp_path: Path) -> None:
    touch(tmp_path, "first/a.mp4", "second/a.mp4")
    (tmp_path / "list.txt").write_text("a run\n")
    with pytest.raises(InputError, match=r"video a could be first/a.mp4, second/a.mp4; keep one"):
        open_classification_set(tmp_path / "list.txt", "train")
    (tmp_path / "list.txt").write_text("first/a.mp4 run\n")
    videos = open_classification_set(tmp_path / "list.txt", "train")
    assert videos.media == (tmp_path / "first/a.mp4",)
