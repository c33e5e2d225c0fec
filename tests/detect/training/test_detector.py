"""A recipe's run from a data set to its scores: evaluations of a run that was stopped, warnings."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.pretrained import freeze_layers, new_detector
from actiontubes.detect.training.detector import train_and_evaluate
from actiontubes.detect.training.loop import OnStep
from actiontubes.detect.training.options import RoiTraining, RunOptions, Schedule

pytestmark = pytest.mark.usefixtures("one_thread")

SCHEDULE = Schedule(steps=5, batch=1, warmup=0, save_every=2, evaluate_every=1)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionSet, DetectionSet]:
    folder = tmp_path_factory.mktemp("figures")
    make_figure_dataset(folder, train=1, test=1, height=96, width=96, progress=False)
    return open_detection_sets(folder)


def run(
    out: Path,
    train_set: DetectionSet,
    test_set: DetectionSet,
    schedule: Schedule = SCHEDULE,
    on_step: OnStep | None = None,
    resume: bool = False,
) -> None:
    settings = DetectorConfig(
        labels=train_set.labels, backbone="i2d", width_multiplier=0.05, endpoint="Mixed_4b",
        proposals="features", proposal_endpoint="Mixed_4b", proposal_count=10,
        hidden=8, roi_size=2, frames=4, size=(32, 32), norm="batch",
    )  # fmt: skip
    train_and_evaluate(
        new_detector(settings, seed=0), train_set, test_set, out, clips=ClipConfig(),
        sampling=ClipSampling(), augmentation=Augmentation(), rois=RoiTraining(),
        schedule=schedule, run=RunOptions(device="cpu", resume=resume), on_step=on_step,
    )  # fmt: skip


class Interrupted(Exception):
    pass


def test_evaluations_of_a_run_that_was_stopped(
    sets: tuple[DetectionSet, DetectionSet], tmp_path: Path
) -> None:
    """In its fourth step, with the state of the second: the third is evaluated again."""

    def on_step(step: int, _: Mapping[str, float]) -> None:
        if step == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(tmp_path, *sets, on_step=on_step)
    run(tmp_path, *sets, resume=True)
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "protocol", "frame-mAP@0.5", "video-mAP@0.5"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    # A finished run that is resumed is evaluated, no more.
    before = (tmp_path / "evaluations.csv").read_text()
    run(tmp_path, *sets, resume=True)
    assert (tmp_path / "evaluations.csv").read_text() == before
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "state.pt", "detector.safetensors", "losses.csv", "evaluations.csv", "results.json",
        "detections.parquet", "tubes.parquet",
    }  # fmt: skip


def test_boxes_of_several_classes_ask_for_several_labels(
    sets: tuple[DetectionSet, DetectionSet], tmp_path: Path
) -> None:
    train_set, test_set = sets
    schedule = Schedule(steps=1, batch=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path / "one", train_set, test_set, schedule)
    tubes = train_set.tubes
    twice = np.concatenate([np.arange(len(tubes)), [0, 1]])
    both = replace(
        tubes, video=tubes.video[twice], frame=tubes.frame[twice], boxes=tubes.boxes[twice],
        label=np.concatenate([tubes.label, (tubes.label[:2] + 1) % 2]).astype(np.int32),
        tube=np.concatenate([tubes.tube, [10_000, 10_000]]),
    )  # fmt: skip
    with pytest.warns(
        UserWarning, match="2 ground truth boxes have several classes.*--multi-label"
    ):
        run(tmp_path / "two", replace(train_set, tubes=both), test_set, schedule)


def test_freezing_reaches_into_the_head() -> None:
    settings = DetectorConfig(
        labels=("run", "sit"), backbone="i3d", width_multiplier=0.0625, endpoint="Mixed_4f",
        head="mixed", proposals="external", size=(64, 64), norm="batch",
    )  # fmt: skip
    with pytest.raises(InputError, match="--freeze Mixed_5b: cannot be combined with --norm batch"):
        new_detector(settings, freeze="Mixed_5b")
    for last, trained in (("Mixed_3c", True), ("Mixed_5b", True), ("Mixed_5c", False)):
        detector = build_detector(replace(settings, norm="frozen"))
        freeze_layers(detector, last)
        blocks = detector.head.features.blocks
        assert not any(p.requires_grad for p in detector.trunk.Mixed_3c.parameters())
        assert any(p.requires_grad for p in detector.trunk.Mixed_4f.parameters()) == (
            last == "Mixed_3c"
        )
        assert any(p.requires_grad for p in blocks.Mixed_5b.parameters()) == (last == "Mixed_3c")
        assert any(p.requires_grad for p in blocks.Mixed_5c.parameters()) == trained
        assert all(p.requires_grad for p in detector.head.features.box_layers.parameters())
    with pytest.raises(InputError, match="--freeze: this trunk has no layer Mixed_9"):
        freeze_layers(detector, "Mixed_9")
