"""The study's runs: what they record, how they are skipped and resumed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.backbones.family import ENDPOINTS, VARIANTS, get_variant
from actiontubes.backbones.weights.load import load_file
from actiontubes.datasets.clips.classification_clips import ClassificationSample
from actiontubes.datasets.errors import InputError
from actiontubes.detect.experiments import study as study_module
from actiontubes.detect.experiments.study import (
    Run,
    Study,
    check_same_settings,
    expand_sweeps,
    plan_runs,
    read_records,
    run_study,
    train_and_score,
)
from actiontubes.detect.experiments.study_clips import Stream, StudyClips, parse_pairs
from actiontubes.detect.training.classifier import new_classifier
from actiontubes.detect.training.loop import fit
from actiontubes.detect.training.options import ClassifierOptions, RunOptions, Schedule
from torch import nn
from torch.utils.data import Dataset

pytestmark = pytest.mark.usefixtures("one_thread")

LABELS = ("left", "right", "still")
TINY = ClassifierOptions(backbone="i3d", width=0.0625, weights=None)
STEPS = Schedule(
    steps=4, batch=2, optimizer="adamw", lr=0.01, warmup=1, ema=0.5, decay="cosine", save_every=2
)
PAIRS = [(0, 1)]


class Bars(Dataset[ClassificationSample]):
    """A bright bar that moves to the left, to the right, or not, on noise."""

    def __init__(self, seed: int, channels: int) -> None:
        self.seed, self.channels = seed, channels

    def __len__(self) -> int:
        return 12

    def __getitem__(self, position: int) -> ClassificationSample:
        rng = np.random.default_rng((self.seed, position))
        label = position % 3
        clip = rng.integers(90, 130, (9, 32, 32, self.channels), np.uint8)
        for t in range(9):
            x = 13 + (label != 2) * (3 * t - 12)
            clip[t, :, x : x + 6] = 230
        if label == 0:
            clip = clip[::-1].copy()
        return ClassificationSample(torch.from_numpy(clip), label, f"bar{position}:4", position)


def open_bars(stream: Stream) -> StudyClips:
    channels = 3 if stream == "rgb" else 2
    return StudyClips(
        LABELS, (9, 32, 32), lambda seed: Bars(seed, channels), Bars(99, channels), ()
    )  # fmt: skip


def fail_to_open(stream: Stream) -> StudyClips:
    raise AssertionError(f"{stream} is opened")


def tiny_study(out: Path) -> Study:
    return Study(out, "Mixed_3c", TINY, STEPS, RunOptions(device="cpu"), PAIRS)


def studied(out: Path, runs: Sequence[Run], open_clips: Any = open_bars) -> list[dict[str, Any]]:
    run_study(runs, open_clips, tiny_study(out))
    return read_records(out)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """i2d and i3d on RGB with the seed 0."""
    out = tmp_path_factory.mktemp("study")
    studied(out, plan_runs(["i2d", "i3d"], ["rgb"], [0]))
    return out


def scores(out: Path, run: Run) -> dict[str, np.ndarray]:
    with np.load(run.folder(out) / "scores.npz") as file:
        return dict(file)


def test_files_of_a_run(done: Path) -> None:
    run = Run("i3d", "rgb", 0)
    assert {path.name for path in (done / "runs").iterdir()} == {
        "i2d.rgb.0", "i2d.rgb.0.json", "i3d.rgb.0", "i3d.rgb.0.json"
    }  # fmt: skip
    assert {path.name for path in run.folder(done).iterdir()} == {
        "classifier.safetensors", "losses.csv", "scores.npz"
    }  # fmt: skip
    record = json.loads(run.record(done).read_text())
    assert (record["backbone"], record["streams"], record["seed"]) == ("i3d", "rgb", 0)
    model = load_file(run.folder(done) / "classifier.safetensors", get_variant("i3d"))
    assert model.labels == LABELS and model.trunk.last == "Mixed_3c" and model.head is not None
    parts = nn.ModuleList([model.trunk, model.head])
    assert record["parameters"] == sum(p.numel() for p in parts.parameters())
    i2d = json.loads(Run("i2d", "rgb", 0).record(done).read_text())
    assert record["multiply_adds"] > 2 * i2d["multiply_adds"] > 0
    assert record["clips"] == 12
    logits, label = scores(done, run)["clip"], scores(done, run)["label"]
    assert record["normal"]["top1"] == pytest.approx(100 * np.mean(logits.argmax(1) == label))


def test_finished_runs_are_skipped(done: Path) -> None:
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    records = studied(done, plan_runs(["i3d", "i2d"], ["rgb"], [0]), fail_to_open)
    assert [record["backbone"] for record in records] == ["i2d", "i3d"]
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


def test_networks_without_time_see_reversed_clips_alike(done: Path) -> None:
    record = json.loads(Run("i2d", "rgb", 0).record(done).read_text())
    assert record["normal"] == record["reversed"]
    flat, deep = (
        load_file(Run(name, "rgb", 0).folder(done) / "classifier.safetensors", get_variant(name))
        for name in ("i2d", "i3d")
    )
    clips = torch.stack([Bars(99, 3)[k].clip for k in range(6)])
    with torch.inference_mode():
        for each, same in ((flat, True), (deep, False)):
            assert each.head is not None
            forth, back = (each.head(each.trunk(each.normalize(x))) for x in (clips, clips.flip(1)))
            assert torch.allclose(forth, back, rtol=1e-4, atol=1e-5) == same


class Stopped(Exception):
    pass


def test_stopped_and_resumed(done: Path, tmp_path: Path, monkeypatch) -> None:
    def stop(step: int, losses: Mapping[str, float]) -> None:
        if step == 0.75 * STEPS.steps - 1:
            raise Stopped

    run = Run("i3d", "rgb", 0)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(study_module, "fit", partial(fit, on_step=stop))
        train_and_score(run, open_bars("rgb"), tiny_study(tmp_path))
    assert (run.folder(tmp_path) / "state.pt").is_file() and not run.record(tmp_path).exists()
    (resumed,) = studied(tmp_path, [run])
    np.testing.assert_allclose(
        scores(tmp_path, run)["clip"], scores(done, run)["clip"], rtol=1e-3, atol=1e-4
    )
    undisturbed = json.loads(run.record(done).read_text())
    assert resumed["normal"] == undisturbed["normal"]


def test_both_streams_are_fused(done: Path, tmp_path: Path) -> None:
    runs = plan_runs(["s3d"], ["both"], [1])
    assert [run.streams for run in runs] == ["rgb", "flow", "both"]
    rgb, flow, both = studied(tmp_path, runs)
    assert flow["reversed"] is both["reversed"] is None and rgb["reversed"] is not None
    for name in ("multiply_adds", "parameters"):
        assert both[name] == rgb[name] + flow[name]
    seconds = [1 / each["clips_per_second"] for each in (rgb, flow, both)]
    assert seconds[2] == pytest.approx(seconds[0] + seconds[1])
    logits = (scores(tmp_path, runs[0])["clip"] + scores(tmp_path, runs[1])["clip"]) / 2
    label = scores(tmp_path, runs[0])["label"]
    assert both["normal"]["top1"] == pytest.approx(100 * np.mean(logits.argmax(1) == label))
    # The record is written again from the saved scores.
    runs[2].record(tmp_path).unlink()
    assert studied(tmp_path, runs, fail_to_open)[2] == both
    runs[2].record(tmp_path).unlink()
    (runs[1].folder(tmp_path) / "scores.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        InputError, match=r"scores.npz: is missing or damaged; delete .*flow.1.json"
    ):
        studied(tmp_path, runs, fail_to_open)


def test_weights_are_cut_at_the_last_endpoint(done: Path) -> None:
    weights = str(Run("i3d", "rgb", 0).folder(done) / "classifier.safetensors")
    whole, short = (
        new_classifier(replace(TINY, weights=weights), LABELS, last=last)
        for last in (None, "Mixed_3b")
    )
    assert (whole.trunk.last, short.trunk.last) == ("Mixed_3c", "Mixed_3b")
    clips = torch.rand(1, 3, 9, 32, 32)
    with torch.inference_mode():
        expected = whole.trunk.endpoints(clips, ["Mixed_3b"])["Mixed_3b"]
        assert torch.equal(short.trunk(clips), expected)
    assert short.head is not None and short.head.fc.in_features == expected.shape[1]
    with pytest.raises(
        InputError, match="the layers up to Mixed_3c only, and --endpoint is Mixed_4b"
    ):
        new_classifier(replace(TINY, weights=weights), LABELS, last="Mixed_4b")
    with pytest.raises(InputError, match="--endpoint Mixed_9z: no such layer"):
        new_classifier(TINY, LABELS, last="Mixed_9z")


def test_a_damaged_record(tmp_path: Path) -> None:
    run = Run("i2d", "rgb", 0)
    run.record(tmp_path).parent.mkdir()
    run.record(tmp_path).write_text("{")
    with pytest.raises(InputError, match=r"i2d.rgb.0.json: is damaged; delete it"):
        studied(tmp_path, [run], fail_to_open)
    run.record(tmp_path).write_text('{"backbone": "i7d", "streams": "rgb", "seed": 0}')
    with pytest.raises(InputError, match=r"i2d.rgb.0.json: is not the record of a run; delete it"):
        studied(tmp_path, [run], fail_to_open)


def test_records_come_in_the_family_s_order(tmp_path: Path) -> None:
    names = ["s3d-g(temporal)", "s3d-g", "s3d", "top-heavy-i3d(Mixed_3c)", "i2d",
             "top-heavy-i3d(Conv2d_2c_3x3)"]  # fmt: skip
    for run in plan_runs(names, ["both"], [10, 9]):
        record = {"backbone": run.backbone, "streams": run.streams, "seed": run.seed}
        run.record(tmp_path).parent.mkdir(exist_ok=True)
        run.record(tmp_path).write_text(json.dumps(record))
    ordered = [names[k] for k in (4, 5, 3, 2, 1, 0)]
    assert [(r["streams"], r["backbone"], r["seed"]) for r in read_records(tmp_path)] == [
        *itertools.product(("rgb", "flow", "both"), ordered, (9, 10))
    ]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    check_same_settings({"steps": 4, "size": (80, 64)}, path)
    check_same_settings({"steps": 4, "size": (80, 64)}, path)
    with pytest.raises(
        InputError,
        match=r"study.json: this study was started with steps 4, now it is 5; use the same",
    ):
        check_same_settings({"steps": 5, "size": (80, 64)}, path)
    with pytest.raises(InputError, match="started with new None, now it is 1"):
        check_same_settings({"steps": 4, "size": (80, 64), "new": 1}, path)
    # Written by version 0.1, when the option had its British name.
    path.write_text('{"optimiser": "sgd"}')
    check_same_settings({"optimizer": "sgd"}, path)
    with pytest.raises(InputError, match="started with optimizer sgd, now it is adamw"):
        check_same_settings({"optimizer": "adamw"}, path)
    path.write_text("[")
    with pytest.raises(InputError, match="damaged"):
        check_same_settings({}, path)


def test_sweeps_over_k() -> None:
    assert expand_sweeps(["i2d", "top-heavy-i3d(K)", "i2d"], "Mixed_3c") == [
        "i2d", "top-heavy-i3d(Conv2d_2c_3x3)", "top-heavy-i3d(Mixed_3b)", "top-heavy-i3d(Mixed_3c)"
    ]  # fmt: skip
    bottom = expand_sweeps(["bottom-heavy-i3d(K)"], "Mixed_5c")
    assert len(bottom) == 10 and bottom[-1] == "bottom-heavy-i3d(Mixed_5c)"
    # All are different networks.
    reach = [
        tuple(get_variant(name).is_temporal(e) for e in ENDPOINTS if "Pool" not in e)
        for name in ["i2d", "i3d", *bottom, *expand_sweeps(["top-heavy-i3d(K)"], "Mixed_5c")]
    ]
    assert len(set(reach)) == len(reach)


@pytest.mark.parametrize(
    ("name", "last", "message"),
    [
        ("i4d", "Mixed_3c", "--backbone i4d: unknown network"),
        ("i3d(K)", "Mixed_3c", "--backbone i3d.*: unknown network"),
        ("i3d", "Mixed_9z", "--endpoint Mixed_9z: no such layer"),
        (
            "fast-s3d",
            "Mixed_3c",
            "fast-s3d: with --endpoint Mixed_3c it is the same network as i2d",
        ),
        ("top-heavy-i3d(Mixed_4b)", "Mixed_3c", "the same network as i2d"),
        (
            "bottom-heavy-i3d",
            "Mixed_3c",
            "bottom-heavy-i3d: .* the same network as i3d; leave it out",
        ),
    ],
)
def test_networks_that_equal_another(name: str, last: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand_sweeps([name], last)


def test_runs_have_different_files() -> None:
    names = [*VARIANTS, "s3d-g(temporal)", *expand_sweeps(["top-heavy-i3d(K)"], "Mixed_5c")]
    runs = plan_runs(names, ["both"], range(12))
    folders = {run.folder(Path()) for run in runs} | {run.record(Path()) for run in runs}
    assert len(folders) == 2 * len(runs) == 2 * 3 * 12 * len(names)
    assert not any(set("() ") & set(folder.name) for folder in folders)


def test_seeds_come_one_after_the_other() -> None:
    runs = plan_runs(["i2d", "i3d"], ["flow", "rgb"], [3, 1, 3])
    order = itertools.product(("rgb", "flow"), (3, 1), ("i2d", "i3d"))
    assert [(run.streams, run.seed, run.backbone) for run in runs] == list(order)


def test_pairs_by_name() -> None:
    assert parse_pairs(["right/left", "left / still"], LABELS) == [(1, 0), (0, 2)]
    for word in ("left", "left/up", "left/left"):
        with pytest.raises(InputError, match=f"--pairs {word}: must be two different classes"):
            parse_pairs([word], LABELS)
