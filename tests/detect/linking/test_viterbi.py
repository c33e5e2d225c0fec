"""Viterbi linking against all paths, and against YOWO's numbers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes, Videos, select_rows
from actiontubes.detect.boxes.iou import rowwise_iou
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT
from actiontubes.detect.evaluation.protocols import YOWO as YOWO_PROTOCOL
from actiontubes.detect.evaluation.video_map import nms_tubes
from actiontubes.detect.linking.linker import link
from actiontubes.detect.linking.viterbi import (
    PENG,
    SAHA,
    YOWO,
    ViterbiConfig,
    ViterbiLinker,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def crowded(seed: int, frames: int, most: int) -> Detections:
    """One to `most` overlapping boxes on each frame of two videos."""
    random = np.random.default_rng(seed)
    count = random.integers(1, most + 1, 2 * frames)
    rows = np.repeat(np.arange(2 * frames), count)
    corner = random.uniform(0, 30, (len(rows), 2))
    return Detections(
        (rows // frames).astype(np.int32),
        (rows % frames).astype(np.int32),
        np.zeros(len(rows), np.int32),
        random.random(len(rows)),
        np.concatenate([corner, corner + random.uniform(20, 40, (len(rows), 2))], axis=1),
        ("one", "two"),
        ("run",),
    )


def link_with(boxes: Detections, config: ViterbiConfig, videos: Videos | None = None) -> Tubes:
    return link(boxes, ViterbiLinker(config, videos))


def best_score(boxes: Detections, config: ViterbiConfig, video: int) -> tuple[float, list[int]]:
    """The best of all paths."""
    by_frame = [
        np.flatnonzero((boxes.video == video) & (boxes.frame == frame)).tolist()
        for frame in range(boxes.frame.max() + 1)
    ]

    def step(a: int, b: int) -> float:
        iou = float(rowwise_iou(boxes.boxes[[a]], boxes.boxes[[b]], config.extent)[0])
        first, second = boxes.score[a], boxes.score[b]
        return (
            config.score_weight * (first + second)
            + config.product_weight * first * second
            + config.iou_weight * (iou if iou >= config.iou else 0)
        )

    paths = itertools.product(*by_frame)
    scored = ((sum(itertools.starmap(step, itertools.pairwise(path))), path) for path in paths)
    worth, path = max(scored, key=lambda each: each[0])
    return float(worth), list(path)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([PENG, SAHA, replace(PENG, product_weight=0.7, iou_weight=3.0)]),
)
def test_the_first_path_is_the_best_of_all(seed: int, config: ViterbiConfig) -> None:
    boxes = crowded(seed, frames=4, most=3)
    tubes = link_with(boxes, replace(config, suppression=1.0, paths=1))
    for video in (0, 1):
        _, path = best_score(boxes, config, video)
        found = tubes.boxes[tubes.video == video]
        assert found.tolist() == boxes.boxes[path].tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_second_path_is_the_best_of_the_rest(seed: int) -> None:
    boxes = crowded(seed, frames=4, most=3)
    config = replace(SAHA, suppression=1.0)
    tubes = link_with(boxes, config)
    for video in (0, 1):
        left = select_rows(boxes, np.flatnonzero(boxes.video == video))
        least = np.bincount(left.frame).min()
        paths = []
        for _ in range(least):
            _, path = best_score(left, config, video)
            paths.append(left.boxes[path].tolist())
            left = select_rows(left, np.setdiff1d(np.arange(len(left)), path))
        of_video = np.unique(tubes.tube[tubes.video == video])
        found = [tubes.boxes[tubes.tube == tube].tolist() for tube in of_video]
        assert sorted(found) == sorted(paths)


@pytest.mark.parametrize("config", [PENG, SAHA, YOWO])
def test_no_box_is_used_twice(config: ViterbiConfig) -> None:
    boxes = crowded(0, frames=30, most=6)
    tubes = link_with(boxes, config)
    used = list(zip(tubes.video.tolist(), tubes.frame.tolist(), map(tuple, tubes.boxes.tolist())))
    assert len(used) == len(set(used))


def test_missing_frames() -> None:
    """Boxes on frames 1 and 3 of a video of 6: skipped and filled, or copied."""
    boxes = select_rows(crowded(0, 4, 1), np.array([1, 3]))
    skipped = link_with(boxes, PENG)
    assert skipped.frame.tolist() == [1, 2, 3]
    assert skipped.boxes[1].tolist() == pytest.approx(skipped.boxes[[0, 2]].mean(axis=0).tolist())
    videos = Videos(
        ("one",), np.array([6]), np.array([320]), np.array([240]), np.array([25.0]), ("",)
    )
    copied = link_with(boxes, YOWO, videos)
    assert copied.frame.tolist() == [0, 1, 2, 3, 4, 5]
    first, second = boxes.boxes.tolist()
    assert copied.boxes.tolist() == [first, first, first, second, second, second]


def test_yowo_numbers(shared: Callable[[str], Path]) -> None:
    expected = json.loads(shared("reference/jhmdb.expected.json").read_text())
    wanted = expected["linkers"]["YOWO_viterbi"]
    truth, videos = read_ground_truth(shared("jhmdb/JHMDB-GT.pkl"), split=1)
    boxes = read_table(Detections, shared("reference/jhmdb.detections.parquet"))
    tubes = link_with(align_to_ground_truth(boxes, truth, "detections", videos), YOWO, videos)
    assert nms_tubes(tubes, 0.3).sum() == len(np.unique(tubes.tube)) == wanted["tubes"]
    assert len(tubes) == wanted["boxes"]
    results = evaluate_tables(truth, [YOWO_PROTOCOL, ACT], tubes=tubes, video_thresholds=[0.5])
    assert results[0].video_scores[0].mean == pytest.approx(wanted["yowo"]["0.5"]["mAP"], abs=1e-4)
    assert results[1].video_scores[0].mean == pytest.approx(
        wanted["act"]["0.5"]["mAP_float64"], abs=1e-5
    )


def test_nothing_in_nothing_out() -> None:
    assert len(link_with(select_rows(crowded(0, 2, 1), np.empty(0, np.int64)), PENG)) == 0
    assert len(link_with(select_rows(crowded(0, 2, 1), np.empty(0, np.int64)), YOWO)) == 0
