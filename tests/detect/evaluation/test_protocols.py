"""What each protocol does differently, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.evaluation.align import read_aligned
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import (
    ACT,
    MULTISPORTS,
    PROTOCOLS,
    ROAD,
    YOWO,
    Protocol,
)

WIDE = (0.0, 0.0, 99.0, 99.0)


def tube_table(tubes: list[tuple[range, tuple[float, ...], float]], label: str = "run") -> Tubes:
    """Tubes of one video and class that stand still: frames, box and score of each."""
    lengths = [len(frames) for frames, _, _ in tubes]
    whole = np.zeros(sum(lengths), np.int32)
    return Tubes(
        whole,
        np.concatenate([np.array(frames, np.int32) for frames, _, _ in tubes]),
        whole,
        np.repeat([box for _, box, _ in tubes], lengths, axis=0).astype(float),
        np.repeat(np.arange(len(tubes)), lengths),
        ("one",),
        (label,),
        tube_score=np.repeat([score for _, _, score in tubes], lengths).astype(float),
    )


def on_frame_0(boxes: list[tuple[float, ...]], score: list[float]) -> Detections:
    whole = np.zeros(len(boxes), np.int32)
    return Detections(
        whole, whole, whole, np.array(score), np.array(boxes, float), ("one",), ("run",)
    )


def video_ap(protocol: Protocol, truth: Tubes, tubes: Tubes, threshold: float) -> float | None:
    (result,) = evaluate_tables(truth, [protocol], tubes=tubes, video_thresholds=[threshold])
    return result.video_scores[0].ap["run"]


def test_second_hit() -> None:
    """Two detections want the same of two overlapping boxes; the second also overlaps the other."""
    truth = tube_table([(range(1), WIDE, 0), (range(1), (30, 0, 129, 99), 0)])
    detections = on_frame_0([WIDE, (5, 0, 104, 99)], [0.9, 0.8])
    found = {
        result.protocol.name: result.frame_scores[0].ap["run"]
        for result in evaluate_tables(truth, PROTOCOLS, detections, frame_thresholds=[0.5])
    }
    assert found["act"] == found["road"] == 100
    assert found["multisports"] == found["yowo"] == 50


def test_a_threshold_met_exactly() -> None:
    """5 of 10 frames: overlap 0.5, which road does not count as above 0.5."""
    truth = tube_table([(range(10), WIDE, 0)])
    half = tube_table([(range(5), WIDE, 0.9)])
    assert video_ap(ACT, truth, half, 0.5) == 100
    assert video_ap(replace(ROAD, tube_extent="continuous"), truth, half, 0.5) == 0
    assert video_ap(replace(ROAD, tube_extent="continuous"), truth, half, 0.49) == 100


def test_time_counted_without_its_end() -> None:
    """Frames 0 to 9 and 0 to 4: 5 / 10 with the ends counted, 4 / 9 without."""
    truth = tube_table([(range(10), WIDE, 0)])
    half = tube_table([(range(5), WIDE, 0.9)])
    assert video_ap(MULTISPORTS, truth, half, 4 / 9) == 100
    assert video_ap(MULTISPORTS, truth, half, 0.45) == 0
    assert video_ap(YOWO, truth, half, 0.5) == pytest.approx(100, abs=1e-3)


def test_one_frame_in_common() -> None:
    """A tube of one frame on a ground truth of one frame."""
    single = tube_table([(range(1), WIDE, 0.9)])
    assert video_ap(ACT, single, single, 0.5) == 100
    for protocol in (MULTISPORTS, ROAD, YOWO):
        assert video_ap(protocol, single, single, 0.1) == 0


def test_act_suppresses_tubes_first() -> None:
    """The worse of two overlapping tubes goes, although it would have been a false positive."""
    truth = tube_table([(range(10), WIDE, 0), (range(20, 30), WIDE, 0)])
    tubes = tube_table([(range(10), WIDE, 0.9), (range(8), WIDE, 0.8), (range(20, 30), WIDE, 0.7)])
    assert video_ap(ACT, truth, tubes, 0.5) == 100
    kept = video_ap(replace(ACT, tube_suppression=None), truth, tubes, 0.5)
    assert kept == pytest.approx(100 * (1 / 2 + 1 / 2 * (1 / 2 + 2 / 3) / 2))


def test_yowo_evaluates_only_frames_with_ground_truth() -> None:
    truth = tube_table([(range(1), WIDE, 0)])
    detections = on_frame_0([WIDE, WIDE], [0.5, 0.9])
    detections = replace(detections, frame=np.array([0, 7], np.int32))
    found = evaluate_tables(truth, PROTOCOLS, detections, frame_thresholds=[0.5])
    assert [result.frame_scores[0].ap["run"] for result in found] == [25, 50, 50, 100]


def test_multisports_leaves_six_classes_out() -> None:
    truth = tube_table([(range(3), WIDE, 0.5)], "basketball save")
    act, multisports = evaluate_tables(
        truth, [ACT, MULTISPORTS], tubes=truth, video_thresholds=[0.5]
    )
    assert act.video_scores[0].ap == {"basketball save": 100}
    assert multisports.video_scores[0].ap == {"basketball save": None}
    assert multisports.video_scores[0].mean is None


def test_tubes_that_skip_frames() -> None:
    """Every second of 9 frames: 5 in common of 9 either has."""
    truth = tube_table([(range(9), WIDE, 0)])
    tubes = tube_table([(range(0, 9, 2), WIDE, 1)])
    assert video_ap(ACT, truth, tubes, 0.55) == 100
    assert video_ap(ACT, truth, tubes, 0.56) == 0
    with pytest.warns(UserWarning, match="1 tubes have gaps .the first is tube 0"):
        read_aligned(truth, tubes=tubes)


def test_frame_errors_by_hand() -> None:
    """One detection of each kind of error, then a hit: AP at the fifth of five."""
    truth = replace(
        tube_table([(range(2), WIDE, 0), (range(5, 6), WIDE, 0)]),
        label=np.array([0, 0, 1], np.int32),
        label_names=("run", "walk"),
    )
    boxes = [WIDE, (200.0, 0.0, 250.0, 50.0), WIDE, (200.0, 0.0, 250.0, 50.0), WIDE]
    detections = replace(
        on_frame_0(boxes, [0.5, 0.9, 0.8, 0.7, 0.6]),
        # A hit; beside the action; on another's; where another's is; on a frame without any.
        frame=np.array([0, 0, 5, 5, 9], np.int32),
        label_names=("run", "walk"),
    )
    (result,) = evaluate_tables(truth, [ACT], detections, frame_thresholds=[0.5])
    shares = result.frame_errors["run"]
    # Recall rises once, from 0 to 1/2, between the fourth and the fifth detection.
    mean = dict.fromkeys(("localisation", "classification"), 100 / 2 * (1 / 4 + 1 / 5) / 2)
    assert shares["ap"] == pytest.approx(100 / 2 * (0 + 1 / 5) / 2)
    assert shares["localisation"] == pytest.approx(mean["localisation"])
    assert shares["classification"] == pytest.approx(mean["classification"])
    assert shares["other"] == pytest.approx(mean["localisation"])
    assert shares["timing"] == pytest.approx(mean["localisation"])
    assert shares["missed"] == pytest.approx(50)
    assert result.frame_errors["walk"]["missed"] == 100


def test_video_errors_by_hand() -> None:
    """A duplicate, one elsewhere, one too short, one beside, one on another class."""
    truth = replace(
        tube_table([(range(20), WIDE, 0), (range(20), (300.0, 0.0, 399.0, 99.0), 0)]),
        label=np.repeat(np.array([0, 1], np.int32), 20),
        label_names=("run", "walk"),
    )
    cases = {
        "localisation": (range(20), (40.0, 0.0, 139.0, 99.0)),
        "timing": (range(5), WIDE),
        "classification": (range(20), (300.0, 0.0, 399.0, 99.0)),
        "other": (range(50, 70), WIDE),
    }
    for kind, (frames, box) in cases.items():
        tubes = replace(
            tube_table([(frames, box, 0.9), (range(20), WIDE, 0.5)]), label_names=("run", "walk")
        )
        (result,) = evaluate_tables(
            truth, [replace(MULTISPORTS, temporal="inclusive")], tubes=tubes
        )
        # A false positive, then the hit: half of the square goes to each.
        shares = result.video_errors["run"]
        assert shares["ap"] == pytest.approx(50)
        assert shares[kind] == pytest.approx(50), kind
    twice = replace(
        tube_table([(range(20), WIDE, 0.9), (range(20), WIDE, 0.5)]), label_names=("run", "walk")
    )
    (result,) = evaluate_tables(truth, [MULTISPORTS], tubes=twice)
    assert result.video_errors["run"]["ap"] == 100
