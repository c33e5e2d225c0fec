"""COCO's files: written, read, and scored by pycocotools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.annotation_format import GroundTruth, ReadOptions
from actiontubes.datasets.formats.coco import read_coco_results, write_coco
from actiontubes.datasets.formats.registry import FORMATS, read_detections
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.evaluation.coco_metrics import coco_scores
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections


def dump() -> tuple[Tubes, Detections]:
    return synthetic_detections(0.005)


def named(tubes: Tubes) -> GroundTruth:
    return GroundTruth(path=Path("truth"), tubes=tubes)


def as_detections(truth: Tubes) -> Detections:
    score = np.linspace(0.1, 0.9, len(truth))
    names = truth.video_names, truth.label_names
    return Detections(truth.video, truth.frame, truth.label, score, truth.boxes, *names)


def test_the_format_writes_what_it_reads(tmp_path: Path) -> None:
    truth, detections = dump()
    FORMATS["coco"].write(detections, None, tmp_path / "results.json")
    again = read_detections(tmp_path / "results.json")
    names = [[table.video_names[code] for code in table.video] for table in (again, detections)]
    assert names[0] == names[1] and again.frame.tolist() == detections.frame.tolist()
    np.testing.assert_allclose(again.boxes, detections.boxes)
    FORMATS["coco"].write(truth, None, tmp_path / "truth.json")
    written = json.loads((tmp_path / "truth.json").read_text())
    assert len(written["annotations"]) == len(truth)


def test_round_trip(tmp_path: Path) -> None:
    truth, detections = dump()
    results = tmp_path / "results.json"
    write_coco(truth, detections, results)
    again = read_detections(results, named(truth))
    assert again.video_names == truth.video_names
    for name in ("video", "frame", "label", "score"):
        assert getattr(again, name).tolist() == getattr(detections, name).tolist()
    np.testing.assert_allclose(again.boxes, detections.boxes)


def test_file_names_say_the_frame(tmp_path: Path) -> None:
    """Annotations of others have no video and frame of their own."""
    truth, detections = dump()
    annotations, results = tmp_path / "annotations.json", tmp_path / "results.json"
    write_coco(truth, detections, results)
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        del image["video"], image["frame"]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    again = read_coco_results(
        results, ReadOptions.from_ground_truth(named(truth), annotations=other)
    )
    assert again.frame.tolist() == detections.frame.tolist()


def test_perfect_detections_score_100() -> None:
    truth, _ = dump()
    scores = coco_scores(truth, as_detections(truth))
    assert scores["AP"] == pytest.approx(100) and scores["AR100"] == pytest.approx(100)


def test_proposal_recall_needs_no_class() -> None:
    truth, _ = dump()
    proposals = as_detections(truth)
    shifted = proposals.boxes + np.array([4.0, 0, 4, 0])
    proposals = replace(proposals, label=np.zeros_like(proposals.label), boxes=shifted)
    width = truth.boxes[:, 2] - truth.boxes[:, 0]
    iou = (width - 4) / (width + 4)
    thresholds = np.arange(0.5, 1, 0.05).round(2)
    expected = 100 * np.mean([(iou >= threshold).mean() for threshold in thresholds])
    found = coco_scores(truth, proposals, any_class=True)["AR100"]
    assert found == pytest.approx(expected, abs=0.5)
    nothing = select_rows(proposals, np.empty(0, np.int64))
    assert coco_scores(truth, nothing)["AP"] == 0


RESULT = '[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1}]'


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("[{]", "is not valid JSON"),
        ("{}", "must be a JSON list of results"),
        (RESULT.replace("1,", "99999999,", 1), "result 1: .*KeyError"),
        (RESULT.replace(", 9, 9", ", 9"), "result 1: .*ValueError"),
        (RESULT.replace("9, 9", "-1, 9"), "row 1: x2 < x1"),
    ],
)
def test_damaged(tmp_path: Path, results: str, message: str) -> None:
    truth, detections = dump()
    path = tmp_path / "results.json"
    write_coco(truth, detections, path)
    path.write_text(results)
    with pytest.raises(InputError, match=message):
        read_coco_results(path, ReadOptions.from_ground_truth(named(truth)))
    (tmp_path / "annotations.json").unlink()
    with pytest.raises(InputError, match=r"annotations.json: file not found|JSON"):
        read_coco_results(path, ReadOptions.from_ground_truth(named(truth)))
