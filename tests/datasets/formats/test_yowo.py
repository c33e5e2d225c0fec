"""YOWO's folders of text files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.box_coordinates import BoxUnit
from actiontubes.datasets.class_list import ClassList
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.datasets.formats.annotation_format import GroundTruth
from actiontubes.datasets.formats.registry import read_detections
from actiontubes.datasets.tables import Tubes, make_videos


def truth() -> GroundTruth:
    whole = np.zeros(1, np.int32)
    names = ("Basketball/v_Basketball_g01_c01", "Diving/v_Diving_g01_c01")
    classes = ("Basketball", "Diving")
    tubes = Tubes(whole, whole, whole, np.ones((1, 4)), np.zeros(1, np.int64), names, classes)
    return GroundTruth(path=Path("truth"), tubes=tubes, classes=ClassList(classes))


def test_folder(tmp_path: Path) -> None:
    name = "Basketball_v_Basketball_g01_c01_00009.txt"
    (tmp_path / name).write_text("1 0.5 10 20 30 40\n2 0.25 1 2 3 4\n")
    (tmp_path / "Diving_v_Diving_g01_c01_00001.txt").write_text("")
    boxes = read_detections(tmp_path, truth())
    assert boxes.frame.tolist() == [8, 8]
    assert boxes.label.tolist() == [0, 1]
    assert boxes.score.tolist() == [0.5, 0.25]
    assert boxes.boxes.tolist() == [[10, 20, 30, 40], [1, 2, 3, 4]]


DIVING = "Diving_v_Diving_g01_c01"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (f"{DIVING}.txt.txt", "1 0.5 1 2 3 4", "must be named <class>_<video>_<frame>.txt"),
        (f"{DIVING}_00001.txt", "1 0.5 1 2 3", r"00001\.txt: line 1: must be label, score"),
        (f"{DIVING}_00001.txt", "1 0.5 1 2 3 x", r"00001\.txt: line 1: must be label, score"),
        (f"{DIVING}_00001.txt", "\n7 0.5 1 2 3 4", "line 2: label 7 must be 1 to 2"),
        (f"{DIVING}_00001.txt", "0 0.5 1 2 3 4", "line 1: label 0 must be 1 to 2"),
        (f"{DIVING}_00001.txt", "1.5 0.5 1 2 3 4", "line 1: .*must be whole numbers"),
        (f"{DIVING}_00001.txt", "1 nan 1 2 3 4", "line 1: a value is NaN"),
        (f"{DIVING}_00001.txt", "1 7 1 2 3 4", "line 1: score must be between 0 and 1"),
        (f"{DIVING}_00001.txt", "1 0.5 9 2 3 4", "line 1: x2 < x1"),
    ],
)
def test_damaged(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_detections(tmp_path, truth())


def test_frames_from_0(tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / f"{DIVING}_{number:05d}.txt").write_text(f"2 0.5 1 2 30 {40 + number}\n\n")
    boxes = read_detections(tmp_path, truth())
    assert boxes.frame.tolist() == [0, 1] and boxes.boxes[:, 3].tolist() == [40, 41]
    boxes = read_detections(tmp_path, truth(), FileOptions(first_frame=0))
    assert boxes.frame.tolist() == [0, 1]


def test_names_that_the_ground_truth_has_without_folder(tmp_path: Path) -> None:
    (tmp_path / f"{DIVING}_00001.txt").write_text("2 0.5 1 2 30 40")
    (tmp_path / "Golf_v_Golf_g01_c01_00001.txt").write_text("2 0.5 1 2 30 40")
    tubes = replace(truth().tubes, video_names=("v_Basketball_g01_c01", "v_Diving_g01_c01"))
    with pytest.warns(UserWarning, match="is taken for a frame of v_Diving_g01_c01"):
        boxes = read_detections(tmp_path, replace(truth(), tubes=tubes))
    # That of no known video stays, and is counted when tables are compared.
    names = [boxes.video_names[code] for code in boxes.video]
    assert names == ["v_Diving_g01_c01", "Golf_v_Golf_g01_c01"]


def test_fractions_need_the_size_of_the_video(tmp_path: Path) -> None:
    (tmp_path / f"{DIVING}_00001.txt").write_text("2 0.5 0.25 0.5 0.75 1.0")
    with pytest.raises(InputError, match="the boxes are fractions of the frame"):
        read_detections(tmp_path, truth())
    sizes = make_videos(truth().tubes.video_names, 9, 320, 240)
    with pytest.warns(UserWarning, match="converted to pixels by the size of each video"):
        boxes = read_detections(tmp_path, replace(truth(), videos=sizes))
    assert boxes.boxes.tolist() == [[80, 120, 240, 240]]


@pytest.mark.parametrize(
    "line",
    [
        "2 0.5 0.6 0.5 0.4 0.9",  # centre (0.5, 0.6), size 0.5 x 0.4; x1 > x2 as corners
        "2 0.5 0.5 0.2 0.5 0.9",  # or score 0.5 and corners (0.5, 0.2, 0.5, 0.9)
    ],
)
@pytest.mark.parametrize("unit", [None, "fraction"])
def test_lines_of_yolo(tmp_path: Path, line: str, unit: BoxUnit | None) -> None:
    (tmp_path / f"{DIVING}_00001.txt").write_text(line)
    sizes = make_videos(truth().tubes.video_names, 9, 320, 240)
    for ground_truth in (truth(), replace(truth(), videos=sizes)):
        with pytest.raises(InputError, match=r"YOLO's class, x centre.*, y2; convert them"):
            read_detections(tmp_path, ground_truth, FileOptions(box_unit=unit))
