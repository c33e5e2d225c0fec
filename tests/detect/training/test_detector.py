"""A recipe's run from a data set to its scores: evaluations of a run that was stopped, warnings."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.detect.inference.load import load_calibration
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import load_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.pretrained import freeze_layers, new_detector
from actiontubes.detect.training import detector as training
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
    folds: int = 0,
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
        calibration_folds=folds,
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
    # A finished run that is resumed is left as it is.
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run(tmp_path, *sets, resume=True)
    del before["losses.csv"]  # which is cut to the steps of the state
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}.items()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "state.pt", "detector.safetensors", "last.safetensors", "losses.csv", "evaluations.csv",
        "results.json", "detections.parquet", "tubes.parquet", "curves.png", "confusion.png",
        "precision_recall.png", "test_frames.jpg",
    }  # fmt: skip


def test_cross_fitting_goes_on_where_it_was_stopped_and_changes_no_weight(
    tmp_path: Path, monkeypatch
) -> None:
    make_figure_dataset(tmp_path / "data", train=3, test=1, height=96, width=96, progress=False)
    sets = open_detection_sets(tmp_path / "data")
    schedule = replace(SCHEDULE, steps=6, evaluate_every=0)
    run(tmp_path / "plain", *sets, schedule)
    fits = []

    def counted(*arguments: Any, **options: Any) -> Any:
        fits.append(arguments[2].name)
        if fits == ["fold1", "fold2"]:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    fit = training.fit
    monkeypatch.setattr(training, "fit", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(out, *sets, schedule, folds=3)
    assert (out / "calibration/fold1/detections.parquet").is_file()
    run(out, *sets, schedule, folds=3, resume=True)
    assert fits == ["fold1", "fold2", "fold1", "fold2", "fold3", "out"]
    calibration = load_calibration(out / "detector.safetensors")
    assert calibration is not None and calibration.min_length > 1
    one, other = (load_detector(tmp_path / name / "detector.safetensors").state_dict()
                  for name in ("plain", "out"))  # fmt: skip
    assert all((one[name] == other[name]).all() for name in one)
    assert load_calibration(tmp_path / "plain/detector.safetensors") is None
    names = {path.name for path in out.iterdir()}
    assert {"calibration.json", "cross_fitted.parquet"} <= names and "calibration" not in names


def scored(frame_map: float) -> Any:
    """An evaluation with this frame-mAP, which is stored in the tables' place, too."""
    scores = {
        "frame_map": {"0.5": frame_map}, "video_map": {"0.5": 1.0}, "protocol": "act",
        "frame_ap": {"0.5": {}},
    }  # fmt: skip
    return SimpleNamespace(as_json=lambda: scores), frame_map


@pytest.fixture
def score(monkeypatch) -> Callable[..., None]:
    """Lets the evaluations of a run score as one wishes."""

    def give(*frame_maps: float) -> None:
        rest = iter(frame_maps)
        monkeypatch.setattr(training, "predict_dataset", lambda *_, **__: "detections")
        monkeypatch.setattr(training, "evaluate_dataset", lambda *_: scored(next(rest)))

    monkeypatch.setattr(training, "write_table", lambda table, path: path.write_text(str(table)))
    monkeypatch.setattr(training, "report_evaluation", lambda *_: None)
    return give


def evaluations(out: Path) -> list[list[str]]:
    with (out / "evaluations.csv").open(newline="") as file:
        return [row[::2] for row in csv.reader(file)][1:]


def test_the_best_and_the_last_weights(sets, score, tmp_path: Path) -> None:
    score(10.0, 30.0, 20.0, 30.0, 25.0)
    kept: list[bytes] = []

    def on_step(step: int, _: Mapping[str, float]) -> None:
        if step:
            kept.append((tmp_path / "last.safetensors").read_bytes())

    run(tmp_path, *sets, on_step=on_step)
    assert [row[1] for row in evaluations(tmp_path)] == [
        "10.0000", "30.0000", "20.0000", "30.0000", "25.0000"
    ]  # fmt: skip
    best, last = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("detector", "last"))
    assert best == kept[3], "of equal ones the later"
    assert last not in kept and load_detector(tmp_path / "last.safetensors")
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["step"], results["frame_map"]) == (4, {"0.5": 30.0})
    assert (tmp_path / "tubes.parquet").read_text() == "30.0"


@pytest.mark.parametrize("where", ["keep_last", "write_table", "write_json", "write_evaluation"])
def test_a_kill_while_results_are_written(
    sets, score, monkeypatch, tmp_path: Path, where: str
) -> None:
    """In the third evaluation; resumed, the run ends as if nothing had been."""
    score(10.0, 20.0, 30.0, 15.0, 16.0)
    run(tmp_path / "undisturbed", *sets)
    out = tmp_path / "out"
    score(10.0, 20.0, 30.0)
    function, calls = getattr(training, where), []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == (5 if where == "write_table" else 3):
            raise Interrupted
        function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, where, killed)
        with pytest.raises(Interrupted):
            run(out, *sets)
    assert [row[0] for row in evaluations(out)] == ["1", "2"]
    results = out / "results.json"
    assert not results.exists() or where == "write_evaluation" or "10.0" in results.read_text()
    score(30.0, 15.0, 16.0)
    run(out, *sets, resume=True)
    for path in (tmp_path / "undisturbed").iterdir():
        if path.name not in ("losses.csv", "state.pt"):
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    assert evaluations(out) == evaluations(tmp_path / "undisturbed")


def test_a_kill_between_saving_and_evaluating(sets, score, monkeypatch, tmp_path: Path) -> None:
    score(10.0)
    with monkeypatch.context() as patch:
        patch.setattr(training, "predict_dataset", interrupt)
        with pytest.raises(Interrupted):
            run(tmp_path, *sets, replace(SCHEDULE, evaluate_every=0))
    assert not (tmp_path / "evaluations.csv").exists()
    run(tmp_path, *sets, replace(SCHEDULE, evaluate_every=0), resume=True)
    assert evaluations(tmp_path) == [["5", "10.0000"]]
    with (tmp_path / "losses.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["0", "1", "2", "3", "4"]


def interrupt(*_: Any, **__: Any) -> None:
    raise Interrupted


def test_other_data_and_other_clips_are_named(sets, score, tmp_path: Path) -> None:
    score(*[10.0] * 5)
    run(tmp_path, *sets)
    train_set, test_set = sets
    moved = replace(test_set, tubes=replace(test_set.tubes, boxes=test_set.tubes.boxes + 1))
    with pytest.raises(InputError, match=r"--data was 1 \+ 1 videos with .* and is 1 \+ 1 videos"):
        run(tmp_path, train_set, moved, resume=True)
    elsewhere = tuple(path.resolve().parent / "." / path.name for path in test_set.media)
    run(tmp_path, train_set, replace(test_set, media=elsewhere), resume=True)


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
        head="mixed", mixed_per_box=True, proposals="external", size=(64, 64), norm="batch",
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
