"""Calibration by cross-fitting: which videos lie in which fold, and what is measured on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import DetectionSet
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, concatenate_rows, tubes_from_rows
from actiontubes.detect.training.cross_fitting import cross_fit, make_folds, merge_unseen_classes
from actiontubes.detect.training.options import RunOptions, Schedule
from hypothesis import given
from hypothesis import strategies as st

BOX = np.array([50.0, 50, 90, 130])
FRAMES = 30


def make_set(labels: list[int | None], num_labels: int = 5) -> DetectionSet:
    """Videos with one tube of a label, from frame 10 to 19, or none."""
    names = tuple(f"video{number}" for number in range(len(labels)))
    rows = np.column_stack([np.arange(10, 20), np.tile(BOX, (10, 1))])
    tubes = [(video, label, rows, None) for video, label in enumerate(labels) if label is not None]
    classes = tuple("abcde"[:num_labels])
    counts = np.full(len(labels), FRAMES)
    return DetectionSet(
        tubes_from_rows(tubes, names, classes), names, classes, (Path(),) * len(labels), counts,
        counts * 4, counts * 4,
    )  # fmt: skip


@given(st.lists(st.none() | st.integers(0, 4), max_size=12), st.integers(0, 5))
def test_folds_of_any_videos(labels: list[int | None], count: int) -> None:
    folds = make_folds(make_set(labels), count)
    with_boxes = [label for label in labels if label is not None]
    if len(with_boxes) < 2 or count < 2:
        assert folds == []
    if not folds:
        return
    assert 2 <= len(folds) <= count
    assert sorted(row for fold in folds for row in fold) == list(range(len(labels)))
    for fold in folds:
        rest = [label for row, label in enumerate(labels) if row not in fold]
        assert any(label is not None for label in rest)
        for label in {labels[row] for row in fold} - {None}:
            assert labels.count(label) == 1 or label in rest


def detections_of(videos: DetectionSet, label: int, score: float) -> Detections:
    """The box of every frame of every video, with score 0.01 where nothing happens."""
    video, frame = (each.ravel() for each in np.mgrid[: len(videos), :FRAMES].astype(np.int32))
    inside = (frame >= 10) & (frame < 20)
    return Detections(
        video, frame, np.full(len(video), label, np.int32), np.where(inside, score, 0.01),
        np.tile(BOX, (len(video), 1)), videos.names, videos.labels,
    )  # fmt: skip


def test_classes_are_ignored_where_they_are_not_known() -> None:
    videos = make_set([0, 1, 1])
    several = concatenate_rows([detections_of(videos, 0, 0.25), detections_of(videos, 2, 0.5)])
    merged, truth = merge_unseen_classes(several, videos.tubes, np.array([1, 2]))
    in_first = merged.video == 0
    assert set(merged.label[in_first]) == {0} and set(merged.label[~in_first]) == {0, 2}
    assert in_first.sum() == FRAMES and (~in_first).sum() == 4 * FRAMES
    assert merged.score[in_first].max() == 0.75
    assert (truth.label == videos.tubes.label).all()
    certain = replace(several, score=np.ones(len(several)))
    assert merge_unseen_classes(certain, videos.tubes, np.array([1]))[0].score.max() == 1
    assert merge_unseen_classes(several, videos.tubes, np.arange(5)) == (several, videos.tubes)


class Trainer:
    """Finds what there is under a class that it was trained on; notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...], int]] = []

    def __call__(
        self, videos: DetectionSet, others: DetectionSet, folder: Path, schedule: Schedule
    ) -> Detections:
        self.asked.append((videos.names, others.names, schedule.steps))
        folder.mkdir(parents=True)
        return detections_of(others, int(videos.tubes.label[0]), 0.6)


def test_every_video_is_measured_by_a_detector_that_has_not_seen_it(tmp_path: Path) -> None:
    videos = make_set([0, 0, None])
    folds = make_folds(videos, 2)
    run, schedule = RunOptions(device="cpu"), Schedule(steps=300, warmup=30)
    trainer = Trainer()

    def fit(made_of: dict, *, resume: bool = False):
        return cross_fit(
            videos, folds, trainer, schedule, replace(run, resume=resume), tmp_path, made_of
        )

    calibration = fit({"lr": 1})
    assert [steps for *_, steps in trainer.asked] == [100] * 2
    for trained, detected, _ in trainer.asked:
        assert sorted(trained + detected) == sorted(videos.names)
    assert calibration.min_length == 5
    # A detector of a third of the steps says nothing of how often the one of all is right.
    assert calibration.probability(np.array([0.4])) == 0.4
    kept = read_table(Detections, tmp_path / "cross_fitted.parquet")
    assert len(kept) == len(videos) * FRAMES
    assert not (tmp_path / "calibration").exists()

    assert fit({"lr": 1}, resume=True) == calibration and len(trainer.asked) == 2
    fit({"lr": 2}, resume=True)
    assert len(trainer.asked) == 4
    assert json.loads((tmp_path / "calibration.json").read_text())["made_of"] == {"lr": 2}


@pytest.mark.parametrize("count", [0, 1])
def test_no_folds(count: int) -> None:
    assert make_folds(make_set([0, 0, 1]), count) == []
    assert make_folds(make_set([0]), 3) == []
