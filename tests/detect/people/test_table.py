"""Person boxes of tables by other programs: what is read, left out and said, and interpolated."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.exchange.people import read_people
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.people.proposals import ProposalSource, open_proposal_source
from actiontubes.detect.people.table import TableSource, frame_interval

WALK = VideoInfo(Path("walk.mp4"), 160, 120, 25.0, 48)


def source(path: Path, header: str, *rows: str) -> TableSource:
    path.write_text("\n".join([header, *rows]) + "\n")
    return TableSource(read_people(path).boxes, name=path.name)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def boxes(table: ProposalSource, frame: int) -> list[list[float]]:
    (people,) = table.open(WALK).propose(np.zeros((1, 120, 160, 3), np.uint8), frame)
    return np.column_stack([people.boxes, people.score]).tolist()


def test_six_columns_are_enough(csv: Path) -> None:
    table = source(csv, "frame,video,x1,y1,x2,y2", "3,walk,10,20,30,60", "4,run,0,0,9,9")
    assert boxes(table, 3) == [[10, 20, 30, 60, 1]] and boxes(table, 4) == []
    with pytest.raises(InputError, match="column frame, x1, y1, x2, y2 is missing"):
        source(csv, "video,label", "walk,run")


@pytest.mark.parametrize(
    ("columns", "person"),
    [
        ("person", [2, 5]), ("track_id", [2, 5]), ("tube", [2, 5]), ("track_id,person", [9, 9]),
        ("id", None),
    ],
)  # fmt: skip
def test_persons_by_the_names_of_other_programs(
    csv: Path, columns: str, person: list[int] | None
) -> None:
    more = ",9" if "," in columns else ""
    table = source(
        csv, f"video,frame,x1,y1,x2,y2,score,{columns}",
        f"walk,0,1,1,9,9,0.5,2{more}", f"walk,0,50,1,60,9,0.25,5{more}",
    )  # fmt: skip
    (people,) = table.open(WALK).propose(np.zeros((1, 60, 80, 3), np.uint8), 0)
    assert people.boxes.tolist() == [[0.5, 0.5, 4.5, 4.5], [25, 0.5, 30, 4.5]]
    assert (None if people.person is None else people.person.tolist()) == person


def test_a_row_without_a_person(csv: Path) -> None:
    header = "video,frame,x1,y1,x2,y2,track_id"
    table = source(csv, header, "walk,0,1,1,9,9,", "walk,0,20,1,29,9,4")
    (people,) = table.open(WALK).propose(np.zeros((1, 120, 160, 3), np.uint8), 0)
    assert people.person is not None and people.person.tolist() == [-1, 4]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["walk,0,1,1,9,9", "walk,48,1,2,9,9", "walk,49,1,1,9,9", "walk,1,1,1,9,9"],
         r"people.csv: 2 of 4 boxes are after the end of their video and are left out; check that "
         r"frames count from 0 .*\(the first: walk.mp4, frame 48, 1, 2, 9, 9\)"),
        (["walk,0,1,1,9,9"] * 2 + ["walk,60,1,1,9,9"],
         r"1 of 3 boxes are after the end of their video and are left out \(the first"),
        (["walk,5,400,300,420,330", "walk,6,-9,0,0,9"],
         r"2 of 2 boxes are outside the frame of their video and are left out .*frame 5, 400, 300"),
        (["walk,5,150,10,170,100"],
         r"1 of 1 boxes extend beyond the frame of their video and are clipped .*150, 10, 170"),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_are_counted(csv: Path, rows: list[str], message: str) -> None:
    table = source(csv, "video,frame,x1,y1,x2,y2", *rows)
    with pytest.warns(UserWarning, match=message) as warned:
        table.open(WALK)
    assert len(warned) == 1


def test_frames_that_seem_to_count_from_1(csv: Path) -> None:
    header = "video,frame,x1,y1,x2,y2"
    rows = [f"walk,{frame},{frame},1,90,9" for frame in range(1, 49)]
    with pytest.warns(UserWarning, match="1 of 48 boxes are after .*give --first-frame 1 if"):
        source(csv, header, *rows).open(WALK)
    table = open_proposal_source(str(csv), files=FileOptions(first_frame=1))
    assert boxes(table, 0)[0][:4] == [1, 1, 90, 9] and boxes(table, 47)[0][:4] == [48, 1, 90, 9]


def test_fractions_of_the_frame(csv: Path) -> None:
    header, rows = "video,frame,x1,y1,x2,y2", ("walk,2,0.25,0.5,0.5,1",)
    with pytest.raises(InputError, match=r"people.csv: the boxes are fractions .*--boxes fraction"):
        source(csv, header, *rows)
    table = open_proposal_source(str(csv), files=FileOptions(box_unit="fraction"))
    assert boxes(table, 2) == [[40, 60, 80, 120, 1]]
    with pytest.raises(InputError, match="--boxes: describes a file of person boxes; leave it"):
        open_proposal_source("frame", files=FileOptions(box_unit="pixel"))
    open_proposal_source("frame", files=FileOptions())


def test_nothing_is_said_of_rounding_and_of_other_videos(csv: Path) -> None:
    rows = ("walk,47,-1.5,0,20,121.9", "run,99,900,900,910,910")
    table = source(csv, "video,frame,x1,y1,x2,y2", *rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert boxes(table, 47) == [[0, 0, 20, 120, 1]]


def test_the_length_is_counted_where_the_container_is_wrong(csv: Path, numbered) -> None:
    video = csv.parent / "walk.mp4"
    numbered.write(video, num_frames=5)
    table = source(csv, "video,frame,x1,y1,x2,y2", "walk,4,1,1,9,9", "walk,5,1,1,9,9")
    for container in (None, 3):
        with pytest.warns(UserWarning, match="1 of 2 boxes are after the end .*frame 5"):
            table.open(VideoInfo(video, 64, 48, 25.0, container))


def test_the_interval_of_frames() -> None:
    assert frame_interval(np.array([0, 20, 40, 40])) == 20
    assert frame_interval(np.array([3, 9, 15, 27, 33])) == 6, "a person was away once"
    assert frame_interval(np.array([0, 1, 2, 3, 9, 10])) == 1
    assert frame_interval(np.array([0, 7, 9, 30, 41])) == 1, "no regular distance"
    assert frame_interval(np.array([0, 20])) == frame_interval(np.array([], int)) == 1
    assert frame_interval(np.array([0, 20, 20]), 1) == 20


def test_boxes_of_a_person_are_interpolated(csv: Path) -> None:
    table = source(
        csv, "video,frame,x1,y1,x2,y2,score,person",
        "walk,0,0,0,10,20,1,a", "walk,10,20,10,30,30,0.5,a", "walk,10,90,0,99,9,1,b",
        "walk,20,90,20,99,29,1,b", "walk,40,20,10,30,30,1,a",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="walk.mp4, 10 frames apart.; between .* interpolated"):
        assert boxes(table, 5) == [[10, 5, 20, 25, 0.75]]
    with pytest.warns(UserWarning, match="interpolated"):
        assert boxes(table, 12) == [[90, 4, 99, 13, 1]], "a has no box on frame 20"
    with pytest.warns(UserWarning, match="interpolated"):
        assert boxes(table, 10) == [[90, 0, 99, 9, 1], [20, 10, 30, 30, 0.5]]


@pytest.mark.parametrize(("first", "option"), [(0, "--key-frame-step 12, "), (5, "give boxes on")])
def test_boxes_too_far_apart_to_be_linked(csv: Path, first: int, option: str) -> None:
    rows = [f"walk,{frame},1,1,9,9" for frame in range(first, 48, 12)]
    table = source(csv, "video,frame,x1,y1,x2,y2", *rows)
    frames = np.zeros((8, 120, 160, 3), np.uint8)
    opened = table.open(WALK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened.propose(frames[:1], first)
        opened.propose(frames[:1], first + 12)
    with pytest.warns(UserWarning, match=rf"walk.mp4 are 12 frames apart, .*{option}"):
        opened.propose(frames, first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened.propose(frames, first + 8)  # said once


def test_two_frames_with_boxes_are_too_far_apart(csv: Path) -> None:
    """Too few to interpolate between them, also where the person is known."""
    table = source(csv, "video,frame,x1,y1,x2,y2,person", "walk,0,1,1,9,9,1", "walk,24,1,1,9,9,1")
    opened = table.open(WALK)
    with pytest.warns(UserWarning, match=r"walk.mp4 are 24 frames apart"):
        opened.propose(np.zeros((8, 120, 160, 3), np.uint8), 0)


def test_all_files_are_compared_with_the_table(csv: Path) -> None:
    rows = ("walk,0,1,1,9,9", "run/a,0,1,1,9,9", "run/a,1,1,1,9,9", "sit,0,1,1,9,9")
    table = source(csv, "video,frame,x1,y1,x2,y2", *rows)
    with pytest.warns(UserWarning, match=r"people.csv: ignoring 3 boxes .* such as run/a"):
        table.check_files([Path("walk.mp4"), Path("unknown.mp4")])
    with pytest.raises(
        InputError, match=r"video walk could be x/walk.mp4, y/walk.avi; write their"
    ):
        table.check_files([Path("x/walk.mp4"), Path("sit.mp4"), Path("y/walk.avi")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table.check_files([Path("run/a.mp4"), Path("walk.mp4"), Path("sit.mp4")])


def test_short_gaps_of_a_person_are_filled_and_said(csv: Path) -> None:
    """Frames 0 to 3, then 7; a gap of more than 20 frames stays."""
    rows = [f"walk,{frame},{frame},0,{frame + 20},30,1" for frame in (0, 1, 2, 3, 7, 40, 41)]
    table = source(csv, "video,frame,x1,y1,x2,y2,person", *rows)
    with pytest.warns(UserWarning, match=r"csv: 1 gaps of up to 20 frames .* 3 boxes in all"):
        assert boxes(table, 5) == [[5, 0, 25, 30, 1]]
    with pytest.warns(UserWarning, match="interpolated"):
        assert boxes(table, 20) == []
