"""Calibration of linking on held-out videos: a detector whose errors are known."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import DetectionSet
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Detections, Tubes, tubes_from_rows
from actiontubes.detect.linking.interface import Calibration
from actiontubes.detect.linking.linker import link
from actiontubes.detect.training.calibration import (
    fit_calibration,
    fit_log_odds,
    hold_out,
    is_more_than_chance,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

NUM_VIDEOS, FRAMES = 10, 60


def truth_and_detections(random: np.random.Generator) -> tuple[Tubes, Detections]:
    """One person a video, who acts from frame 20 to 39.

    The scores rise from 0.1 to 0.9 in the ten frames before and fall in the ten after: as likely
    as not an action begins where they are near their high level.
    """
    names = tuple(f"video{number}" for number in range(NUM_VIDEOS))
    box = np.array([50.0, 50, 90, 130])
    tubes, columns = [], []
    for video in range(NUM_VIDEOS):
        tubes.append((video, 0, np.column_stack([np.arange(20, 40), np.tile(box, (20, 1))]), None))
        for t in range(FRAMES):
            outside = max(20 - t, t - 39, 0)
            level = 0.9 - 0.8 * min(outside, 10) / 10
            columns.append((video, t, np.clip(level + random.normal(0, 0.02), 0.01, 0.99)))
    video, frame, score = np.array(columns).T
    boxes = box + random.normal(0, 1, (len(video), 4))
    label = np.zeros(len(video), np.int32)
    detections = Detections(
        video.astype(np.int32), frame.astype(np.int32), label, score, boxes, names, ("run",)
    )
    return tubes_from_rows(tubes, names, ("run",)), detections


def test_the_boundary_is_where_the_truth_has_it() -> None:
    truth, detections = truth_and_detections(np.random.default_rng(0))
    calibration = fit_calibration(detections, truth)
    assert calibration.boundary == 0.8
    assert calibration.min_length == 10  # half of the shortest action
    lengths = [
        np.bincount(link(detections, "persons", calibration=each).tube)
        for each in (None, calibration)
    ]
    assert lengths[0].mean() > 27 and abs(lengths[1].mean() - 20) < 4
    again = Calibration.from_json(asdict(calibration), Path("detector.safetensors"))
    assert again == calibration


def test_precise_boxes_of_somebody_who_swings_are_smoothed_less() -> None:
    """A box that grows and shrinks within eight frames, without noise and with much of it."""
    truth, detections = truth_and_detections(np.random.default_rng(0))
    arm = np.array([0, 0, 12.0, 0])

    def swing(frame: np.ndarray) -> np.ndarray:
        return np.sin(frame * np.pi / 4)[:, None] * arm

    truth = replace(truth, boxes=truth.boxes + swing(truth.frame))
    box = np.array([50.0, 50, 90, 130])
    precise = replace(detections, boxes=box + swing(detections.frame))
    assert fit_calibration(precise, truth).motion == 1.0
    still, noisy = truth_and_detections(np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(0, 4, noisy.boxes.shape)
    assert fit_calibration(replace(noisy, boxes=box + noise), still).motion == 0.03


def test_scores_become_probabilities() -> None:
    random = np.random.default_rng(1)
    log_odds = random.normal(0, 2, 20_000)
    right = random.random(20_000) < 1 / (1 + np.exp(-(1.5 * log_odds - 1)))
    score = 1 / (1 + np.exp(-log_odds))
    scale, shift = fit_log_odds(score, right)
    assert scale == pytest.approx(1.5, abs=0.05) and shift == pytest.approx(-1, abs=0.05)
    calibration = Calibration(score_scale=scale, score_shift=shift)
    probability = calibration.probability(score)
    for low in np.arange(0, 1, 0.2):
        inside = (probability >= low) & (probability < low + 0.2)
        assert right[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.04)


def test_nothing_detected_and_nothing_right() -> None:
    truth, detections = truth_and_detections(np.random.default_rng(0))
    nothing = replace(
        detections,
        **{name: getattr(detections, name)[:0] for name in ("video", "frame", "label", "score")},
        boxes=np.empty((0, 4)),
    )
    usual = Calibration(min_length=10)
    assert fit_calibration(nothing, truth) == usual
    elsewhere = replace(detections, boxes=detections.boxes + 500)
    calibration = fit_calibration(elsewhere, truth)
    assert link(elsewhere, "persons", calibration=calibration).tube_score.max() < 0.2


def test_a_tenth_is_held_out_and_no_more_than_asked_for() -> None:
    truth, _ = truth_and_detections(np.random.default_rng(0))
    counts = np.full(NUM_VIDEOS, FRAMES)
    videos = DetectionSet(
        truth, truth.video_names, truth.label_names, (Path(),) * NUM_VIDEOS, counts, counts, counts
    )
    rest, held_out = hold_out(videos, 32)
    assert held_out is not None and (len(rest), len(held_out)) == (9, 1)
    assert sorted(rest.names + held_out.names) == sorted(videos.names)
    assert len(rest.tubes) + len(held_out.tubes) == len(truth)
    assert hold_out(videos, 0) == (videos, None)


@pytest.mark.parametrize("record", [[], {"boundary": 2}, {"change": 1.0}, {"min_length": "4"}])
def test_a_damaged_calibration(record: object) -> None:
    with pytest.raises(InputError, match=r"one\.onnx: its calibration was written by another"):
        Calibration.from_json(record, Path("one.onnx"))


@settings(deadline=None)
@given(
    gain=st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=30),
    num_choices=st.integers(1, 10),
)
def test_more_than_chance_is_what_a_t_test_says(gain: list[float], num_choices: int) -> None:
    assume(np.ptp(gain) > 0.01)
    expected = ttest_1samp(gain, 0, alternative="greater").pvalue * num_choices < 0.05
    assert is_more_than_chance(np.array(gain), num_choices) == expected
    assert not is_more_than_chance(np.array(gain[:1]), num_choices)
