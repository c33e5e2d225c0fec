"""`evaluate`, as a user of the library calls it: tables or files, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.evaluation.evaluate import evaluate, evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT, YOWO
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.linker import link


@pytest.fixture(scope="module")
def tables() -> tuple[Tubes, Detections, Tubes]:
    truth, detections = synthetic_detections(0.027)
    return truth, detections, link(detections)


def test_numbers_by_threshold(tables: tuple[Tubes, Detections, Tubes]) -> None:
    truth, detections, tubes = tables
    result = evaluate(truth, detections, tubes)
    (expected,) = evaluate_tables(truth, [ACT], detections, tubes)
    assert result.as_json() == expected.as_json()
    assert result.frame_map[0.5] == result.as_json()["frame_map"]["0.5"] > 0
    assert list(result.frame_map) == [0.3, 0.5, 0.75]
    assert result.video_map[0.2] == result.as_json()["video_map"]["0.2"] > 0
    assert result.errors["frame"] == result.as_json()["frame_errors"]
    assert sum(result.errors["video"].values()) == pytest.approx(100)  # type: ignore[arg-type]
    alone = evaluate(truth, tubes=tubes)
    assert alone.frame_map == {} and list(alone.errors) == ["video"]


def test_files_give_the_same_numbers(
    tables: tuple[Tubes, Detections, Tubes], tmp_path: Path
) -> None:
    paths = [tmp_path / name for name in ("truth.csv", "detections.parquet", "tubes.parquet")]
    for table, path in zip(tables, paths):
        write_table(table, path)
    from_files = evaluate(*map(str, paths), protocol="yowo")
    from_tables = evaluate(*tables, protocol=YOWO)
    assert from_files.as_json() == from_tables.as_json()


@pytest.mark.filterwarnings("ignore:no ground truth for")
def test_some_videos(tables: tuple[Tubes, Detections, Tubes], tmp_path: Path) -> None:
    truth, detections, _ = tables
    chosen = truth.video_names[3:5]
    listed = tmp_path / "videos.txt"
    listed.write_text("\n".join(f"{name}.avi" for name in chosen))
    with pytest.warns(UserWarning, match="rows whose video is not in the ground truth"):
        some = evaluate(truth, detections, videos=listed)
    rows = np.isin(truth.video, (3, 4))
    smaller = replace(select_rows(truth, rows), video_names=chosen)
    smaller = replace(smaller, video=(smaller.video - 3).astype(np.int32))
    with pytest.warns(UserWarning, match="rows whose video is not in the ground truth"):
        assert some.as_json() == evaluate(smaller, detections).as_json()


def test_what_cannot_be(tables: tuple[Tubes, Detections, Tubes]) -> None:
    truth, detections, _ = tables
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate(truth)
    with pytest.raises(InputError, match=r"protocol yolo: does not exist; .*did you mean yowo\?"):
        evaluate(truth, detections, protocol="yolo")
    with pytest.raises(InputError, match="ground truth has no splits"):
        evaluate(truth, detections, split=1)
