"""Confidence intervals: a resample is what evaluating the drawn videos would give."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes, concatenate_rows, select_rows
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.bootstrap import (
    Interval,
    add_intervals,
    compare,
    interval,
    resample_means,
    resample_videos,
)
from actiontubes.detect.evaluation.evaluate import Evaluation, evaluate_tables
from actiontubes.detect.evaluation.protocols import ACT, PROTOCOLS, Protocol
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.linker import link

from .test_properties import detections_of, truth_of, tubes_of

Table = TypeVar("Table", Detections, Tubes)
TENTHS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def drawn(table: Table, draw: np.ndarray) -> Table:
    """The rows of the drawn videos; a video drawn twice is two videos, with tubes of their own."""
    parts, names = [], []
    for video, count in enumerate(draw):
        for copy in range(count):
            rows = select_rows(table, table.video == video)
            rows = replace(rows, video=np.full(len(rows), len(names), np.int32))
            if isinstance(rows, Tubes):
                rows = replace(rows, tube=rows.tube + 10_000 * len(names))
            parts.append(rows)
            names.append(f"{table.video_names[video]} {copy}")
    return replace(concatenate_rows(parts), video_names=tuple(names))


def evaluated(
    truth: Tubes, detections: Detections, tubes: Tubes, protocols: tuple[Protocol, ...] = PROTOCOLS
) -> list[Evaluation]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return evaluate_tables(truth, protocols, detections, tubes, TENTHS)


def assert_equals_direct(
    truth: Tubes, detections: Detections, tubes: Tubes, draws: np.ndarray
) -> None:
    """Every mAP of every protocol, against the evaluator on the drawn videos themselves."""
    found = [resample_means(each.matches, draws)
             for each in evaluated(truth, detections, tubes)]  # fmt: skip
    for row, draw in enumerate(draws):
        again = evaluated(*(drawn(table, draw) for table in (truth, detections, tubes)))
        for means, expected in zip(found, again):
            for part, by_threshold in expected.means.items():
                values = {name: values[row] for name, values in means[part].items()}
                assert list(values) == list(by_threshold)
                # Without ground truth the evaluator says None, a resample NaN.
                wanted = {name: np.nan if mean is None else mean
                          for name, mean in by_threshold.items()}  # fmt: skip
                assert values == pytest.approx(wanted, abs=1e-9, nan_ok=True)


def test_equals_direct_resampling() -> None:
    """24 classes in 24 videos: most draws lack some of them."""
    truth, detections = synthetic_detections(0.027)
    rows = np.random.default_rng(0).permutation(len(detections))[:1500]
    detections = select_rows(detections, rows)
    draws = resample_videos(len(truth.video_names), 3)
    assert (draws == 0).any() and (draws > 1).any()
    assert_equals_direct(truth, detections, link(detections, min_length=3), draws)


@pytest.mark.parametrize("seed", range(12))
def test_equals_direct_resampling_of_few_boxes(seed: int) -> None:
    """Three videos, where a draw may have one class, one video three times, or no ground truth."""
    random = np.random.default_rng(seed)
    truth = truth_of(random)
    detections, tubes = detections_of(random, truth), tubes_of(random, truth)
    with pytest.warns(UserWarning, match="intervals from 3 videos are rough"):
        draws = resample_videos(3, 6, seed)
    draws = np.concatenate([draws, [[3, 0, 0], [0, 0, 3], [1, 1, 1]]]).astype(np.int32)
    draws = draws[[(draw[np.unique(truth.video)] > 0).any() for draw in draws]]
    assert_equals_direct(truth, detections, tubes, draws)


def test_every_video_once_is_the_evaluation() -> None:
    truth, detections = synthetic_detections(0.027)
    tubes = link(detections)
    once = np.ones((1, len(truth.video_names)), np.int32)
    for each in evaluated(truth, detections, tubes):
        means = resample_means(each.matches, once)
        for part, by_threshold in each.means.items():
            assert {k: v[0] for k, v in means[part].items()} == pytest.approx(by_threshold)


def test_a_class_that_a_draw_lacks_is_left_out_of_its_mean() -> None:
    """By hand: run is found in video a, jump is missed in b. Without b, mAP is run's alone."""
    zero = np.zeros(2, np.int32)
    code = np.arange(2, dtype=np.int32)
    boxes = np.array([[0.0, 0, 9, 9]] * 2)
    truth = Tubes(code, zero, code, boxes, code.astype(np.int64), ("a", "b"), ("run", "jump"))
    hit = Detections(zero[:1], zero[:1], zero[:1], np.array([0.5]), boxes[:1], ("a", "b"),
                     ("run", "jump"))  # fmt: skip
    (result,) = evaluate_tables(truth, [ACT], hit, frame_thresholds=[0.5])
    draws = np.array([[1, 1], [2, 0], [0, 2]], np.int32)
    assert resample_means(result.matches, draws)["frame"]["0.5"].tolist() == [50, 100, 0]


