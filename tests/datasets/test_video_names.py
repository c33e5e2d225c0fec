"""Lists of videos in the forms in which data sets and users write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from actiontubes.datasets.clips.detection_set import open_detection_sets
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.video_names import ListedName, match_videos, read_video_list

FORMS = (
    "{folder}/{video}", "{video}", "{folder}/{video}.avi", "{video}.avi", "{folder}/{video}.avi 1",
    "{video}.AVI 12", "{video} 1", "UCF-101/{folder}/{video}.avi", "{folder}/{video}.avi\t{folder}",
)  # fmt: skip


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def meant(known: list[str], *texts: str) -> list[str]:
    return match_videos([ListedName(text) for text in texts], known)


def test_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "list.txt", "\ufeffa/one.avi 1", "", "  a/two ")
    assert read_video_list(path) == [
        ListedName("a/one.avi 1", f"{path}: line 1: "), ListedName("a/two", f"{path}: line 3: ")
    ]  # fmt: skip
    with pytest.raises(InputError, match="is empty"):
        read_video_list(write(path, ""))
    with pytest.raises(InputError, match="file not found"):
        read_video_list(tmp_path / "other.txt")
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(InputError, match=r"list\.txt: is not a UTF-8 text file"):
        read_video_list(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["Biking/v_1", "v_1", "Biking/v_1.avi", "v_1.avi"])
def test_every_form_means_the_name(form: str, name: str) -> None:
    known = [name, "Biking/v_11", "Diving/v_2", "1"]
    assert meant(known, form.format(folder="Biking", video="v_1")) == [name]


def test_the_nearest_form_wins() -> None:
    assert meant(["v", "a/v", "v 1", "v.avi"], "v", "v 1", "v.avi", "a/v", "a/v.avi 2") == [
        "v", "v 1", "v.avi", "a/v", "a/v"
    ]  # fmt: skip
    assert meant(["a/b/v"], "b/v", "v.avi 1", "/x/a/b/v.mp4") == ["a/b/v"] * 3
    assert meant(["my video"], "my video.mp4 3", "x/my video") == ["my video"] * 2
    # Another class is another video, and what is not known is told without ending and number.
    assert meant(["a/v"], "b/v.avi 3", "w.mp4", "3", "") == ["b/v", "w", "3", ""]


def test_several_may_be_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "list.txt", "a/v", "v.avi 1")
    with pytest.raises(InputError) as error:
        match_videos(read_video_list(path), [f"{folder}/v" for folder in "abcde"])
    assert str(error.value) == (
        f"{path}: line 2: video v.avi could be a/v, b/v, c/v and 2 more; write the full name"
    )
    with pytest.raises(InputError, match=r"^video v could be v\.avi, v\.mp4; write the full"):
        meant(["v.avi", "v.mp4"], "v")


ROWS = """video,frame,label,x1,y1,x2,y2,tube
run/a,0,run,0,0,10,20,0
run/b,3,run,5,5,30,40,0
sit/b,2,sit,50,10,64,48,0
"""
SIZES = "video,num_frames,width,height\nrun/a,4,64,48\nrun/b,4,64,48\nsit/b,4,64,48\nsit/c,4,64,48"


def test_ground_truth_and_parts_of_a_list(numbered, tmp_path: Path) -> None:
    data, listed = tmp_path / "data", tmp_path / "list.txt"
    (data / "splits").mkdir(parents=True)
    (data / "groundtruth.csv").write_text(ROWS)
    (data / "videos.csv").write_text(SIZES)
    write(listed, "a.avi 1", "sit/b.avi 2", "x/sit/b")
    for path in (data, data / "groundtruth.csv"):
        assert read_ground_truth(path, videos=listed)[0].video_names == ("run/a", "sit/b")
    write(data / "splits/test1.txt", "c.avi", "a.avi 1")
    write(data / "splits/train1.txt", "run/b.avi 1")
    assert read_ground_truth(data)[0].video_names == ("sit/c", "run/a")
    for name in ("run/a", "run/b", "sit/b", "sit/c"):
        (data / name).parent.mkdir(exist_ok=True)
        numbered.write(data / f"{name}.mp4", 4)
    train, test = open_detection_sets(data)
    assert (train.names, test.names) == (("run/b",), ("sit/c", "run/a"))
    train, test = open_detection_sets(
        data, train_videos=[str(listed)], test_videos=["c.avi", "run/b"]
    )
    assert (train.names, test.names) == (("run/a", "sit/b"), ("sit/c", "run/b"))
    write(listed, "a", "b.avi 1")
    for read in (
        lambda: read_ground_truth(data, videos=listed),
        lambda: read_ground_truth(data / "groundtruth.csv", videos=listed),
        lambda: open_detection_sets(data, train_videos=[str(listed)]),
    ):
        with pytest.raises(InputError, match=r"list\.txt: line 2: video b.avi could be run/b, s"):
            read()
    write(listed, "a", "nobody.avi 1")
    with pytest.raises(
        InputError, match=r"list\.txt: line 2: video nobody is not in .*csv; names look"
    ):
        open_detection_sets(data, train_videos=[str(listed)])


@pytest.mark.parametrize("form", FORMS)
def test_the_test_list_of_ucf101_24(
    form: str, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    listed = shared("ucf101-24/testlist01.txt")
    whole = tuple(listed.read_text().split())
    split = [name.split("/") for name in whole]
    other = [form.format(folder=folder, video=video) for folder, video in split]
    path = write(tmp_path / "list.txt", *other)
    truth, _ = read_ground_truth(shared("ucf101-24/pyannot.pkl"), videos=path)
    assert len(whole) == 910 and truth.video_names == whole and len(truth) == 170_580
    if form == FORMS[3]:
        same, _ = read_ground_truth(shared("ucf101-24/finalAnnots.mat"), videos=path)
        assert same.video_names == whole and (same.boxes == truth.boxes).mean() > 0.9
