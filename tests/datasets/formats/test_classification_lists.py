"""Lists of labelled videos, as each data set's own files write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.classification_lists import VideoLists, read_list, read_lists
from actiontubes.datasets.video_names import strip_timestamps


def write(folder: Path, **files: str) -> Path:
    """Files by name, "__" for "/" and a last "_" for the dot."""
    for name, text in files.items():
        head, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{head}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


KINETICS = """label,youtube_id,time_start,time_end,split
riding a bike,-3B32lodo2M,59,69,train
"juggling, with balls",_2dh-xTVhbQ,5.0,15.0,train
"""


def test_kinetics(tmp_path: Path) -> None:
    validate = KINETICS.replace(",train", ",validate").replace("59,69", "100,110")
    write(tmp_path, train_csv=KINETICS, validate_csv=validate, test_csv="youtube_id,split\nx,test")
    lists = read_lists(tmp_path)
    assert lists == VideoLists(
        (
            ("-3B32lodo2M_000059_000069", "riding a bike"),
            ("_2dh-xTVhbQ_000005_000015", "juggling, with balls"),
        ),
        (
            ("-3B32lodo2M_000100_000110", "riding a bike"),
            ("_2dh-xTVhbQ_000005_000015", "juggling, with balls"),
        ),
    )
    assert read_lists(tmp_path / "validate.csv") == VideoLists((), lists.test)
    assert strip_timestamps(lists.train[0][0]) == "-3B32lodo2M"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KINETICS + "a,b,1\n", r"row 4: has 3 columns, the header has 5"),
        (KINETICS + "a,b,one,2,train\n", r"row 4: must have time_start and time_end"),
        (KINETICS + "a,b,1,inf,train\n", r"row 4: must have time_start and time_end"),
        (KINETICS + "a,b,1,2,mine\n", r"row 4: split mine must be train, validation or test"),
        (KINETICS + ",b,1,2,train\n", r"row 4: has no label; test lists"),
        ("youtube_id,time_start,time_end,split\nb,1,2,test\n", r"row 2: has no label"),
        ("label,youtube_id\n", "lists no videos"),
        ("", "lists no videos"),
        ("a.mp4\n", r"row 1: must be a path and a label, but has 1 columns"),
        ("a.mp4 1\n\nb.mp4,x,2\n", r"row 3: .* has 3 columns"),
    ],
)
def test_rows_that_cannot_be(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, list_csv=text)
    with pytest.raises(InputError, match=f"list.csv: {message}") as error:
        read_list(tmp_path / "list.csv")
    assert "\n" not in str(error.value)


def test_files_that_are_no_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match=r"list\.csv: is UTF-16"):
        read_list(tmp_path / "list.csv")
    with pytest.raises(InputError, match="absent: list or folder not found"):
        read_lists(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match="contains neither a list of videos nor FOLDER/CLASS/VIDEO"
    ):
        read_lists(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x/a b.mp4 3\ny.mp4 12\n", [("x/a b.mp4", "3"), ("y.mp4", "12")]),
        ("x/a.mp4,arm wrestling\n\n", [("x/a.mp4", "arm wrestling")]),
        ('"a,b.mp4",run\n', [("a,b.mp4", "run")]),
        ("a.mp4\tarm wrestling, slow\n", [("a.mp4", "arm wrestling, slow")]),
        ("\ufeffpath,label\na.mp4,run\n", [("a.mp4", "run")]),
    ],
)
def test_plain_lists(text: str, rows: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    assert [row[:2] for row in read_list(tmp_path / "list.txt")] == rows


def test_words_of_a_split(tmp_path: Path) -> None:
    """In any capitals; validation videos are tested where there are no test videos."""
    rows = "a.mp4,TRAIN,run\nb.mp4,Valid,sit\n"
    write(tmp_path, list_csv=f"video,split,label\n{rows}")
    assert read_lists(tmp_path / "list.csv").test == (("b.mp4", "sit"),)
    write(tmp_path, list_csv=f"video,split,label\n{rows}c.mp4,Test,sit\n")
    with pytest.warns(UserWarning, match=r"ignoring 1 validation videos \(b\.mp4\)"):
        lists = read_lists(tmp_path / "list.csv")
    assert lists.train == (("a.mp4", "run"),) and lists.test == (("c.mp4", "sit"),)


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    write(tmp_path, list_csv="video,split,label\na.mp4,train,run\nb.mp4,val,sit\n")
    assert read_lists(tmp_path / "list.csv") == VideoLists((("a.mp4", "run"),), (("b.mp4", "sit"),))


def ucf101(folder: Path, **changes: str) -> Path:
    files = {
        "classInd_txt": "1 ApplyLipstick\n2 Archery\n",
        "trainlist01_txt": "Archery/v_Archery_g08_c01.avi 2\nApplyLipstick/v_a_g08_c02.avi 1\n",
        "testlist01_txt": "Archery/v_Archery_g01_c01.avi\n\n",
        "trainlist02_txt": "Archery/v_Archery_g01_c01.avi 2\n",
        "testlist02_txt": "Archery/v_Archery_g08_c01.avi\n",
    }
    return write(folder, **{f"ucfTrainTestlist__{k}": v for k, v in (files | changes).items()})


def test_ucf101(tmp_path: Path) -> None:
    lists = read_lists(ucf101(tmp_path))
    assert lists.train == (
        ("Archery/v_Archery_g08_c01.avi", "Archery"),
        ("ApplyLipstick/v_a_g08_c02.avi", "ApplyLipstick"),
    )
    assert lists.test == (("Archery/v_Archery_g01_c01.avi", "Archery"),)
    assert lists.labels == ("ApplyLipstick", "Archery") and lists.numbered
    assert read_lists(tmp_path / "ucfTrainTestlist", 2).test == lists.train[:1]
    with pytest.raises(InputError, match=r"trainlist03\.txt: list not found; UCF101 has .* 1 to 3"):
        read_lists(tmp_path, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainlist01_txt": "Archery/a.avi 1\n"}, r"trainlist01\.txt: row 1: Archery is class 2"),
        (
            {"trainlist01_txt": "\nRun/a.avi 1\n"},
            r"trainlist01\.txt: row 2: Run/a.avi must be CLASS/VIDEO",
        ),
        ({"testlist01_txt": "a.avi\n"}, r"testlist01\.txt: row 1: a.avi must be CLASS/VIDEO"),
        ({"classInd_txt": "Archery\n"}, r"classInd\.txt: row 1: must be a number and a class"),
    ],
)
def test_lists_of_ucf101_that_cannot_be(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_lists(ucf101(tmp_path, **changes))


def test_hmdb51(tmp_path: Path) -> None:
    """1 is training, 2 testing, 0 neither."""
    for name in ("brush_hair", "cartwheel"):
        for k, codes in ((1, (1, 2, 0)), (2, (0, 1, 2))):
            text = "".join(f"{name} #{i}.avi {code} \n" for i, code in enumerate(codes))
            (tmp_path / f"{name}_test_split{k}.txt").write_text(text)
    lists = read_lists(tmp_path)
    names = ("brush_hair", "cartwheel")
    assert lists == VideoLists(
        tuple((f"{name}/{name} #0.avi", name) for name in names),
        tuple((f"{name}/{name} #1.avi", name) for name in names),
        names,
        numbered=True,
    )
    assert read_lists(tmp_path, 2).test[0] == ("brush_hair/brush_hair #2.avi", "brush_hair")
    with pytest.raises(InputError, match="has no lists of split 3; HMDB51 has splits 1 to 3"):
        read_lists(tmp_path, 3)
    (tmp_path / "cartwheel_test_split1.txt").write_text("a.avi 1\nb.avi 3\n")
    with pytest.raises(
        InputError, match=r"cartwheel_test_split1\.txt: row 2: must be a video and 1"
    ):
        read_lists(tmp_path)


def test_something_something_v1(tmp_path: Path) -> None:
    prefix = "something-something-v1"
    (tmp_path / f"{prefix}-train.csv").write_text("10;Holding something\n11;Turning, twice\n")
    (tmp_path / f"{prefix}-validation.csv").write_text("7;Holding something\n")
    (tmp_path / f"{prefix}-test.csv").write_text("8\n9\n")
    (tmp_path / f"{prefix}-labels.csv").write_text("Turning, twice\nHolding something\n")
    assert read_lists(tmp_path) == VideoLists(
        (("10", "Holding something"), ("11", "Turning, twice")),
        (("7", "Holding something"),),
        ("Turning, twice", "Holding something"),
    )
    with pytest.raises(InputError, match=r"--split 2: .* has only one split"):
        read_lists(tmp_path, 2)


def test_something_something_v2(tmp_path: Path) -> None:
    row = {"id": "5", "label": "holding a cup", "template": "Holding [something]"}
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps([row]))
    (folder / "validation.json").write_text(json.dumps([{**row, "id": "6"}]))
    (folder / "test.json").write_text(json.dumps([{"id": "7"}]))
    (folder / "labels.json").write_text(json.dumps({"Holding something": "1", "Turning it": "0"}))
    labels = ("Turning it", "Holding something")
    assert read_lists(tmp_path) == VideoLists(
        (("5", "Holding something"),), (("6", "Holding something"),), labels
    )
    with pytest.raises(InputError, match=r"test\.json: entry 1: has no template; test lists"):
        read_list(folder / "test.json")
    for text, message in (
        ("{", "is not valid JSON"),
        ("{}", "must be a list with an item for each entry, not a dict"),
    ):
        (folder / "other.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_list(folder / "other.json")
    for numbers, message in (
        (["Holding something"], "must be a dict by label, not a list"),
        ({"Holding something": "one"}, "label Holding something: must be a number of its own"),
        (
            {"Holding something": "1", "Turning it": "1"},
            ".*Turning it: must be a number of its",
        ),
        ({"Holding something": None}, "label Holding something: must be text, not None"),
    ):
        (folder / "labels.json").write_text(json.dumps(numbers))
        with pytest.raises(InputError, match=rf"labels\.json: {message}"):
            read_lists(tmp_path)


def test_class_folders(tmp_path: Path) -> None:
    for name in ("train/run/a.mp4", "train/run/deep/b.AVI", "val/sit/c.webm", "val/sit/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "val/sit/frames").mkdir()
    (tmp_path / "val/sit/frames/00001.jpg").touch()
    assert read_lists(tmp_path) == VideoLists(
        (("train/run/a.mp4", "run"), ("train/run/deep/b.AVI", "run")),
        (("val/sit/c.webm", "sit"), ("val/sit/frames", "sit")),
    )
    assert read_lists(tmp_path / "train").train == (("run/a.mp4", "run"), ("run/deep/b.AVI", "run"))
