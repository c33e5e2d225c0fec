"""Every number that the public evaluators give on two real ground truths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import PROTOCOLS, Protocol
from actiontubes.detect.evaluation.video_map import nms_tubes

Shared = Callable[[str], Path]

# The originals hold precision and recall in 32 bits; their 64-bit numbers are in the file too.
TOLERANCE = 1e-5


def _ground_truth(shared: Shared, dataset: str) -> tuple[Tubes, Any]:
    if dataset == "jhmdb":
        return read_ground_truth(shared("jhmdb/JHMDB-GT.pkl"), split=1)
    return read_ground_truth(
        shared("ucf101-24/pyannot.pkl"), videos=shared("ucf101-24/testlist01.txt")
    )


def _compare(found: dict[str, Any], part: str, expected: dict[str, Any]) -> None:
    for threshold, numbers in expected.items():
        mean = numbers.get("mAP_float64", numbers["mAP"])
        assert found[f"{part}_map"][threshold] == pytest.approx(mean, abs=TOLERANCE)
        by_class = numbers.get("per_class_float64", numbers["per_class"])
        assert found[f"{part}_ap"][threshold] == pytest.approx(by_class, abs=TOLERANCE)


@pytest.mark.parametrize("dataset", ["jhmdb", "ucf101-24"])
def test_frame_and_video_map_and_errors(shared: Shared, dataset: str) -> None:
    expected = json.loads(shared(f"reference/{dataset}.expected.json").read_text())
    truth, videos = _ground_truth(shared, dataset)
    boxes = read_table(Detections, shared(f"reference/{dataset}.detections.parquet"))
    tubes = read_table(Tubes, shared(f"reference/{dataset}.tubes.parquet"))
    results = evaluate_tables(
        truth,
        PROTOCOLS,
        align_to_ground_truth(boxes, truth, "detections", videos),
        align_to_ground_truth(tubes, truth, "tubes", videos),
    )
    for result in results:
        found = result.as_json()
        _compare(found, "frame", expected["protocols"][result.protocol.name]["frame"])
        _compare(found, "video", expected["protocols"][result.protocol.name]["video"])
    errors = results[0].as_json()
    names = ("AP", "EL", "EC", "ET", "EO", "missed")
    wanted = expected["frame_errors_act_0.5"]
    # 32 bits in the original: 1e-5 of 100.
    assert list(errors["frame_errors"].values()) == pytest.approx(
        [wanted["mean"][name] for name in names], abs=3e-5
    )
    for label, numbers in wanted["per_class"].items():
        assert list(errors["frame_errors_by_class"][label].values()) == pytest.approx(
            [numbers[name] for name in names], abs=3e-5
        )


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_tubes_with_near_duplicates(shared: Shared, protocol: Protocol) -> None:
    expected = json.loads(shared("reference/jhmdb.expected.json").read_text())
    truth, videos = _ground_truth(shared, "jhmdb")
    tubes = read_table(Tubes, shared("reference/jhmdb.tubes_dup.parquet"))
    (result,) = evaluate_tables(
        truth, [protocol], tubes=align_to_ground_truth(tubes, truth, "tubes", videos)
    )
    _compare(result.as_json(), "video", expected["protocols"][protocol.name]["video_tubes_dup"])


def test_tube_suppression_keeps_the_same_tubes(shared: Shared) -> None:
    kept = json.loads(shared("reference/jhmdb.tube_nms.json").read_text())["kept_ids"]
    tubes = read_table(Tubes, shared("reference/jhmdb.tubes_dup.parquet"))
    for name, overlap in (
        ("act_nms3dt_0.3", 0.3),
        ("yowo_nms_3d_0.3", 0.3),
        ("3dretinanet_nms3dt_0.6", 0.6),
    ):
        assert np.unique(tubes.tube)[nms_tubes(tubes, overlap)].tolist() == sorted(kept[name])


@pytest.mark.parametrize("dataset", ["jhmdb", "ucf101-24"])
def test_ground_truth_files_agree(shared: Shared, dataset: str) -> None:
    truth, videos = _ground_truth(shared, dataset)
    assert rows(truth) == rows(
        read_table(Tubes, shared(f"reference/{dataset}.groundtruth.parquet"))
    )
    if dataset == "ucf101-24":
        other, details = read_ground_truth(
            shared("ucf101-24/finalAnnots.mat"), videos=shared("ucf101-24/testlist01.txt")
        )
        assert rows(truth) == rows(other)
        assert videos.num_frames.tolist() == details.num_frames.tolist()
        lengths = dict(zip(videos.video, videos.num_frames.tolist()))
        assert sum(lengths[name] for name in truth.video_names) == 159_289


def rows(tubes: Tubes) -> list[tuple[Any, ...]]:
    """Every box by name, in one order."""
    names = [tubes.video_names[code] for code in tubes.video]
    labels = [tubes.label_names[code] for code in tubes.label]
    return sorted(zip(names, labels, tubes.frame.tolist(), *tubes.boxes.T.tolist()))
