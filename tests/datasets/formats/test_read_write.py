"""`actiontubes.read` and `write`: any file of any format, its kind by its columns."""

from __future__ import annotations

from pathlib import Path

import actiontubes
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from actiontubes import Actions, Detections, InputError, Tracks, Tubes, Videos
from actiontubes.datasets.formats.annotation_format import GroundTruth

BOX = dict(zip(("x1", "y1", "x2", "y2"), (1.0, 2.0, 30.0, 40.0)))
ROWS = {
    Detections: {"video": "a", "frame": 0, "label": "run", "score": 0.5, **BOX},
    Tubes: {"video": "a", "frame": 0, "label": "run", **BOX, "tube": 1},
    Tracks: {"video": "a", "person": 1, "frame": 0, "score": 0.5, **BOX},
    Actions: {
        "video": "a", "person": 1, "label": "run", "start": 0.0, "end": 0.5, "first_frame": 0,
        "last_frame": 9, "score": 0.5,
    },
    Videos: {"video": "a", "num_frames": 10, "width": 64, "height": 48, "fps": 20.0},
}  # fmt: skip


def saved(row: dict, path: Path) -> Path:
    table = pyarrow.Table.from_pylist([row])
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("extension", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
def test_the_columns_say_what_a_table_is(kind: type, extension: str, tmp_path: Path) -> None:
    path = saved(ROWS[kind], tmp_path / f"table{extension}")
    assert type(actiontubes.read(path)) is kind
    # Columns of other people do not matter; written tables come back as they were.
    table = actiontubes.read(saved({**ROWS[kind], "note": "?"}, path))
    again = actiontubes.read(actiontubes.write(table, tmp_path / f"again{extension}"))
    for name, value in vars(table).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)


def test_our_own_detections_with_persons_are_detections(tmp_path: Path) -> None:
    path = saved({**ROWS[Detections], "person": 1}, tmp_path / "detections.parquet")
    assert type(actiontubes.read(path)) is Detections
    assert type(actiontubes.read(path, "tracks")) is Tracks


def test_what_has_no_kind_is_refused(tmp_path: Path) -> None:
    path = saved({"x": 1}, tmp_path / "other.csv")
    with pytest.raises(InputError, match=r"other\.csv: its columns fit no table; give the kind"):
        actiontubes.read(path)
    with pytest.raises(InputError, match=r"kind boxes does not exist"):
        actiontubes.read(path, "boxes")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="file or folder not found"):
        actiontubes.read(tmp_path / "absent.csv")


def test_ground_truth_and_other_formats(tmp_path: Path) -> None:
    path = saved(ROWS[Tubes], tmp_path / "groundtruth.parquet")
    truth = actiontubes.read(path, "ground-truth")
    assert isinstance(truth, GroundTruth) and len(truth.tubes) == 1
    assert isinstance(actiontubes.read(tmp_path, "ground-truth"), GroundTruth)
    with pytest.raises(InputError, match=r"give the kind: ground-truth, detections"):
        actiontubes.read(tmp_path)
    tubes = actiontubes.read(path)
    assert isinstance(tubes, Tubes)
    with pytest.raises(InputError, match="format cvatt: does not exist"):
        actiontubes.write(tubes, tmp_path / "x", "cvatt")
    with pytest.raises(InputError, match="cannot be written"):
        actiontubes.write(tubes, tmp_path / "x.pkl", "pyannot")
