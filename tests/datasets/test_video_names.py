"""What a name means: one table of names for all who look up a video, and lists of videos."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import open_detection_sets
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.datasets.video.media import locate_videos
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.datasets.video_names import (
    ListedName,
    VideoIndex,
    folder_name,
    match_videos,
    read_video_list,
    shorten_path,
    strip_extension,
    strip_timestamps,
    unique_names,
)
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.people.table import TableSource
from actiontubes.detect.visualization.video import select_video

FORMS = (
    "{folder}/{video}", "{video}", "{folder}/{video}.avi", "{video}.avi", "{folder}/{video}.avi 1",
    "{video}.AVI 12", "{video} 1", "UCF-101/{folder}/{video}.avi", "{folder}/{video}.avi\t{folder}",
)  # fmt: skip


# A name as somebody wrote it, the known names, and the one that is meant: None where none is, an
# error where several may be.
MEANT = (
    ("sport/alpha.mp4", ("sport/alpha", "sport/beta"), "sport/alpha"),
    ("sport/alpha", ("sport/alpha.mp4", "sport/beta.mp4"), "sport/alpha.mp4"),
    ("alpha.mp4", ("sport/alpha",), "sport/alpha"),
    ("alpha", ("sport/alpha.AVI", "alpha2"), "sport/alpha.AVI"),
    ("data/sport/alpha.webm", ("sport/alpha", "alpha"), "sport/alpha"),
    ("data/sport/alpha", ("alpha", "walk/alpha"), "alpha"),
    ("sport/alpha", ("walk/alpha",), None),
    ("alpha.txt", ("sport/alpha",), None),
    ("alpha", ("beta",), None),
    ("alpha.b", ("sport/alpha.b", "alpha.c"), "sport/alpha.b"),
    ("alpha.mp4", ("alpha.avi", "alpha.mp4"), "alpha.mp4"),
    ("x/alpha.mp4", ("alpha.avi", "alpha.mp4"), "alpha.mp4"),
    ("alpha", ("alpha.avi", "alpha.mp4"), InputError),
    ("alpha.mp4", ("sport/alpha", "walk/alpha"), InputError),
    ("sport\\alpha", ("sport/alpha", "alpha"), "sport/alpha"),
    ("cafe\u0301", ("caf\u00e9", "cafe"), "caf\u00e9"),
    ("Sport/Alpha.MP4", ("sport/alpha", "beta"), "sport/alpha"),
    ("ALPHA", ("alpha", "Alpha"), InputError),
    ("alpha", ("Alpha", "alpha.mp4"), "alpha.mp4"),
)


def by_list(name: str, known: tuple[str, ...], _: Path) -> str | None:
    return match_videos([ListedName(name)], known)[0]


def by_evaluation(name: str, known: tuple[str, ...], _: Path) -> str | None:
    truth = replace(rows(known, Tubes), video_names=known)
    found = align_to_ground_truth(rows((name, "only in the table"), Detections), truth, "table")
    return known[found.video[0]]


def by_proposals(name: str, known: tuple[str, ...], _: Path) -> str | None:
    frames = np.zeros((1, 99, 99, 3), np.uint8)
    video = VideoInfo(path=Path(name), width=99, height=99, fps=25.0, num_frames=1)
    (people,) = TableSource(rows(known, Detections)).open(video).propose(frames, 0)
    return known[int(people.boxes[0, 0])]


def by_drawing(name: str, known: tuple[str, ...], _: Path) -> str | None:
    return known[select_video(rows(known, Tubes), Path(name)).video[0]]


def by_media(name: str, known: tuple[str, ...], folder: Path) -> str | None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return next(iter(locate_videos(folder, known)))


def rows(names: tuple[str, ...], kind: type) -> Any:
    """A row for each video, on frame 0, whose box begins at the video's number."""
    numbers = np.arange(len(names), dtype=np.int32)
    columns = {
        "video": numbers,
        "frame": np.zeros_like(numbers),
        "label": np.zeros_like(numbers),
        "boxes": numbers[:, None] + np.array([0.0, 0, 9, 9]),
        "score": np.full(len(names), 0.5),
        "video_names": names,
        "label_names": ("run",),
    }
    return kind(**columns, **({"tube": numbers.astype(np.int64)} if kind is Tubes else {}))


