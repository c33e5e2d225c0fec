"""AVA's CSV files."""

from __future__ import annotations

from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.ava import read_ava_detections, read_ava_ground_truth
from actiontubes.datasets.formats.registry import (
    read_annotations,
    read_detections,
    read_ground_truth,
)
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import MULTISPORTS

TRUTH = """\
vid1,0902,0.1,0.1,0.5,0.9,12,0
vid1,0902,0.1,0.1,0.5,0.9,17,0
vid1,0903,0.1,0.1,0.5,0.9,12,0
vid2,0902,0.2,0.1,0.5,0.9,12,0
vid2,0903,,,,,,
"""
FOUND = """\
vid1,0902,0.1,0.1,0.5,0.9,12,0.9
vid1,0903,0.1,0.1,0.5,0.9,17,0.8
vid2,0902,0.2,0.1,0.5,0.9,12,0.7
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_ground_truth(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="ignoring 1 row without a box or action; the first is row 5"
    ):
        tubes, videos = read_ground_truth(written(tmp_path, "val.csv", TRUTH))
    assert videos is None
    assert tubes.video_names == ("vid1", "vid2")
    assert tubes.label_names == ("12", "17")
    assert tubes.frame.tolist() == [902, 902, 903, 902]
    # One tube for each person and action of a video.
    assert tubes.tube[0] == tubes.tube[2]
    assert len(set(tubes.tube.tolist())) == 3


@pytest.mark.filterwarnings("ignore:.*without a box or action")
def test_detections_are_scored(tmp_path: Path) -> None:
    whole = read_annotations(written(tmp_path, "val.csv", TRUTH))
    found = read_detections(written(tmp_path, "found.csv", FOUND), whole)
    truth = whole.tubes
    (result,) = evaluate_tables(
        truth, [MULTISPORTS], align_to_ground_truth(found, truth, "found.csv")
    )
    assert result.frame_scores[1].ap["12"] == pytest.approx(100 * 2 / 3)
    assert result.frame_scores[1].ap["17"] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vid1,0902,0.1,0.1,0.5,0.9,12", "row 2: has 7 columns instead of 8"),
        ("vid1,0902,0.1,zero,0.5,0.9,12,0.5", "row 2: y1 must be a number"),
        ("vid1,0902,0.1,nan,0.5,0.9,12,0.5", "row 2.* NaN or infinity"),
        ("vid1,0902,0.7,0.1,0.5,0.9,12,0.5", "row 2: .*x2 < x1"),
        ("vid1,0902.5,0.1,0.1,0.5,0.9,12,0.5", "row 2: .*whole number"),
        ("vid1,1e12,0.1,0.1,0.5,0.9,12,0.5", "the second 1000000000000 is too large"),
        ("vid1,0902,0.1,0.1,0.5,0.9,12,5", "row 2.* between 0 and 1"),
        ("vid1,0902,0.1,0.1,0.5,0.9,12,nan", "row 2.* between 0 and 1"),
        ("vid1,0902,0.1,0.1,0.5,0.9,12,high", "row 2: score must be a number"),
        ("vid1,0902,0.1,,0.5,0.9,12,0.5", "row 2: y1 is empty"),
        ("vid1,0902,0.1,0.1,0.5,0.9,12,", "row 2: person or score is empty"),
        (",0902,0.1,0.1,0.5,0.9,12,0.5", "row 2: video is empty"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, "found.csv", FOUND.splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_ava_detections(path)


HEADER = "video_id,middle_frame_timestamp,x1,y1,x2,y2,action_id,score\n"


@pytest.mark.parametrize(
    ("head", "tail", "encoding"),
    [
        ("", "", "utf-8-sig"),
        ("", "\n\n ,,,,,,,\n", "utf-8"),
        (HEADER, "", "utf-8-sig"),
        ("\n" + HEADER.replace("1", "_min").replace("2", "_max"), "", "utf-8"),
        (HEADER.upper(), "", "utf-8"),
    ],
)
def test_files_as_editors_leave_them(tmp_path: Path, head: str, tail: str, encoding: str) -> None:
    text = (head + FOUND.replace(",", " , ") + tail).replace("\n", "\r\n")
    path = tmp_path / "FOUND.CSV"
    path.write_text(text, encoding, newline="")
    found = read_detections(path)
    assert found.video_names == ("vid1", "vid2") and found.label_names == ("12", "17")
    assert found.frame.tolist() == [902, 903, 902] and found.score.tolist() == [0.9, 0.8, 0.7]


@pytest.mark.parametrize(("separator", "point"), [(";", "."), (";", ","), ("\t", ".")])
def test_other_separators(tmp_path: Path, separator: str, point: str) -> None:
    text = FOUND.replace(",", separator).replace(".", point)
    found = read_detections(written(tmp_path, "found.csv", text))
    assert found.boxes[0].tolist() == [0.1, 0.1, 0.5, 0.9]
    assert found.score.tolist() == [0.9, 0.8, 0.7]


def test_a_table_is_no_ava_file(tmp_path: Path) -> None:
    """Our own columns, in another order than ours."""
    text = "video,frame,x1,y1,x2,y2,label,score\nvid1,5,1,2,30,40,run,0.5\n"
    found = read_detections(written(tmp_path, "found.csv", text))
    assert found.label_names == ("run",) and found.frame.tolist() == [5]


def test_numbers_in_several_spellings(tmp_path: Path) -> None:
    """Actions and persons as tools write numbers: 12, 012 and 12.0 are one."""
    text = "v,902,0,0,.5,.5,12,1\nv,903.0,0,0,.5,.5,012,1.0\nv,904,0,0,.5,.5,12.0,01\n"
    tubes = read_ava_ground_truth(written(tmp_path, "val.csv", text))
    assert tubes.label_names == ("12",) and tubes.tube.tolist() == [0, 0, 0]
    assert tubes.frame.tolist() == [902, 903, 904]


def test_persons_may_have_names(tmp_path: Path) -> None:
    text = "v,902,0,0,.5,.5,12,ann\nv,903,0,0,.5,.5,12,ann\nv,902,0,0,.5,.5,12,bob\n"
    tubes = read_ava_ground_truth(written(tmp_path, "val.csv", text))
    assert tubes.tube[0] == tubes.tube[1] != tubes.tube[2]


def test_detections_are_no_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 1 .*must be a person, not a score"):
        read_ava_ground_truth(written(tmp_path, "found.csv", FOUND))


def test_repeated_action(tmp_path: Path) -> None:
    line = TRUTH.splitlines()[0]
    with pytest.raises(InputError, match="row 2: repeats"):
        read_ava_ground_truth(written(tmp_path, "val.csv", f"{line}\n{line}\n"))


def test_empty_file(tmp_path: Path) -> None:
    assert len(read_ava_detections(written(tmp_path, "found.csv", ""))) == 0
    assert len(read_ava_ground_truth(written(tmp_path, "val.csv", ""))) == 0
