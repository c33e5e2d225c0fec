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
    with pytest.warns(UserWarning, match="ignoring 1 rows without a box or action"):
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
        ("vid1,0902,0.1,zero,0.5,0.9,12,0.5", "row 2: contains text where a number"),
        ("vid1,0902,0.1,nan,0.5,0.9,12,0.5", "row 2.* NaN or infinity"),
        ("vid1,0902,0.7,0.1,0.5,0.9,12,0.5", "row 2: .*x2 < x1"),
        ("vid1,0902.5,0.1,0.1,0.5,0.9,12,0.5", "row 2: .*whole number"),
        ("vid1,0902,0.1,0.1,0.5,0.9,12,5", "row 2.* between 0 and 1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, "found.csv", FOUND.splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_ava_detections(path)


def test_repeated_action(tmp_path: Path) -> None:
    line = TRUTH.splitlines()[0]
    with pytest.raises(InputError, match="row 2: repeats"):
        read_ava_ground_truth(written(tmp_path, "val.csv", f"{line}\n{line}\n"))


def test_empty_file(tmp_path: Path) -> None:
    assert len(read_ava_detections(written(tmp_path, "found.csv", ""))) == 0
    assert len(read_ava_ground_truth(written(tmp_path, "val.csv", ""))) == 0
