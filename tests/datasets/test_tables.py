"""The three tables: what is written is read again, and what breaks a convention is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.labels import normalize_label
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import (
    Actions,
    Detections,
    Tracks,
    Tubes,
    Videos,
    file_columns,
    select_rows,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ENDINGS = ("parquet", "csv")
DETECTIONS = {
    "video": ["b", "a", "b"], "frame": [0, 7, 1], "label": ["run", "run", "jump"],
    "score": [0.5, 0.25, 1.0], "x1": [1.0, 2, 3], "y1": [1.5, 2, 3], "x2": [4.0, 2, 9],
    "y2": [5.0, 8, 9],
}  # fmt: skip
TUBES = {
    "video": ["a", "a", "b"], "frame": [3, 4, 3], "label": ["run", "run", "jump"],
    "x1": [1, 2, 3], "y1": [1, 2, 3], "x2": [4, 2, 9], "y2": [5, 8, 9], "tube": [7, 7, 2],
}  # fmt: skip
VIDEOS = {"video": ["x/b", "a"], "num_frames": [10, 3], "width": [320, 4], "height": [240, 2]}


def save(columns: Mapping[str, Any], path: Path) -> Path:
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, field.name)
        else:
            assert a == b, field.name


TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Cf")), min_size=1, max_size=8
).filter(str.strip) | st.sampled_from(
    ["001", "NA", "null", "1e5", 'a "quoted", name', "True", "x/y z.é"]
)
NAMES = st.lists(TEXT, min_size=1, max_size=4, unique=True)
LABELS = st.lists(
    TEXT.map(lambda text: normalize("NFC", text).strip()),
    min_size=1,
    max_size=4,
    unique_by=normalize_label,
)
COORDINATE = st.floats(-1e4, 1e4)


@st.composite
def tables(draw) -> Detections | Tubes:
    video_names = tuple(sorted(draw(NAMES)))
    label_names = tuple(sorted(draw(LABELS)))
    # Every name is used: a name without rows has no place in a file.
    count = max(len(video_names), len(label_names))
    video = np.arange(count, dtype=np.int32) % len(video_names)
    label = np.arange(count, dtype=np.int32) % len(label_names)
    frame = np.array(draw(st.lists(st.integers(0, 10**8), min_size=count, max_size=count)))
    corner = np.array(draw(st.lists(COORDINATE, min_size=2 * count, max_size=2 * count)))
    extent = np.array(draw(st.lists(st.floats(0, 1e3), min_size=2 * count, max_size=2 * count)))
    low = corner.reshape(-1, 2)
    boxes = np.concatenate([low, low + extent.reshape(-1, 2)], axis=1)
    score = np.array(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    frame = frame.astype(np.int32)
    if draw(st.booleans()):
        return Detections(video, frame, label, score, boxes, video_names, label_names)
    tube = np.array(draw(st.lists(st.integers(-(2**62), 2**62), min_size=count, max_size=count,
                                  unique=True)), np.int64)  # fmt: skip
    scores = {"score": score, "tube_score": score} if draw(st.booleans()) else {}
    return Tubes(video, frame, label, boxes, tube, video_names, label_names, **scores)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=tables())
def test_round_trip(tmp_path: Path, ending: str, table: Detections | Tubes) -> None:
    path = tmp_path / f"table.{ending}"
    write_table(table, path)
    assert_same(read_table(type(table), path), table)


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip_of_videos(tmp_path: Path, ending: str) -> None:
    videos = Videos(("x/b", "a"), np.array([10, 3]), np.array([320, 4]), np.array([240, 2]),
                    np.array([29.97, np.nan]), ("train", ""))  # fmt: skip
    write_table(videos, tmp_path / f"videos.{ending}")
    assert_same(read_table(Videos, tmp_path / f"videos.{ending}"), videos)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("kind", "columns"), [(Detections, DETECTIONS), (Tubes, TUBES)])
def test_round_trip_of_no_rows(tmp_path: Path, kind: type, columns: dict, ending: str) -> None:
    full = read_table(kind, save(columns, tmp_path / "full.parquet"))
    write_table(select_rows(full, np.zeros(3, bool)), tmp_path / f"none.{ending}")
    none = read_table(kind, tmp_path / f"none.{ending}")
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.video_names == ()
    if kind is Tubes:
        assert (none.tube_score is None) == (full.tube_score is None)
    assert none.frame.dtype == np.int32


def test_the_files_hold_strings_and_the_named_columns(tmp_path: Path) -> None:
    table = read_table(Detections, save(DETECTIONS, tmp_path / "a.parquet"))
    write_table(table, tmp_path / "b.parquet")
    stored = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    assert stored.column_names == list(DETECTIONS)
    assert stored.schema.field("video").type == pa.string()
    assert stored.to_pydict() == DETECTIONS


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_others_write(tmp_path: Path, ending: str) -> None:
    """Other column orders, further columns, whole numbers for floats, names that are numbers."""
    columns = {"note": ["x", "y", "z"], **dict(reversed(TUBES.items())), "video": ["1", "1", "02"]}
    tubes = read_table(Tubes, save(columns, tmp_path / f"a.{ending}"))
    assert tubes.video_names == ("02", "1") and tubes.video.tolist() == [1, 1, 0]
    assert tubes.boxes.dtype == np.float64 and tubes.tube.tolist() == [7, 7, 2]
    assert tubes.score is None and tubes.tube_score is None


def test_csv_of_spreadsheets(tmp_path: Path) -> None:
    text = "video,frame,label,score,x1,y1,x2,y2\r\n7,1.0,run,1e-3,0,0,1,1\r\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_table(Detections, tmp_path / "a.csv")
    assert (found.video_names, found.frame.tolist(), found.score.tolist()) == (("7",), [1], [1e-3])


@pytest.mark.parametrize("ending", ENDINGS)
def test_tube_numbers_that_start_again_in_each_video(tmp_path: Path, ending: str) -> None:
    columns = {**TUBES, "video": ["b", "a", "b"], "frame": [3, 4, 4], "label": ["run"] * 3,
               "tube": [0, 0, 0]}  # fmt: skip
    tubes = read_table(Tubes, save(columns, tmp_path / f"a.{ending}"))
    assert tubes.tube[0] == tubes.tube[2] != tubes.tube[1]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            Detections,
            {"frame": [0, -1, -2]},
            r"row 2 \(and 1 more row\): frame must be between 0 and 100000000, not -1",
        ),
        (Detections, {"frame": [0, 1.5, 2]}, "row 2: frame 1.5 is not a whole number"),
        (Detections, {"frame": [0, 1, 2**31]}, "row 3: frame 2147483648 is too large or too small"),
        (
            Detections,
            {"frame": ["x", "y", "z"]},
            "row 1 .and 2 more rows.: frame must be a number, not 'x'",
        ),
        (Detections, {"frame": [0, None, 2]}, "row 2: frame is empty"),
        (Detections, {"score": [0.1, 0.2, 1.5]}, "row 3: score must be between 0 and 1, not 1.5"),
        (Detections, {"score": [0.1, float("nan"), 1]}, "row 2: score is NaN or infinite"),
        (Detections, {"x1": [0.0, float("inf"), 0]}, "row 2: x1 is NaN or infinite"),
        (Detections, {"x2": [0.0, 9, 9]}, "row 1: x2 < x1 or y2 < y1 in "),
        (Detections, {"video": ["a", None, "b"]}, "row 2: video is empty"),
        (Detections, {"label": None}, "column label is missing; the file has video, frame, score"),
        (Tubes, {"tube": None}, "column tube is missing"),
        (Tubes, {"frame": [3, 3, 3]}, "row 2: this tube has this frame twice"),
        (Tubes, {"tube_score": [0.1, 0.2, 0.3]}, "row 2: tube_score must be the same in all rows"),
        (Tubes, {"tube_score": [0.1, None, 0.3]}, "row 2: tube_score is empty"),
        (Videos, {"video": ["a", "a"]}, "row 2: video a is listed twice"),
        (
            Videos,
            {"num_frames": [0, 3]},
            "row 1: num_frames must be between 1 and 100000000, not 0",
        ),
        (
            Videos,
            {"fps": ["fast", "slow"]},
            "row 1 .and 1 more row.: fps must be a number, not 'fast'",
        ),
        (Videos, {"fps": [25.0, float("inf")]}, "row 2: fps is inf"),
        (Videos, {"fps": [-3.0, 25]}, "row 1: fps must be greater than 0, not -3"),
        (
            Tubes,
            {"tube_score": [7.0, 7.0, 1]},
            "row 1 .and 1 more row.: tube_score must be between 0 and 1, not 7",
        ),
        (
            Tubes,
            {"label": ["run", "Run", "run"]},
            "labels 'Run' and 'run' differ only in how they are written",
        ),
        (
            Tubes,
            {"label": ["long jump", "long-jump", "long jump"]},
            "labels 'long jump' and 'long-jump' differ only in how they are written",
        ),
        (Tubes, {"label": ["run", " ", "run"]}, "a label is empty"),
    ],
)
def test_what_breaks_a_convention_is_named(
    tmp_path: Path, kind: type, change: dict[str, Any], message: str, ending: str
) -> None:
    columns = {Detections: DETECTIONS, Tubes: TUBES, Videos: VIDEOS}[kind] | change
    columns = {name: values for name, values in columns.items() if values is not None}
    path = save(columns, tmp_path / f"bad.{ending}")
    with pytest.raises(InputError, match=message) as error:
        read_table(kind, path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "column video, .* is missing; the file has no columns"),
        (
            "a.csv",
            b"video,frame,label,score,x1,y1,x2,y2\na,1,2\n",
            "cannot be read as a table .*Expected 8 columns, got 3",
        ),
        ("a.csv", b"video;frame;label\na;0;b\n", "column score, x1, y1, x2, y2 is missing"),
        ("a.csv", "video,frame\na,1\n".encode("utf-16"), "is UTF-16; save the file as UTF-8"),
        ("a.csv", b"frame,x,frame\n1,2,3\n", "has 2 columns named frame; keep one of them"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as a table"),
        ("a.parquet", b"", "cannot be read as a table"),
        ("a.txt", b"", "a table must be a .parquet or .csv file"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(Detections, tmp_path / name)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "video;frame;label;score;x1;y1;x2;y2\na;3;run;0.5;1.5;2;3;4\n",
            "separated by semicolons$",
        ),
        ("video\tframe\tlabel\tscore\tx1\ty1\tx2\ty2\na\t3\trun\t0.5\t1.5\t2\t3\t4\n", "by tabs$"),
        (
            "video;frame;label;score;x1;y1;x2;y2\na;3;run;0,5;1,5;2;3;4\n",
            "separated by semicolons, with decimal commas",
        ),
        (
            "Video, Frame, label, score, x1, y1, x2, y2\na, 3, run , 0.5, 1.5, 2, 3, 4\n",
            "columns 'Video', ' Frame', .* are read without capitals and blanks",
        ),
    ],
)
def test_other_csv_dialects(tmp_path: Path, text: str, warning: str) -> None:
    (tmp_path / "a.CSV").write_text(text, encoding="utf-8")
    with pytest.warns(UserWarning, match=warning):
        read = read_table(Detections, str(tmp_path / "a.CSV"))
    assert (read.video_names, read.label_names, read.frame.tolist()) == (("a",), ("run",), [3])
    assert (read.score.tolist(), read.boxes.tolist()) == ([0.5], [[1.5, 2, 3, 4]])


@pytest.mark.parametrize("ending", ENDINGS)
def test_whole_numbers_as_names(tmp_path: Path, ending: str) -> None:
    columns = {**DETECTIONS, "label": [1, 0, 1]}
    read = read_table(Detections, save(columns, tmp_path / f"a.{ending}"))
    assert read.label_names == ("0", "1") and read.label.tolist() == [1, 0, 1]


def test_a_persons_number_as_tube(tmp_path: Path) -> None:
    """Stretches of one label are tubes: run, sit, run; and what is done at the same time."""
    rows = [(0, "run"), (1, "run"), (2, "sit"), (3, "run"), (3, "wave"), (5, "run")]
    columns = {
        "video": ["a"] * 6, "frame": [frame for frame, _ in rows],
        "label": [label for _, label in rows], "tube": [4] * 6,
        **dict.fromkeys(("x1", "y1"), [1.0] * 6), **dict.fromkeys(("x2", "y2"), [9.0] * 6),
    }  # fmt: skip
    with pytest.warns(UserWarning, match="1 tubes have several labels .the first is tube 4."):
        tubes = read_table(Tubes, save(columns, tmp_path / "a.csv"))
    groups = [np.flatnonzero(tubes.tube == tube).tolist() for tube in np.unique(tubes.tube)]
    assert sorted(groups) == [[0, 1], [2], [3, 5], [4]]


def test_a_cut_off_parquet_file(tmp_path: Path) -> None:
    path = save(DETECTIONS, tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_table(Detections, path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.csv: file not found"):
        read_table(Detections, tmp_path / "a.csv")
    table = read_table(Detections, save(DETECTIONS, tmp_path / "b.parquet"))
    with pytest.raises(InputError, match=r"must be a .parquet or .csv"):
        write_table(table, tmp_path / "a.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["b.parquet"]


def test_rows_by_number_and_by_mask(tmp_path: Path) -> None:
    table = read_table(Detections, save(DETECTIONS, tmp_path / "a.parquet"))
    by_number = select_rows(table, np.array([2, 0]))
    assert by_number.frame.tolist() == [1, 0] and by_number.video_names == table.video_names
    assert by_number.boxes.tolist() == [[3, 3, 9, 9], [1, 1.5, 4, 5]]
    assert_same(
        select_rows(table, np.array([True, False, True])), select_rows(by_number, np.array([1, 0]))
    )


TRACKS = {
    "video": ["a", "a", "b"], "person": [1, 1, 1], "frame": [3, 4, 3], "score": [0.5, 0.25, 1.0],
    "x1": [1.0, 2, 3], "y1": [1.5, 2, 3], "x2": [4.0, 2, 9], "y2": [5.0, 8, 9],
}  # fmt: skip
ACTIONS = {
    "video": ["a", "a"], "person": [1, 2], "label": ["run", "sit"], "start": [0.0, 1.5],
    "end": [2.0, 1.6], "first_frame": [0, 30], "last_frame": [49, 31], "score": [0.5, 0.75],
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("kind", "columns"), [(Tracks, TRACKS), (Actions, ACTIONS)])
def test_tracks_and_actions(tmp_path: Path, kind: type, columns: dict, ending: str) -> None:
    assert file_columns(kind) == tuple(columns)
    table = read_table(kind, save(columns, tmp_path / f"a.{ending}"))
    assert len(table) == len(columns["video"]) and table.person.tolist() == columns["person"]
    write_table(table, tmp_path / f"b.{ending}")
    assert_same(read_table(kind, tmp_path / f"b.{ending}"), table)
    write_table(table, tmp_path / "c.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "c.parquet").to_pydict() == columns


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("kind", "columns"), [(Detections, DETECTIONS), (Tubes, TUBES)])
def test_persons_are_an_optional_column(
    tmp_path: Path, kind: type, columns: dict, ending: str
) -> None:
    assert read_table(kind, save(columns, tmp_path / f"a.{ending}")).person is None
    table = read_table(kind, save({**columns, "person": [2, 2, 1]}, tmp_path / f"b.{ending}"))
    assert table.person.dtype == np.int32 and table.person.tolist() == [2, 2, 1]
    write_table(table, tmp_path / f"c.{ending}")
    assert_same(read_table(kind, tmp_path / f"c.{ending}"), table)
    assert select_rows(table, np.array([2])).person.tolist() == [1]


@pytest.mark.parametrize("ending", ENDINGS)
def test_persons_and_tubes_that_are_text(tmp_path: Path, ending: str) -> None:
    columns = {**TUBES, "tube": ["t2", "t2", "t2"], "person": ["Ann", "Ann", "Bob"]}
    path = save(columns, tmp_path / f"a.{ending}")
    with pytest.warns(UserWarning) as warned:
        tubes = read_table(Tubes, path)
    assert [str(warning.message) for warning in warned] == [
        f"{path}: column tube contains text; its 1 different values are numbered",
        f"{path}: column person contains text; its 2 different values are numbered",
    ]
    assert tubes.person.tolist() == [1, 1, 2]
    assert tubes.tube[0] == tubes.tube[1] != tubes.tube[2]  # the same text in another video


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Tracks, {"person": [1, 0, 1]}, "row 2: person must be 1 or more"),
        (Tracks, {"frame": [3, 3, 3]}, "row 2: this person has this frame twice"),
        (Tracks, {"score": None}, "column score is missing"),
        (Actions, {"end": [2.0, 1.0]}, "row 2: the action ends before it starts"),
        (Actions, {"last_frame": [49, 29]}, "row 2: the action ends before it starts"),
        (Detections, {"person": [1, 2, 0]}, "row 3: person must be 1 or more"),
        (Tubes, {"person": [1, 2, 1]}, "row 2: person must be the same in all rows of a tube"),
    ],
)
def test_persons_that_break_a_convention(
    tmp_path: Path, kind: type, change: dict[str, Any], message: str
) -> None:
    columns = {Tracks: TRACKS, Actions: ACTIONS, Detections: DETECTIONS, Tubes: TUBES}[kind]
    columns = {name: v for name, v in {**columns, **change}.items() if v is not None}
    with pytest.raises(InputError, match=message):
        read_table(kind, save(columns, tmp_path / "bad.parquet"))


def test_columns_under_the_names_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("filename,Frame_id,class,xmin,ymin,xmax,ymax,track_id\na,3,run,1,2,30,40,7\n")
    with pytest.warns(UserWarning, match="reading column filename as video, Frame_id as frame, "):
        table = read_table(Tubes, path)
    assert table.video_names == ("a",) and table.label_names == ("run",)
    assert table.frame.tolist() == [3] and table.boxes.tolist() == [[1, 2, 30, 40]]
    path.write_text("filename,clip,frame,class,x1,y1,x2,y2,tube\na,b,3,run,1,2,30,40,7\n")
    with pytest.raises(InputError, match=r"2 columns named video \(filename, clip\); keep one"):
        read_table(Tubes, path)
