"""What can be read in several ways is certain, or asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.class_list import ClassList
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.registry import (
    read_annotations,
    read_detections,
    read_ground_truth,
)

TUBES = "video,frame,label,x1,y1,x2,y2,tube\n"
BOXES = "video,frame,label,score,x1,y1,x2,y2\n"
VIDEOS = "video,num_frames,width,height\n"


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_fractions_become_pixels_where_sizes_are_known(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        groundtruth=TUBES + "a,0,run,0.25,0.5,0.5,1,0\nb,0,run,0.5,0.25,1,0.75,1\n",
        videos=VIDEOS + "a,9,200,100\nb,9,400,80\n",
        boxes=BOXES + "a,3,run,0.9,0.25,0.5,1.01,1\n",
    )
    with pytest.warns(UserWarning, match="boxes are fractions of the frame and were converted"):
        truth = read_annotations(folder)
    assert truth.box_unit == "pixel"
    assert truth.tubes.boxes.tolist() == [[50, 50, 100, 100], [200, 20, 400, 60]]
    with pytest.warns(UserWarning, match="were converted to pixels"):
        detections = read_detections(folder / "boxes.csv", truth)
    assert detections.boxes.tolist() == [[50, 50, 202, 100]]


def test_fractions_without_sizes(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        fractions=TUBES + "a,0,run,0.25,0.5,0.5,1,0\n",
        pixels=TUBES + "a,0,run,10,20,30,40,0\n",
        fraction_boxes=BOXES + "a,3,run,0.9,0.25,0.5,1,1\n",
        pixel_boxes=BOXES + "a,3,run,0.9,10,20,30,40\n",
    )
    truth = read_annotations(folder / "fractions.csv")
    assert truth.box_unit == "fraction"
    assert read_detections(folder / "fraction_boxes.csv", truth).boxes.max() == 1
    with pytest.raises(InputError, match="boxes are pixels, those of the ground truth are frac"):
        read_detections(folder / "pixel_boxes.csv", truth)
    pixels = read_annotations(folder / "pixels.csv")
    with pytest.raises(InputError, match=r"fraction_boxes.csv: the boxes are fractions .*--boxes"):
        read_detections(folder / "fraction_boxes.csv", pixels)
    by_user = FileOptions(box_unit="pixel")
    assert read_detections(folder / "fraction_boxes.csv", pixels, by_user).boxes[0, 0] == 0.25
    with pytest.warns(UserWarning, match="a box reaches to 40, so these are read as pixels"):
        by_user = FileOptions(box_unit="fraction")
        assert read_annotations(folder / "pixels.csv", by_user).box_unit == "pixel"


def test_frames_that_count_from_1(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        groundtruth=TUBES + "a,1,run,1,2,3,4,0\na,2,run,1,2,3,4,0\n",
        videos=VIDEOS + "a,2,200,100\n",
    )
    with pytest.raises(InputError, match=r"video a, frame 2: .*or give --first-frame 1"):
        read_annotations(folder)
    assert read_annotations(folder, FileOptions(first_frame=1)).tubes.frame.tolist() == [0, 1]
    truth = read_annotations(folder, FileOptions(first_frame=1))
    boxes = written(folder, boxes=BOXES + "a,0,run,0.9,1,2,3,4\n") / "boxes.csv"
    with pytest.warns(UserWarning, match="has a frame 0, so its frames count from 0"):
        assert read_detections(boxes, truth, FileOptions(first_frame=1)).frame.tolist() == [0]


def test_class_numbers(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        truth=TUBES + "a,0,1,1,2,3,4,0\na,0,2,1,2,3,4,1\n",
        zero=TUBES + "a,0,0,1,2,3,4,0\na,0,1,1,2,3,4,1\n",
        open=TUBES + "a,0,1,1,2,3,4,0\n",
        list="1,bend\n2,jump\n3,walk\n",
    )
    (folder / "order.txt").write_text("bend\njump\n")
    (folder / "longer.txt").write_text("bend\njump\nwalk\n")

    def names(table: str, classes: str) -> tuple[str, ...]:
        options = FileOptions(classes=folder / classes)
        return read_ground_truth(folder / table, files=options)[0].label_names

    assert names("truth.csv", "list.csv") == ("bend", "jump")
    assert names("truth.csv", "order.txt") == ("bend", "jump")  # 2 of 2: they count from 1
    assert names("zero.csv", "longer.txt") == ("bend", "jump")
    with pytest.raises(InputError, match=r"may count from 0 or from 1; write the number before"):
        names("open.csv", "longer.txt")
    with pytest.raises(InputError, match=r"class number 0 has no name in .*list.csv"):
        names("zero.csv", "list.csv")


def test_numbers_need_a_list_where_tables_have_names(tmp_path: Path) -> None:
    folder = written(tmp_path, truth=TUBES + "a,0,walk,1,2,3,4,0\na,0,jump,1,2,3,4,1\n")
    (folder / "text").mkdir()
    (folder / "text/a_00001.txt").write_text("2 0.5 10 20 30 40\n")
    truth = read_annotations(folder / "truth.csv")
    with pytest.raises(InputError, match=r"holds class numbers.* with --classes"):
        read_detections(folder / "text", truth)
    (folder / "order.txt").write_text("walk\njump\n")
    detections = read_detections(folder / "text", truth, FileOptions(classes=folder / "order.txt"))
    assert detections.label_names[detections.label[0]] == "jump"


def test_classes_of_a_known_data_set_have_an_order(tmp_path: Path) -> None:
    from actiontubes.datasets.formats.jhmdb import CLASSES

    rows = "".join(f"a,{i},{name},1,2,3,4,{i}\n" for i, name in enumerate(reversed(CLASSES)))
    truth = read_annotations(written(tmp_path, truth=TUBES + rows) / "truth.csv")
    assert truth.classes == ClassList(CLASSES)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"videos": VIDEOS + "b,9,200,100\n"}, r"videos.csv: has no row for video a of ground"),
        (
            {"videos": VIDEOS + "x/a.mp4,9,200,100\n", "groundtruth": TUBES +
             "x/a,0,run,1,2,3,4,0\na,0,run,1,2,3,4,1\n"},
            r"videos a and x/a are both x/a.mp4 of videos.csv",
        ),
    ],
)  # fmt: skip
def test_videos_of_the_table(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = written(tmp_path, **{"groundtruth": TUBES + "a,0,run,1,2,3,4,0\n"} | files)
    with pytest.raises(InputError, match=message):
        read_annotations(folder)


def test_names_of_the_table_of_videos(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        groundtruth=TUBES + "a,0,run,1,2,3,4,0\n",
        videos=VIDEOS + "A.mp4,9,200,100\n",
    )
    tubes, videos = read_ground_truth(folder)
    assert videos is not None and (tubes.video_names, videos.video) == (("a",), ("a",))
    (folder / "groundtruth.parquet").touch()
    with pytest.raises(InputError, match=r"has groundtruth.csv and groundtruth.parquet; keep"):
        read_ground_truth(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a,0,run,0.9,0.25,0.5,0.5,1\nb,0,run,0.9,10,20,30,40\n",
            "that of video b, frame 0 in pixels",
        ),
        (
            "a,0,run,0.9,0,0,1,1\n",
            r"all coordinates are 0 or 1.* --boxes pixel or --boxes fraction",
        ),
    ],
)
def test_units_that_are_not_certain(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_detections(written(tmp_path, boxes=BOXES + rows) / "boxes.csv")


@pytest.mark.parametrize("names", [("alpha", "alpha.mp4"), ("alpha", "Alpha"), ("x/a", "x\\a")])
def test_two_names_of_one_video(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = "".join(f"{name},0,run,1,2,3,4,{i}\n" for i, name in enumerate(names))
    with pytest.raises(InputError, match="seem to be one; give each video one name"):
        read_annotations(written(tmp_path, truth=TUBES + rows) / "truth.csv")


@pytest.mark.parametrize(
    "name", ["test1.txt", "Test1.TXT", "testlist01.txt", "test.txt", "val.txt"]
)
def test_lists_of_a_folder(tmp_path: Path, name: str) -> None:
    rows = "a,0,run,1,2,3,4,0\nb,0,run,1,2,3,4,1\nc,0,run,1,2,3,4,1\n"
    folder = written(tmp_path, groundtruth=TUBES + rows)
    (folder / "splits").mkdir()
    (folder / "splits/train1.txt").write_text("a\n")
    (folder / "splits" / name).write_text("b\n")
    with pytest.warns(UserWarning, match=r"1 videos are in no list of split 1 .c."):
        assert read_ground_truth(folder)[0].video_names == ("b",)
    (folder / "splits" / name).rename(folder / "splits" / "first.txt")
    with (
        pytest.raises(InputError, match=r"none for testing; choose the videos .* --videos"),
        pytest.warns(UserWarning, match=r"1 files are no list of a part .first.txt."),
    ):
        read_ground_truth(folder)
    (folder / "splits/train1.txt").unlink()
    with pytest.raises(InputError, match=r"first.txt: name a list of videos train1.txt"):
        read_ground_truth(folder)


def test_a_row_that_breaks_a_rule_in_any_format(tmp_path: Path) -> None:
    """Formats without rows name video and frame, as this ACT pickle."""
    import pickle

    tube = np.array([[1.0, 10, 20, 30, 40], [1, 10, 20, 30, 40]])
    content = {
        "labels": ["run"], "gttubes": {"a": {0: [tube]}}, "nframes": {"a": 9},
        "resolution": {"a": (100, 200)}, "train_videos": [[]], "test_videos": [["a"]],
    }  # fmt: skip
    (tmp_path / "gt.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"this tube has this frame twice|frame 1 twice"):
        read_annotations(tmp_path / "gt.pkl")
