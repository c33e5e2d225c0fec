"""The tubes of a trained detector: hand-made tables, and where looks are few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.files import InputError
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.detector import Detector, DetectorSettings, build_detector
from actiontubes.detect.linking.greedy import ACT
from actiontubes.detect.linking.link import link
from actiontubes.detect.linking.viterbi import PENG
from actiontubes.detect.trained_tubes import (
    add_between,
    best_first,
    find_trained_tubes,
    hold,
    rules_for,
)


def moving(frames: list[int], score: float = 0.5, label: int = 0) -> Detections:
    """A box that moves a pixel a frame."""
    frame = np.array(frames, np.int32)
    corner = np.stack([frame, np.full(len(frame), 10)], axis=1).astype(float)
    return Detections(
        np.zeros_like(frame), frame, np.full_like(frame, label), np.full(len(frame), score),
        np.concatenate([corner, corner + np.array([20, 30])], axis=1), ("clip",), ("run", "sit"),
    )  # fmt: skip


def test_between_key_frames_and_after_the_last() -> None:
    found = moving(list(range(0, 24, 6)))  # 0, 6, 12, 18 of 22 frames
    tubes = hold(link(found, rules_for(ACT, 6)), 6, 22)
    assert tubes.frame.tolist() == list(range(22)) and not tubes.tube.any()
    np.testing.assert_allclose(tubes.boxes[:, 0], [*range(19), 18, 18, 18])
    detections = add_between(found, tubes, 6)
    order = np.argsort(detections.frame)
    assert detections.frame[order].tolist() == list(range(22))
    np.testing.assert_allclose(detections.boxes[order], tubes.boxes)
    np.testing.assert_allclose(detections.score, 0.5)


def test_a_tube_that_ended_is_not_held() -> None:
    tubes = link(moving(list(range(0, 20))), ACT)
    assert hold(tubes, 4, 30).frame.max() == 19
    # On frame 28 stands the last look of 30 frames, on 20 that of 22.
    assert hold(link(moving([0, 4, 8, 12, 16, 20]), ACT), 4, 22).frame.max() == 21


@pytest.mark.parametrize("every", [1, 2, 5, 9, 20])
def test_a_greedy_tube_outlives_one_missed_key_frame(every: int) -> None:
    keys = [k * every for k in range(20)]
    missed = [frame for k, frame in enumerate(keys) if k not in (7, 13)]
    slow = replace(moving(missed), boxes=np.tile([10.0, 10, 30, 40], (len(missed), 1)))
    tubes = link(slow, rules_for(ACT, every))
    assert not tubes.tube.any() and tubes.frame.tolist() == list(range(keys[-1] + 1))
    assert rules_for(PENG, every) is PENG and rules_for(ACT, 1) is ACT


def test_best_first() -> None:
    weak, strong = link(moving(list(range(16)), 0.3)), link(moving(list(range(18)), 0.9, label=1))
    both = Tubes(
        **{
            name: np.concatenate([getattr(weak, name), getattr(strong, name) + shift])
            for name, shift in (
                ("video", 0), ("frame", 0), ("label", 0), ("boxes", 0), ("tube", 7),
                ("score", 0), ("tube_score", 0),
            )
        },
        video_names=weak.video_names,
        label_names=weak.label_names,
    )  # fmt: skip
    tubes, scores = best_first(both)
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    assert tubes.tube.tolist() == [0] * 18 + [1] * 16
    assert tubes.frame.tolist() == [*range(18), *range(16)]
    assert tubes.label.tolist() == [1] * 18 + [0] * 16
    none, no_scores = best_first(link(moving([])))
    assert len(none) == len(no_scores) == 0


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    settings = DetectorSettings(
        ("run", "sit"), backbone="i2d", width=0.0625, endpoint="Mixed_3c", proposals="given",
        hidden=8, frames=4, height=48, width_pixels=64, norm="batch",
    )  # fmt: skip
    return build_detector(settings).eval()


def people(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [np.array([[5, 5, 40, 45, 0.9]], np.float32) for _ in frames]


def test_tables_of_a_video(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 31, size=(128, 96))
    found = find_trained_tubes(video, "a", detector, people, threshold=0, progress=False)
    assert found.info.num_frames == 31 and (found.info.width, found.info.height) == (128, 96)
    # One box a frame and class, which refinement moves by little.
    assert sorted(zip(found.detections.label, found.detections.frame)) == [
        (label, frame) for label in (0, 1) for frame in range(31)
    ]
    assert np.abs(found.detections.boxes - [5, 5, 40, 45]).max() < 15
    assert np.bincount(found.tubes.tube).tolist() == [31, 31]
    assert (np.diff(found.tube_scores) <= 0).all()
    best = found.label_scores.argmax(axis=1)
    first = np.unique(found.tubes.tube, return_index=True)[1]
    assert best.tolist() == found.tubes.label[first].tolist()
    assert ((found.label_scores > 0).sum(axis=1) == 1).all()
    np.testing.assert_allclose(found.label_scores.max(axis=1), found.tube_scores)


def test_nothing_above_the_threshold(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 20)
    found = find_trained_tubes(video, "a", detector, people, threshold=1, progress=False)
    assert len(found.detections) == 40 and len(found.tubes) == 0
    assert found.label_scores.shape == (0, 2) and found.tubes.label_names == ("run", "sit")


def test_what_cannot_be(numbered, detector: Detector, tmp_path: Path) -> None:
    video = numbered.write(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match="this detector needs person boxes; give --proposals"):
        find_trained_tubes(video, "a", detector, progress=False)
    with pytest.raises(InputError, match="--every 0: give 1 or more"):
        find_trained_tubes(video, "a", detector, people, every=0, progress=False)
