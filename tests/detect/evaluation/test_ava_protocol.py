"""The protocol `ava` against the official script, and the frames that a file excludes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from actiontubes import evaluate
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.detect.evaluation.align import read_aligned
from actiontubes.detect.evaluation.excluded_frames import leave_out_excluded

BOX = "0.1,0.1,0.5,0.5"


@pytest.mark.filterwarnings("ignore")
def test_equal_to_the_official_script(shared: Callable[[str], Path]) -> None:
    files = FileOptions(classes=shared("reference/ava.labels.pbtxt"))
    result = evaluate(
        shared("reference/ava.groundtruth.csv"), shared("reference/ava.detections.csv"),
        protocol="ava", files=files,
    )  # fmt: skip
    expected = json.loads(shared("reference/ava.expected.json").read_text())
    assert result.frame_map[0.5] == pytest.approx(expected["frame_map"]["0.5"], abs=1e-3)
    ap = next(each for each in result.frame_scores if each.threshold == 0.5).ap
    assert ap.keys() == expected["frame_ap"]["0.5"].keys()
    for name, value in expected["frame_ap"]["0.5"].items():
        assert ap[name] == (None if value is None else pytest.approx(value, abs=1e-3)), name


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two key frames: one with its person found, one with 51 better detections elsewhere."""
    truth, found = tmp_path / "truth.csv", tmp_path / "found.csv"
    truth.write_text(f"clip,0902,{BOX},1,0\nclip,0903,{BOX},1,0\n")
    other = "".join(f"clip,0903,0.6,0.6,0.9,0.9,2,{0.9 + each / 1000}\n" for each in range(50))
    found.write_text(
        f"clip,0902,{BOX},1,0.8\nclip,0903,{BOX},1,0.5\n{other}clip,0904,{BOX},1,0.95\n"
    )
    return truth, found


@pytest.mark.filterwarnings("ignore")
def test_only_the_best_fifty_of_a_key_frame_count(files: tuple[Path, Path]) -> None:
    truth, found = files
    assert evaluate(truth, found, protocol="ava").frame_map[0.5] == pytest.approx(50)
    # Without the limit all boxes are found; the one at second 904, not annotated, is false.
    ap = evaluate(truth, found, protocol="multisports").frame_scores[1].ap["1"]
    assert ap == pytest.approx(100 * 2 / 3)


@pytest.mark.filterwarnings("ignore")
def test_excluded_key_frames_do_not_count(files: tuple[Path, Path], tmp_path: Path) -> None:
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("clip,0903\nother,0902\n")
    tables = read_aligned(*files)
    with pytest.warns(UserWarning, match="leaving out 1 of 2 boxes .* on 1 key frames"):
        left = leave_out_excluded(tables, excluded)
    assert left.ground_truth.frame.tolist() == [902]
    assert left.detections is not None
    assert sorted(set(left.detections.frame.tolist())) == [902, 904]
    excluded.write_text("clip\n")
    with pytest.raises(InputError, match="row 1: must be video, second"):
        leave_out_excluded(tables, excluded)


@pytest.mark.filterwarnings("ignore")
def test_excluded_seconds_are_frames_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "groundtruth.csv"
    table.write_text(
        "video,frame,label,tube,x1,y1,x2,y2\nclip,25,run,0,1,1,9,9\nclip,26,run,0,1,1,9,9\n"
    )
    (tmp_path / "videos.csv").write_text("video,num_frames,width,height,fps\nclip,60,64,48,12.5\n")
    found = tmp_path / "found.csv"
    found.write_text("video,frame,label,score,x1,y1,x2,y2\nclip,25,run,0.5,1,1,9,9\n")
    (tmp_path / "excluded.csv").write_text("clip,2\n")
    tables = leave_out_excluded(read_aligned(tmp_path, found), tmp_path / "excluded.csv")
    assert tables.ground_truth.frame.tolist() == [26]
    (tmp_path / "videos.csv").unlink()
    with pytest.raises(InputError, match="the rate of video clip is not known"):
        leave_out_excluded(read_aligned(tmp_path, found), tmp_path / "excluded.csv")


@pytest.mark.filterwarnings("ignore")
def test_classes_that_are_not_listed_are_left_out_of_both_files(tmp_path: Path) -> None:
    truth, found, names = (tmp_path / name for name in ("t.csv", "f.csv", "names.pbtxt"))
    truth.write_text(f"clip,0902,{BOX},1,0\nclip,0902,{BOX},7,0\n")
    found.write_text(f"clip,0902,{BOX},7,0.9\nclip,0902,{BOX},1,0.5\n")
    names.write_text('item {\n  name: "run \\"fast\\""\n  id: 1\n}\n')
    with pytest.warns(UserWarning, match=r"leaving out 1 of 2 rows of classes .*\(7\)"):
        result = evaluate(truth, found, protocol="ava", files=FileOptions(classes=names))
    assert result.frame_scores[1].ap == {'run "fast"': 100.0}