@pytest.mark.filterwarnings("ignore:table. ignoring 1 of 2 rows")
@pytest.mark.parametrize("look_up", [by_list, by_evaluation, by_proposals, by_drawing, by_media])
@pytest.mark.parametrize(("name", "known", "meant"), MEANT)
def test_all_who_look_up_a_video_agree(
    look_up: Callable, name: str, known: tuple[str, ...], meant: Any, tmp_path: Path
) -> None:
    index = VideoIndex(known)
    if meant is InputError:
        with pytest.raises(InputError, match=rf"could be {known[0]}, {known[1]}; write the full"):
            index.find(name)
    else:
        code = index.find(name)
        assert (None if code is None else known[code]) == meant
    is_path = look_up in (by_drawing, by_media, by_proposals)
    if meant is None and is_path and Path(name).stem == known[0].rpartition("/")[2]:
        meant = known[0]  # a file may lie in any folder
    if look_up is by_media and (Path(name).suffix not in (".mp4", ".webm") or meant is InputError):
        pytest.skip("not a video file, or the file of several videos")
    if meant is InputError:
        with pytest.raises(InputError, match=f"could be {known[0]}, {known[1]}"):
            look_up(name, known, tmp_path)
    elif meant is None and look_up is not by_list:
        with pytest.raises(InputError, match=r"no video|no row has a video"):
            look_up(name, known, tmp_path)
    elif meant is not None:
        assert look_up(name, known, tmp_path) == meant


def test_two_names_of_one_video_are_refused() -> None:
    truth = rows(("sport/alpha",), Tubes)
    with pytest.raises(InputError, match=r"videos alpha and alpha.mp4 are both sport/alpha"):
        align_to_ground_truth(rows(("alpha", "alpha.mp4"), Detections), truth, "table")
    # The full name is in the table: the shorter one is another video's.
    with pytest.warns(UserWarning, match="ignoring 1 of 2 rows"):
        found = align_to_ground_truth(rows(("alpha", "sport/alpha"), Detections), truth, "table")
    assert found.boxes[:, 0].tolist() == [1]


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
    with pytest.raises(InputError, match=r"list\.txt: is UTF-16"):
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


def test_names_end_and_stay_below_the_folder() -> None:
    assert unique_names([]) == []
    assert unique_names([Path("/a.mp4"), Path("/b/a.avi")]) == ["a.mp4", "b/a.avi"]
    videos = [Path("/a.mp4"), Path("/b/a.avi"), Path("/c/a.mp4.avi")]
    assert unique_names(videos) == ["a.mp4", "b/a.avi", "c/a.mp4.avi"]
    assert unique_names([Path("../../a.mp4"), Path("a.mp4")])[0].count("..") == 0


def test_names_of_a_hundred_thousand() -> None:
    """Linear in the videos: a loop over pairs would take hours."""
    videos = [Path(f"/data/{i // 100}/{i}.mp4") for i in range(100_000)]
    videos += [Path(f"/data/other/{i}.mp4") for i in range(1000)]
    names = unique_names(videos)
    assert len(set(names)) == len(videos) and names[5000] == "5000" and names[7] == "0/7.mp4"


def test_endings() -> None:
    assert [strip_extension(name) for name in ("a/b.c.AVI", "a.b", "12", "x.webm")] == [
        "a/b.c", "a.b", "12", "x"
    ]  # fmt: skip
    assert strip_timestamps("a_000001_00002") == "a_000001_00002"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"caf\xe9.mp4"))
    with pytest.warns(UserWarning, match="not UTF-8; the tables have caf%E9 for"):
        assert unique_names([odd, Path("alpha.mp4")]) == ["caf%E9", "alpha"]
    assert VideoIndex(["alpha", "caf%E9"]).find_file(tmp_path / odd) == 1
    with (
        pytest.warns(UserWarning, match="not UTF-8"),
        pytest.raises(InputError, match="in the tables; rename one"),
    ):
        unique_names([odd, Path("caf%E9.mp4")])


@pytest.mark.parametrize("character", ["a", "ё", "%", "/", "🙂"])
def test_long_names_of_folders(tmp_path: Path, character: str) -> None:
    names = [character * 250 + end for end in "xy"]
    folders = [folder_name(name) for name in names]
    assert folders[0] != folders[1]
    for folder in folders:
        (tmp_path / f".{folder}.part").mkdir()
    assert folder_name("a/b") == "a%2Fb" and shorten_path("a/b") == "a/b"
    assert shorten_path(f"a/{names[0]}").startswith("a/")
