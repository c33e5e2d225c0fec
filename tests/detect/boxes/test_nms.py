"""Suppression of boxes in each frame and class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubelets, Tubes
from actiontubes.detect.boxes.iou import rowwise_iou
from actiontubes.detect.boxes.nms import nms, nms_across_classes, nms_rows
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT
from hypothesis import given, settings
from hypothesis import strategies as st


def boxes_of(random: np.random.Generator, count: int) -> Detections:
    corner = random.uniform(0, 60, (count, 2))
    return Detections(
        random.integers(0, 2, count).astype(np.int32),
        random.integers(0, 3, count).astype(np.int32),
        random.integers(0, 2, count).astype(np.int32),
        (random.permutation(count) + 1) / (count + 1),
        np.concatenate([corner, corner + random.uniform(10, 50, (count, 2))], axis=1),
        ("one", "two"),
        ("run", "walk"),
    )


def one_by_one(boxes: Detections, overlap: float, top: int) -> set[float]:
    """Scores of the boxes that stay, by the usual loop."""
    kept: list[int] = []
    for row in np.argsort(-boxes.score):
        same = [
            other
            for other in kept
            if boxes.video[other] == boxes.video[row]
            and boxes.frame[other] == boxes.frame[row]
            and boxes.label[other] == boxes.label[row]
        ]
        ious = [
            rowwise_iou(boxes.boxes[[row]], boxes.boxes[[other]], "inclusive")[0] for other in same
        ]
        if len(same) < top and all(iou <= overlap for iou in ious):
            kept.append(int(row))
    return set(boxes.score[kept].tolist())


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.1, 0.3, 0.6]), st.integers(1, 5)
)
def test_equals_the_loop(seed: int, count: int, overlap: float, top: int) -> None:
    boxes = boxes_of(np.random.default_rng(seed), count)
    kept = nms(boxes, overlap, top)
    assert set(kept.score.tolist()) == one_by_one(boxes, overlap, top)
    key = list(zip(kept.video, kept.frame, kept.label, -kept.score))
    assert key == sorted(key)


def test_soft_by_hand() -> None:
    """Two boxes overlap the best by 1/3 and 1/9: the first loses a third of its score."""
    boxes = Detections(
        *(np.zeros(3, np.int32) for _ in range(3)),
        np.array([0.9, 0.8, 0.7]),
        np.array([[0.0, 0, 9, 9], [5, 0, 14, 9], [8, 0, 17, 9]]),
        ("one",),
        ("run",),
    )
    kept = nms(boxes, 0.3, soft=True)
    assert kept.score.tolist() == pytest.approx([0.9, 0.7, 0.8 * (1 - 50 / 150)])
    assert nms(boxes, 0.3).score.tolist() == [0.9, 0.7]
    assert nms(boxes, 0.3, soft=True, top=2).score.tolist() == [0.9, 0.7]


def test_tubelets_overlap_by_their_mean() -> None:
    near, far = [0.0, 0, 9, 9], [100.0, 0, 109, 9]
    tubelets = Tubelets(
        *(np.zeros(2, np.int32) for _ in range(3)),
        np.array([0.9, 0.8]),
        np.array([[near, near], [near, far]]),
        ("one",),
        ("run",),
    )
    # IoU 1 on the first frame and 0 on the second.
    for overlap, stay in ((0.49, [0]), (0.5, [0, 1])):
        rows, score = nms_rows(tubelets, overlap, None, False, "inclusive")
        assert rows.tolist() == stay and score.tolist() == [0.9, 0.8][: len(stay)]


@pytest.mark.parametrize(
    ("dataset", "name", "overlap", "soft"),
    [
        ("jhmdb", "act_nms0.3", 0.3, False),
        ("jhmdb", "moc_softnms0.6", 0.6, True),
        ("ucf101-24", "act_nms0.3", 0.3, False),
    ],
)
def test_frame_map_after_the_projects_own_suppression(
    shared: Callable[[str], Path], dataset: str, name: str, overlap: float, soft: bool
) -> None:
    expected = json.loads(shared(f"reference/{dataset}.expected.json").read_text())
    wanted = expected["more"]["frame"][name]["0.5"]
    truth, _ = read_ground_truth(shared(f"reference/{dataset}.groundtruth.parquet"))
    boxes = read_table(Detections, shared(f"reference/{dataset}.detections.parquet"))
    kept = nms(align_to_ground_truth(boxes, truth, "detections"), overlap, soft=soft)
    if "detections_after_nms" in wanted:
        assert len(kept) == wanted["detections_after_nms"]
    (result,) = evaluate_tables(truth, [ACT], kept, frame_thresholds=[0.5])
    assert result.frame_scores[0].mean == pytest.approx(wanted["mAP_float64"], abs=1e-5)


def test_across_classes_the_better_tube_of_each_frame_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 0, 60, 10]], float)
    tubes = Tubes(
        np.zeros(4, np.int32), np.array([0, 0, 1, 0], np.int32), np.array([0, 1, 0, 0], np.int32),
        boxes, np.array([0, 1, 0, 2]), ("v",), ("sit", "stand"),
        score=np.array([0.9, 0.1, 0.9, 0.2]), tube_score=np.array([0.5, 0.8, 0.5, 0.1]),
    )  # fmt: skip
    stays = nms_across_classes(tubes)
    assert stays.tube.tolist() == [1, 0, 2]  # tube 0 only where tube 1 is not
    assert stays.frame.tolist() == [0, 1, 0]
