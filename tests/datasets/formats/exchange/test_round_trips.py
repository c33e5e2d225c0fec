"""A table in any format and back is the same table, to the last digit that the format can hold."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes import Tubes
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.exchange.convert import (
    Annotations,
    convert_annotations,
    read_for_conversion,
)
from actiontubes.datasets.tables import Videos, make_videos, select_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LABELS = ("0-resting", "drink & drive", 'wälzen "x"', "write")
SIZE = (640, 480)
LENGTH, FPS = 60, 12.5
SEVERAL_BOXES = {"max_examples": 30, "deadline": None,
                 "suppress_health_check": [HealthCheck.function_scoped_fixture]}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, persons: bool = True, scores: bool = False) -> Tubes:
    """Tubes on adjacent frames; those of one person and label have a frame between them.

    All actions of a person share the box of a frame. Coordinates have any digits.
    """
    names = draw(st.lists(st.sampled_from(["alpha", "b/beta", "Tom & Ann <1>", "ça va"]),
                          min_size=1, max_size=3, unique=True))  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns: dict[str, list] = {
        key: [] for key in ("video", "frame", "label", "boxes", "tube", "person", "score")
    }
    tube = draw(st.integers(0, 5))
    for code in range(len(names)):
        for person in draw(st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True)):
            corner = rng.uniform(0, 100, (LENGTH, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(1, 300, (LENGTH, 2))], axis=1)
            taken: set[tuple[int, int]] = set()
            for _ in range(draw(st.integers(1, 4))):
                label = draw(st.integers(0, len(LABELS) - 1))
                first, length = draw(st.integers(0, LENGTH - 9)), draw(st.integers(2, 8))
                frames = range(first, first + length)
                if {(label, frame) for frame in range(first - 1, first + length + 1)} & taken:
                    continue
                taken |= {(label, frame) for frame in frames}
                for frame in frames:
                    values = (code, frame, label, boxes[frame], tube, person, rng.uniform())
                    for column, value in zip(columns.values(), values):
                        column.append(value)
                tube += draw(st.integers(1, 3))
    table = Tubes(
        video=np.array(columns["video"], np.int32), frame=np.array(columns["frame"], np.int32),
        label=np.array(columns["label"], np.int32), boxes=np.array(columns["boxes"]),
        tube=np.array(columns["tube"]), video_names=tuple(names), label_names=LABELS,
        person=np.array(columns["person"], np.int32) if persons else None,
        score=np.array(columns["score"]) if scores else None,
    )  # fmt: skip
    return select_rows(table, rng.permutation(len(table)))


def videos_of(table: Tubes) -> Videos:
    return make_videos(table.video_names, LENGTH, *SIZE, FPS)


def there_and_back(table: Tubes, target: str, out: Path, source: str | None = None,
                   files: FileOptions | None = None) -> Annotations:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given_ = Annotations(Path("table"), "a table", table, videos_of(table))
        convert_annotations(given_, target, out)  # type: ignore[arg-type]
        return read_for_conversion(out, source, files)


def as_rows(table: Tubes, *columns: str, digits: int | None = None) -> list[tuple]:
    """The rows sorted, tubes numbered by their first rows."""
    names = {"video": table.video_names, "label": table.label_names}
    values = [
        [names[key][code] for code in getattr(table, key)] if key in names
        else getattr(table, key).tolist()
        for key in columns if key != "tube"
    ]  # fmt: skip
    boxes = table.boxes if digits is None else table.boxes.round(digits)
    rows = sorted(zip(*values, map(tuple, boxes.tolist()), table.tube.tolist()))
    if "tube" not in columns:
        return [row[:-1] for row in rows]
    number: dict[int, int] = {}
    return [(*row[:-1], number.setdefault(row[-1], len(number))) for row in rows]


@pytest.mark.parametrize("ending", ["out.xml", "out.zip", "out"])
@settings(**SEVERAL_BOXES)
@given(table=tables())
def test_cvat(tmp_path_factory: pytest.TempPathFactory, ending: str, table: Tubes) -> None:
    out = tmp_path_factory.mktemp("cvat") / ending
    # Checkbox attributes of tracks that do two things at once are recognized as such.
    back = there_and_back(table, "cvat", out)
    assert back.format == "CVAT for video 1.1"
    assert isinstance(back.table, Tubes)
    columns = ("video", "frame", "label", "person")
    assert as_rows(back.table, *columns) == as_rows(table, *columns)
    if back.classes is not None and len(set(table.label)) == len(LABELS):
        assert set(back.classes.names) == set(LABELS)


@settings(**SEVERAL_BOXES)
@given(table=tables())
def test_tubes_in_cvat(tmp_path_factory: pytest.TempPathFactory, table: Tubes) -> None:
    out = tmp_path_factory.mktemp("cvat") / "out.xml"
    back = there_and_back(table, "cvat", out).table
    assert isinstance(back, Tubes)
    columns = ("video", "person", "label", "frame", "tube")
    assert as_rows(back, *columns) == as_rows(table, *columns)


@settings(**SEVERAL_BOXES)
@given(table=tables(scores=True))
def test_mot(tmp_path_factory: pytest.TempPathFactory, table: Tubes) -> None:
    back = there_and_back(table, "mot", tmp_path_factory.mktemp("mot") / "out")
    assert back.format == "MOT Challenge's text files"
    assert isinstance(back.table, Tubes)
    columns = ("video", "person", "label", "frame", "score", "tube")
    assert as_rows(back.table, *columns, digits=9) == as_rows(table, *columns, digits=9)


@settings(**SEVERAL_BOXES)
@given(table=tables(scores=True))
def test_coco(tmp_path_factory: pytest.TempPathFactory, table: Tubes) -> None:
    table = replace(table, tube_score=table.tube / 100)
    back = there_and_back(table, "coco", tmp_path_factory.mktemp("coco") / "out.json")
    assert back.format == "COCO's JSON"
    assert isinstance(back.table, Tubes)
    columns = ("video", "person", "label", "frame", "score", "tube_score", "tube")
    assert as_rows(back.table, *columns, digits=9) == as_rows(table, *columns, digits=9)
    assert back.videos is not None
    assert back.videos.num_frames.tolist() == [LENGTH] * len(table.video_names)
    assert back.videos.fps.tolist() == [FPS] * len(table.video_names)


@settings(**SEVERAL_BOXES)
@given(table=tables())
def test_act(tmp_path_factory: pytest.TempPathFactory, table: Tubes) -> None:
    back = there_and_back(table, "act", tmp_path_factory.mktemp("act") / "out.pkl")
    assert back.format == "ACT's pickles"
    assert isinstance(back.table, Tubes)
    columns = ("video", "label", "frame", "tube")
    assert as_rows(back.table, *columns) == as_rows(table, *columns)
    assert back.videos is not None
    assert set(back.videos.width) == {SIZE[0]}


@pytest.mark.parametrize("scores", [False, True])
@settings(**SEVERAL_BOXES | {"max_examples": 5})
@given(data=st.data())
def test_yowo(tmp_path_factory: pytest.TempPathFactory, scores: bool, data: st.DataObject) -> None:
    table = data.draw(tables(scores=scores))
    back = there_and_back(table, "yowo", tmp_path_factory.mktemp("yowo") / "out")
    assert back.format == "YOWO's text files"
    columns = ("video", "label", "frame", *["score"] * scores)
    assert as_rows(fake_tubes(back), *columns) == as_rows(table, *columns)


@pytest.mark.parametrize("scores", [False, True])
@settings(**SEVERAL_BOXES | {"max_examples": 5})
@given(data=st.data())
def test_ava(tmp_path_factory: pytest.TempPathFactory, scores: bool, data: st.DataObject) -> None:
    table = data.draw(tables(scores=scores))
    # Every key frame of a second: the others have no place in AVA's files.
    on_second = np.isin(table.frame, np.rint(np.arange(10) * FPS))
    table = select_rows(table, on_second)
    if not len(table):
        return
    out = tmp_path_factory.mktemp("ava") / "out.csv"
    read = there_and_back(table, "ava", out)
    assert read.format == "AVA's CSV"
    assert read.in_seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (line,) = convert_annotations(
            replace(read, videos=videos_of(table)), "table", out.with_name("back.csv")
        )
    assert str(len(table)) in line
    back = read_for_conversion(out.with_name("back.csv"))
    columns = ("video", "label", "frame", "score") if scores else (
        "video", "label", "frame"
    )  # fmt: skip
    assert as_rows(fake_tubes(back), *columns, digits=9) == as_rows(table, *columns, digits=9)


@pytest.mark.parametrize("ending", ["out.csv", "out.parquet", "out"])
@settings(**SEVERAL_BOXES)
@given(table=tables(scores=True))
def test_table(tmp_path_factory: pytest.TempPathFactory, ending: str, table: Tubes) -> None:
    back = there_and_back(table, "table", tmp_path_factory.mktemp("table") / ending)
    assert isinstance(back.table, Tubes)
    columns = ("video", "person", "label", "frame", "score", "tube")
    assert as_rows(back.table, *columns) == as_rows(table, *columns)


def fake_tubes(read: Annotations) -> Tubes:
    """Detections as tubes of one box each."""
    if isinstance(read.table, Tubes):
        return read.table
    return Tubes(**vars(read.table), tube=np.arange(len(read.table)))


ONE = Tubes(
    video=np.zeros(2, np.int32), frame=np.array([0, 1], np.int32), label=np.zeros(2, np.int32),
    boxes=np.array([[0.0, 0, 8, 9]] * 2), tube=np.zeros(2, int), score=np.array([0.5, 0.25]),
    tube_score=np.array([0.5, 0.5]), person=np.array([3, 3], np.int32),
    video_names=("alpha",), label_names=("walk",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        ("cvat", "a.xml", "CVAT has no score and no tube_score"),
        ("mot", "alpha.mot.txt", "MOT has no tube_score"),
        ("mot", "beta.txt", "MOT names a video by its file; call it alpha.mot.txt"),
        ("act", "a.pkl", "has no score, no tube_score, no person, no fps"),
        ("yowo", "a", "YOWO's files have no tube, no tube_score, no person"),
        ("ava", "a.csv", "AVA has no tube_score, no tube, no person"),
        ("ava", "a.csv", "1 of 2 boxes are on other frames"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_format_cannot_hold_is_said(
    tmp_path: Path, target: str, name: str, words: str
) -> None:
    with pytest.warns(UserWarning, match=words):
        convert_annotations(
            Annotations(Path("t"), "", ONE, videos_of(ONE)), target, tmp_path / name  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_a_person_with_two_boxes_a_frame_becomes_two_tracks(tmp_path: Path) -> None:
    double = replace(
        ONE, frame=np.array([0, 0], np.int32), tube=np.array([0, 1]),
        boxes=np.array([[0.0, 0, 8, 9], [1, 0, 8, 9]]), label=np.array([0, 1], np.int32),
        label_names=("walk", "wave"),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="1 persons have several boxes on a frame"):
        given_ = Annotations(Path("t"), "", double, videos_of(double))
        convert_annotations(given_, "cvat", tmp_path / "a.xml")
    back = read_for_conversion(tmp_path / "a.xml").table
    assert as_rows(back, "label", "frame", "tube") == as_rows(double, "label", "frame", "tube")


@pytest.mark.parametrize("target", ["cvat", "mot"])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, target: str, name: str) -> None:
    bad = replace(ONE, video_names=(name,), tube_score=None, score=None)
    given_ = Annotations(Path("t"), "", bad, videos_of(bad))
    with pytest.raises(InputError, match="cannot be the name of a file"):
        convert_annotations(given_, target, tmp_path / "out")  # type: ignore[arg-type]
    assert list(tmp_path.rglob("*evil*")) == []
