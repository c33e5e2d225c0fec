"""Classification: the loop of the detector's training, on labelled clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.backbones.weights.load import load_pretrained, save_pretrained
from actiontubes.datasets.clips.classification_clips import ClassificationSample
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.classify import ClassifierTest
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.pretrained import new_detector
from actiontubes.detect.training import classifier as training
from actiontubes.detect.training.classifier import (
    ClassificationTask,
    ClassifierNetwork,
    new_classifier,
)
from actiontubes.detect.training.loop import fit
from actiontubes.detect.training.options import ClassifierOptions, RunOptions, Schedule
from torch import nn
from torch.utils.data import Dataset

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = ("left to right", "right to left")
STEPS = Schedule(steps=6, batch=2, lr=0.02, warmup=1, ema=0.9, save_every=2)


class MovingBars(Dataset[ClassificationSample]):
    """A bright bar on noise that moves to the right (0) or to the left (1)."""

    def __getitem__(self, position: int) -> ClassificationSample:
        rng = np.random.default_rng(position)
        label = position % 2
        clip = rng.integers(90, 130, (8, 32, 32, 3), np.uint8)
        for t in range(8):
            x = 3 * t + 2
            clip[t, :, x : x + 6] = 230
        if label:
            clip = clip[::-1].copy()
        return ClassificationSample(torch.from_numpy(clip), label, f"bar{position}:0", position)


def options(**changes: Any) -> ClassifierOptions:
    return ClassifierOptions(**{"backbone": "i3d", "weights": None, "width": 0.05} | changes)


def tiny(**changes: Any) -> PretrainedModel:
    return new_classifier(options(**changes), LABELS)


def trained(out: Path, model: PretrainedModel | None = None, **options: Any) -> PretrainedModel:
    values: dict[str, Any] = {"schedule": STEPS, "on_step": None} | options
    schedule, on_step = values.pop("schedule"), values.pop("on_step")
    of_task = {k: values.pop(k) for k in ("norm", "label_smoothing", "evaluator") if k in values}
    task = ClassificationTask(model or tiny(), **of_task)
    run = RunOptions(**{"seed": 5, "device": "cpu"} | values)
    return fit(task, MovingBars(), out, schedule, run, on_step).model


def states(model: PretrainedModel) -> dict[str, torch.Tensor]:
    assert model.head is not None
    return nn.ModuleDict({"trunk": model.trunk, "head": model.head}).state_dict()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    trained(out)
    names = {path.name for path in out.iterdir()}
    assert names == {"losses.csv", "state.pt", "classifier.safetensors"}
    return out


def saved(out: Path) -> dict[str, Any]:
    return torch.load(out / "state.pt", weights_only=True)


class Interrupted(Exception):
    pass


def test_stopped_and_resumed(undisturbed: Path, tmp_path: Path) -> None:
    def on_step(step: int, values: Mapping[str, float]) -> None:
        assert list(values) == ["cross_entropy"]
        if step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(tmp_path, on_step=on_step)
    trained(tmp_path, resume=True)
    for part in ("model", "averaged"):
        ours, theirs = saved(tmp_path)[part], saved(undisturbed)[part]
        assert len(ours) > 100
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({}, {}, "this folder already contains a training run; continue it with --resume"),
        ({"width": 0.1}, {"resume": True}, "--width was 0.05 and is 0.1 now"),
        ({}, {"resume": True, "norm": "frozen"}, "--norm was batch and is frozen now"),
    ],
)
def test_runs_that_do_not_fit(
    undisturbed: Path, model: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(undisturbed, tiny(**model), **options)


def test_a_detector_s_run_is_none_of_a_classifier(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes((undisturbed / "state.pt").read_bytes())
    state = saved(tmp_path)
    state["settings"] = {"labels": list(LABELS)}
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(InputError, match="--task was None and is classification now"):
        trained(tmp_path, resume=True)


def test_the_best_is_kept_and_tested_on_all_frames(
    undisturbed: Path, tmp_path: Path, monkeypatch
) -> None:
    """Of tests at steps 1, 2 and 3 (the last, on all frames) the second scores highest."""
    tested: list[tuple[float, bool]] = []

    def score_classifier(model: PretrainedModel, videos: None, test: ClassifierTest, _: Any) -> Any:
        assert model.head is not None
        top1 = float(model.head.fc.bias.detach()[0])
        tested.append((top1, test.whole))
        clip = {"top1": top1, "top5": 100.0}
        result = {"clip": clip, "video": clip if test.whole else None}

        def save(folder: Path, **more: Any) -> None:
            (folder / "results.json").write_text(json.dumps(result | more))

        return SimpleNamespace(accuracies=result, save=save)

    monkeypatch.setattr(training, "score_classifier", score_classifier)
    evaluator = training.ClassificationEvaluator(
        None,
        tmp_path,
        ClassifierTest(8, 64),
        3,
        RunOptions(device="cpu"),  # type: ignore[arg-type]
    )
    model = load_pretrained(get_variant("i3d"), str(undisturbed / "classifier.safetensors"))
    assert model.head is not None
    for step, top1 in ((1, 20.0), (2, 40.0), (3, 30.0)):
        torch.nn.init.constant_(model.head.fc.bias, top1)
        save_pretrained(model, tmp_path / "last.safetensors")
        assert evaluator(model, step)["top1"] == top1
    result = evaluator.test_best("i3d", 3)
    assert tested == [(20.0, False), (40.0, False), (30.0, True), (40.0, True)]
    assert result == json.loads((tmp_path / "results.json").read_text())
    assert result["step"] == 2 and result["video"]["top1"] == 40.0
    assert evaluator.test_best("i3d", 3) == result and len(tested) == 4
    rows = (tmp_path / "evaluations.csv").read_text().splitlines()
    assert rows == ["step,clip top1,clip top5", "1,20.0000,100.0000", "2,40.0000,100.0000",
                    "3,30.0000,100.0000"]  # fmt: skip


def test_the_detector_s_trunk_starts_from_it(undisturbed: Path) -> None:
    path = undisturbed / "classifier.safetensors"
    model = load_pretrained(get_variant("i3d"), str(path))
    assert model.labels == LABELS
    averaged = saved(undisturbed)["averaged"]
    assert all(torch.equal(value, averaged[name]) for name, value in states(model).items())
    settings = DetectorConfig(
        labels=("run",), backbone="i3d", width_multiplier=0.05, endpoint="Mixed_4b",
        proposals="features", proposal_endpoint="Mixed_4b", hidden=8, frames=8, size=(32, 32),
    )  # fmt: skip
    detector = new_detector(settings, weights=str(path))
    for name, value in detector.trunk.state_dict().items():
        assert torch.equal(value, averaged[f"trunk.{name}"]), name


def test_it_learns_which_way_a_bar_moves(tmp_path: Path) -> None:
    schedule = Schedule(
        steps=60, batch=4, optimizer="adamw", lr=4e-3, warmup=3, decay="cosine", ema=0.8
    )
    scores: list[tuple[int, float]] = []
    clips = torch.stack([MovingBars()[1000 + i].clip for i in range(8)])

    def evaluate(model: PretrainedModel, step: int) -> dict[str, float]:
        with torch.no_grad():
            assert not model.trunk.training
            right = model.logits(clips).argmax(1) == torch.arange(8) % 2
        scores.append((step, right.float().mean().item()))
        return {"top1": scores[-1][1]}

    model = trained(tmp_path, schedule=replace(schedule, evaluate_every=40), evaluator=evaluate)
    assert [step for step, _ in scores] == [40, 60]
    assert scores[-1][1] == 1.0
    with torch.no_grad():
        backwards = model.logits(clips.flip(1)).argmax(1) == torch.arange(8) % 2
    assert not backwards.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_by_hand(tmp_path: Path, smoothing: float) -> None:
    """Of the first step: the target has 1 - s of its class and s / classes of each."""
    model = tiny(dropout=0.0)
    network = ClassifierNetwork(model)
    with torch.no_grad():
        logits = network.train()(torch.stack([MovingBars()[i].clip for i in range(2)]))
    share = logits.log_softmax(1)
    target = torch.eye(2) * (1 - smoothing) + smoothing / 2
    seen: list[float] = []
    trained(
        tmp_path, tiny(dropout=0.0), schedule=replace(STEPS, steps=1), label_smoothing=smoothing,
        on_step=lambda _, values: seen.append(values["cross_entropy"]),
    )  # fmt: skip
    assert seen == [pytest.approx(-(target * share).sum(1).mean().item(), rel=1e-5)]


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_norms_of_pretrained_weights(tmp_path: Path, norm: Any) -> None:
    model = tiny()
    before = {name: value.clone() for name, value in states(model).items()}
    after = states(trained(tmp_path, model, schedule=replace(STEPS, steps=2), norm=norm))
    for name, value in after.items():
        if ".norm." in name and value.is_floating_point():
            assert torch.equal(value, before[name]) == (norm == "frozen"), name
    assert not torch.equal(after["trunk.Mixed_4b.branch0.0.conv.weight"],
                           before["trunk.Mixed_4b.branch0.0.conv.weight"])  # fmt: skip


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    model = tiny(freeze="Mixed_5c")
    before = {name: value.clone() for name, value in states(model).items()}
    after = states(trained(tmp_path, model, schedule=replace(STEPS, steps=2)))
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"head.fc.weight", "head.fc.bias"}


def pretrained(path: Path, labels: tuple[str, ...]) -> str:
    torch.manual_seed(3)
    trunk = Trunk(get_variant("i3d"), 0.05)
    head = Classifier(trunk.out_channels, len(labels))
    save_pretrained(PretrainedModel(trunk, head, labels, (0.4,) * 3, (0.2,) * 3), path)
    return str(path)


def test_weights_with_the_same_classes_keep_their_classifier(tmp_path: Path) -> None:
    weights = pretrained(tmp_path / "w.safetensors", ("Right_to_left", "left to right"))
    model = tiny(weights=weights, dropout=0.4)
    before = load_pretrained(get_variant("i3d"), weights)
    assert model.labels == before.labels and model.mean == (0.4,) * 3
    assert all(torch.equal(value, states(before)[name]) for name, value in states(model).items())
    assert model.head is not None and model.head.dropout.p == 0.4
    other = new_classifier(options(weights=weights), (*LABELS, "up"))
    assert other.labels == (*LABELS, "up") and other.head is not None
    assert other.head.fc.out_features == 3
    for name, value in other.trunk.state_dict().items():
        assert torch.equal(value, states(before)[f"trunk.{name}"])


def test_trackers_write_into_the_folder_of_the_run(tmp_path: Path) -> None:
    trained(tmp_path / "split2", trackers=("tensorboard",))
    assert len([*(tmp_path / "split2").glob("events.out.tfevents.*")]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0.0}, "--width 0.0: must be greater than 0"),
        ({"dropout": 1.0}, "--dropout 1.0: must be at least 0 and less than 1"),
        ({"freeze": "Mixed_9"}, "--freeze: this trunk has no layer Mixed_9"),
        ({"weights": "absent"}, "absent: no such file"),
    ],
)
def test_classifiers_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_weights_of_another_width(tmp_path: Path) -> None:
    weights = pretrained(tmp_path / "w.safetensors", LABELS)
    with pytest.raises(InputError, match=r"have width 0\.05, but --width is 1\.0"):
        tiny(weights=weights, width=1.0)


def test_no_class_and_too_much_smoothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--labels: no classes"):
        new_classifier(options(), ())
    with pytest.raises(InputError, match="--label-smoothing 1"):
        trained(tmp_path, label_smoothing=1.0)