def test_interval_and_difference_by_hand() -> None:
    """A draw without ground truth counts nowhere; the percentiles are reflected at the mean."""
    values = np.array([np.nan, 1.0, 2.0, 3.0])
    low, high = np.percentile([1, 2, 3], [2.5, 97.5])
    found = interval(1.5, values)
    assert (found.low, found.high) == pytest.approx((3 - high, 3 - low))
    assert found.within(0.5, 1) == Interval(0.5, 1)
    difference = compare(2.0, 1.0, values, np.array([np.nan, 1.0, 3.0, 1.0]))
    # 0, -1 and 2: one is nothing and one has the other sign.
    assert difference.sign_differs == pytest.approx(2 / 3)
    assert difference.difference == 1 and difference.other == 1


def test_draws() -> None:
    draws = resample_videos(30, 200, seed=1)
    assert (draws.sum(axis=1) == 30).all() and draws.min() == 0
    # Each video comes once on average, and is missing from (1 - 1/30)^30 of the draws.
    assert draws.mean(axis=0) == pytest.approx(np.ones(30), abs=0.35)
    assert (draws == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.02)
    assert (draws == resample_videos(30, 200, seed=1)).all()
    assert (draws != resample_videos(30, 200, seed=2)).any()
    with pytest.raises(InputError, match="needs two videos or more"):
        resample_videos(1)
    with pytest.raises(InputError, match="--bootstrap 0: must be at least 1"):
        resample_videos(30, 0)


def test_intervals_and_differences() -> None:
    truth, detections = synthetic_detections(0.027)
    tubes = link(detections)
    worse = replace(detections, score=np.random.default_rng(0).random(len(detections)))
    results = evaluated(truth, detections, tubes, (ACT,))
    others = evaluated(truth, worse, tubes, (ACT,))
    draws = resample_videos(len(truth.video_names), 100)
    for each, other in zip(add_intervals(results, draws, others), others):
        for part, by_threshold in each.means.items():
            for name, mean in by_threshold.items():
                found = each.intervals[part][name]
                assert mean is not None and found.low <= found.high
                difference = each.differences[part][name]
                assert difference.other == other.means[part][name]
                assert difference.difference == pytest.approx(mean - difference.other)
        frame = each.differences["frame"]["0.5"]
        assert frame.interval.low > 0 and frame.sign_differs == 0
        same = each.differences["video"]["0.5"]  # the very same tubes
        assert same.difference == 0 and same.interval == Interval(0, 0) and same.sign_differs == 1
        written = each.as_json()
        assert written["bootstrap"]["resamples"] == 100
        assert written["bootstrap"]["frame_map"]["0.5"] == each.intervals["frame"]["0.5"].as_json()
        assert written["against"]["frame_map"]["0.5"]["sign_differs"] == 0
    plain = results[0].as_json()
    assert "bootstrap" not in plain and "against" not in plain


@pytest.mark.slow  # the evaluator itself on two draws of 910 videos
def test_ucf101_24(shared: Callable[[str], Path]) -> None:
    truth = read_table(Tubes, shared("reference/ucf101-24.groundtruth.parquet"))
    boxes = read_table(Detections, shared("reference/ucf101-24.detections.parquet"))
    tubes = read_table(Tubes, shared("reference/ucf101-24.tubes.parquet"))
    boxes = align_to_ground_truth(boxes, truth, "detections")
    tubes = align_to_ground_truth(tubes, truth, "tubes")
    assert_equals_direct(truth, boxes, tubes, resample_videos(len(truth.video_names), 2))
