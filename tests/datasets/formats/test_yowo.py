"""YOWO's folders of text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.class_list import ClassList
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.annotation_format import GroundTruth
from actiontubes.datasets.formats.registry import read_detections
from actiontubes.datasets.tables import Tubes


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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Golf_v_1_00001.txt", "1 0.5 1 2 3 4", "Golf_v_1_00001.txt: the name must be <class>"),
        ("Diving_v_Diving_g01_c01_00001.txt", "1 0.5 1 2 3", "line 1"),
        ("Diving_v_Diving_g01_c01_00001.txt", "7 0.5 1 2 3 4", "label number must be"),
    ],
)
def test_damaged(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_detections(tmp_path, truth())
