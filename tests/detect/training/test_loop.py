"""Training: the same steps whatever happens on the way.

The runs are of a narrow detector on drawn clips, a few steps each. As a program, this file is a run
in a process of its own.
"""

from __future__ import annotations

import csv
import math
import os
import pickle
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.detection_clips import DetectionSample, collate
from actiontubes.datasets.errors import InputError
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import load_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.detector import Detector
from actiontubes.detect.model.postprocess import KeyFrameDetections
from actiontubes.detect.training.detector import DetectionTask, key_frame_seeds
from actiontubes.detect.training.loop import fit, make_optimizer, sync_batch_norms, update_average
from actiontubes.detect.training.options import RunOptions, Schedule
from actiontubes.detect.training.state import LossLog, check_folder
from torch import nn
from torch.utils.data import Dataset
from torchvision.ops import box_iou

pytestmark = pytest.mark.usefixtures("one_thread")

HEIGHT, WIDTH, FRAMES = 64, 80, 8
SETTINGS = DetectorConfig(
    labels=("red", "blue"), backbone="s3d-g", width_multiplier=0.05, endpoint="Mixed_4b",
    proposals="features", proposal_endpoint="Mixed_4b", proposal_count=20, hidden=16, roi_size=3,
    frames=FRAMES, size=(HEIGHT, WIDTH), anchor_sides=(16, 32, 48),
)  # fmt: skip
STEPS = Schedule(steps=14, batch=2, lr=0.02, warmup=3, ema=0.9, save_every=4)


class Rectangles(Dataset[DetectionSample]):
    """Red and blue rectangles that move over noise, as of the position; now and then none."""

    def __init__(self, only: int | None = None) -> None:
        self.only = only

    def __getitem__(self, position: int) -> DetectionSample:
        rng = np.random.default_rng(position if self.only is None else self.only)
        clip = rng.integers(90, 160, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
        boxes, labels = np.empty((0, 4), np.float32), np.empty((0, 2), np.float32)
        if self.only is not None or rng.random() < 0.8:
            label = int(rng.integers(2))
            width, height = rng.integers(20, 36), rng.integers(24, 40)
            x, y = rng.integers(0, WIDTH - width - FRAMES), rng.integers(0, HEIGHT - height)
            for t in range(FRAMES):
                clip[t, y : y + height, x + t : x + t + width] = (220, 30, 30) if label == 0 else (
                    30, 30, 220
                )  # fmt: skip
            left = x + FRAMES // 2
            boxes = np.array([[left, y, left + width, y + height]], np.float32)
            labels = np.eye(2, dtype=np.float32)[[label]]
        return DetectionSample(
            torch.from_numpy(clip), torch.tensor([FRAMES // 2]), [torch.from_numpy(boxes)],
            [torch.from_numpy(labels)], f"drawn{position}:0", 7919 * position,
        )  # fmt: skip


def tiny(**changes: Any) -> Detector:
    """With norms that know the clips, as those of pretrained weights would."""
    torch.manual_seed(0)
    detector = build_detector(replace(SETTINGS, **changes)).train()
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm3d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.training, norm.momentum = True, 1.0
    batch = collate([Rectangles()[100 + i] for i in range(4)])
    with torch.no_grad():
        detector(
            batch.clips, batch.clip_index, batch.key_frames, batch.boxes, batch.labels, batch.seeds
        )
    for norm, before in zip(norms, momentum):
        norm.momentum = before
    return detector


def trained(
    out: Path, schedule: Schedule = STEPS, detector: Detector | None = None, **options: Any
) -> Detector:
    values: dict[str, Any] = {"clips": Rectangles(), "evaluator": None, "on_step": None} | options
    task = DetectionTask(detector or tiny(dropout=0.2), values.pop("evaluator"))
    clips, on_step = values.pop("clips"), values.pop("on_step")
    run = RunOptions(**{"seed": 5, "device": "cpu", "precision": "no"} | values)
    return fit(task, clips, out, schedule, run, on_step)


def losses(out: Path) -> np.ndarray:
    """(steps, columns) of losses.csv, without the times."""
    with (out / "losses.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert [*header[:2], *header[-2:]] == ["step", "lr", "seconds", "waited"]
    assert sorted(header[2:-2]) == ["action", "action_boxes", "objectness", "proposal_boxes"]
    found = np.array(rows, np.float64)
    assert np.array_equal(found[:, 0], np.arange(len(found))) and np.isfinite(found).all()
    return found[:, :6]


def saved(out: Path) -> dict[str, Any]:
    return torch.load(out / "state.pt", weights_only=True)


def left_behind(out: Path) -> list[str]:
    """Files that should not be there."""
    expected = {"losses.csv", "state.pt", "detector.safetensors"}
    return sorted({path.name for path in out.iterdir()} - expected)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    trained(out)
    assert saved(out)["step"] == 14 and len(losses(out)) == 14 and not left_behind(out)
    return out


def check_same(out: Path, undisturbed: Path) -> None:
    np.testing.assert_allclose(losses(out), losses(undisturbed), rtol=1e-5)
    for part in ("model", "averaged"):
        ours, theirs = saved(out)[part], saved(undisturbed)[part]
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert not left_behind(out)


def start(out: Path, *words: object, **environment: object) -> subprocess.Popen[str]:
    """A run in a process of its own: see the end of this file."""
    return subprocess.Popen(
        [sys.executable, __file__, str(out), *map(str, words)],
        env=os.environ | {key: str(value) for key, value in environment.items()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_killed_at_any_step_a_run_goes_on_as_if_nothing_was(
    undisturbed: Path, tmp_path: Path
) -> None:
    step = random.randrange(1, 13)
    process = start(tmp_path, "killed", step)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -9, output
    assert not (tmp_path / "state.pt").exists() or saved(tmp_path)["step"] == step // 4 * 4
    trained(tmp_path, resume=True)
    check_same(tmp_path, undisturbed)


class Interrupted(Exception):
    pass


def test_stopped_again_and_again(undisturbed: Path, tmp_path: Path) -> None:
    for stop in (2, 5, 6, 11):

        def on_step(step: int, _: Mapping[str, float], stop: int = stop) -> None:
            if step == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            trained(tmp_path, resume=True, on_step=on_step)
        assert len(losses(tmp_path)) == stop + 1
    trained(tmp_path, resume=True)
    check_same(tmp_path, undisturbed)
    # A finished run is left as it is.
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    detector = trained(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    expected = saved(undisturbed)["averaged"]
    for name, value in detector.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_the_detector_saved_is_the_average(undisturbed: Path) -> None:
    loaded = load_detector(undisturbed / "detector.safetensors").state_dict()
    state = saved(undisturbed)
    assert all(torch.equal(loaded[name], value) for name, value in state["averaged"].items())
    assert any(not torch.equal(loaded[name], value) for name, value in state["model"].items())


def compare_steps(one: Path, other: Path) -> None:
    """The losses and all weights, most of which moved by more than the tolerance."""
    np.testing.assert_allclose(losses(one), losses(other), rtol=1e-5, atol=1e-7)
    first, ours, theirs = tiny().state_dict(), saved(one)["model"], saved(other)["model"]
    moved = 0
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-5)
        moved += not torch.allclose(value, first[name], rtol=0, atol=1e-4)
    assert moved > 20


FEW = Schedule(steps=3, batch=4, lr=0.05, warmup=0, decay="cosine")


@pytest.fixture(scope="module")
def batches_of_four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("four")
    trained(out, FEW, tiny())
    return out


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(batches_of_four: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    both = [start(tmp_path, "shared", RANK=i, LOCAL_RANK=i, **shared) for i in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    compare_steps(tmp_path, batches_of_four)


def test_two_batches_accumulated_take_the_step_of_one(
    batches_of_four: Path, tmp_path: Path
) -> None:
    trained(tmp_path, replace(FEW, batch=2, accumulate=2), tiny())
    compare_steps(tmp_path, batches_of_four)


def test_seeds_of_key_frames_do_not_depend_on_the_batch() -> None:
    def seeds(samples: list[DetectionSample]) -> list[int]:
        return key_frame_seeds(collate(samples))

    frames = {"key_frames": torch.tensor([2, 4, 6])}
    samples = [replace(Rectangles()[i], **frames) for i in range(4)]
    assert seeds(samples) == [seed for sample in samples for seed in seeds([sample])]
    assert len(set(seeds(samples))) == 12


def refused(out: Path, *words: str, **options: Any) -> None:
    """Training ends in one line that has these words, and leaves the folder as it was."""
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError) as error:
        trained(out, **{"resume": True} | options)
    message = str(error.value)
    assert "\n" not in message and str(out / "state.pt") in message, message
    for word in words:
        assert word in message, message
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.fixture()
def run(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    for path in undisturbed.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_run_is_not_overwritten(run: Path) -> None:
    refused(run, "this folder already contains a training run", "--resume", "--out", resume=False)


class Mark:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_damaged_states(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, mark = run / "state.pt", tmp_path_factory.mktemp("mark") / "mark"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (
        flipped,
        b"",
        b"text",
        content[: len(content) // 2],
        content[:-10],
        pickle.dumps(1, protocol=2),
    ):
        path.write_bytes(damaged)
        refused(run, "is damaged or not a training state", "--out")
    path.write_bytes(pickle.dumps(Mark(mark), protocol=2))
    refused(run, "is damaged or not a training state")
    torch.save({"step": Mark(mark)}, path)
    refused(run, "is damaged or not a training state")
    assert not mark.exists()
    for other in ([1], {"a": 1}, {"step": 1, "settings": 2}, {"step": "one", "settings": {}}):
        torch.save(other, path)
        refused(run, "is damaged or not a training state")


def changed(name: str) -> Callable[[dict], Any]:
    return lambda state: state["model"].update({name: torch.zeros(77)})


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("averaged"),
        lambda state: state.update(model=[1, 2]),
        lambda state: state["model"].popitem(),
        changed("head.scores.bias"),
        changed("another"),
        lambda state: state["averaged"].clear(),
        lambda state: state["optimizer"].pop("state"),
        lambda state: state["optimizer"]["param_groups"].pop(),
        lambda state: state["optimizer"]["param_groups"][0]["params"].pop(),
    ],
)
def test_states_that_do_not_fit(run: Path, change: Callable[[dict], Any]) -> None:
    state = saved(run)
    change(state)
    torch.save(state, run / "state.pt")
    refused(run, "--out")


def test_states_of_another_run(run: Path) -> None:
    refused(
        run, "--labels was ['red', 'blue'] and is ['red', 'green'] now; resume with the same",
        detector=tiny(labels=("red", "green"), dropout=0.2),
    )  # fmt: skip
    refused(run, "labels", "options and data", detector=tiny(labels=("red", "blue", "green")))
    refused(run, "backbone", "s3d-g", "i3d", detector=tiny(backbone="i3d"))
    refused(run, "frames", "8", "12", detector=tiny(frames=12, dropout=0.2))
    refused(run, "optimizer", schedule=replace(STEPS, optimizer="adamw"))
    frozen = tiny(dropout=0.2)
    frozen.trunk.freeze("Mixed_3c")
    refused(run, "does not match", detector=frozen)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"batch": 3}, {}, "--batch was 2 and is 3 now"),
        ({"lr": 0.5, "warmup": 4}, {}, "--lr was 0.02 and is 0.5 now, --warmup was 3 and is 4 now"),
        ({"decay": "cosine"}, {}, "--decay was steps and is cosine now"),
        ({"steps": 20}, {}, "--steps was 14 and is 20 now"),
        ({"steps": 9}, {}, "has 14 steps, and --steps is 9"),
        ({}, {"seed": 7}, "--seed was 5 and is 7 now"),
    ],
)
def test_other_options_are_named(
    run: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    refused(run, message, schedule=replace(STEPS, **changes), **options)


def test_options_that_change_no_step(run: Path) -> None:
    before = (run / "losses.csv").read_bytes()
    trained(run, replace(STEPS, save_every=3, evaluate_every=2), workers=1, resume=True)
    assert (run / "losses.csv").read_bytes() == before


def test_more_steps_without_a_decay(tmp_path: Path) -> None:
    constant = replace(STEPS, steps=3, decay="none")
    trained(tmp_path / "a", constant)
    trained(tmp_path / "a", replace(constant, steps=5), resume=True)
    trained(tmp_path / "b", replace(constant, steps=5))
    np.testing.assert_allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-6)
    assert losses(tmp_path / "a")[-1, 1] == pytest.approx(0.02)
    # A state of version 0.1 has no options.
    state = saved(tmp_path / "a")
    assert state.pop("options")["steps"] == 5
    torch.save(state, tmp_path / "a" / "state.pt")
    trained(tmp_path / "a", replace(constant, steps=6, batch=1), resume=True)


def signals_in_steps(*steps: int) -> Callable[[int, Mapping[str, float]], None]:
    def on_step(step: int, _: Mapping[str, float]) -> None:
        for _ in range(steps.count(step)):
            os.kill(os.getpid(), signal.SIGTERM if step % 2 else signal.SIGINT)

    return on_step


@pytest.mark.parametrize(("step", "name"), [(6, "Ctrl-C"), (5, "SIGTERM")])
def test_a_signal_saves_the_step(undisturbed: Path, tmp_path: Path, step: int, name: str) -> None:
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt) as error:
        trained(tmp_path, on_step=signals_in_steps(step))
    assert str(error.value) == (
        f"stopped by {name}; step {step + 1} is saved, continue with --resume"
    )
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert saved(tmp_path)["step"] == step + 1 and (tmp_path / "detector.safetensors").is_file()
    trained(tmp_path, resume=True)
    check_same(tmp_path, undisturbed)


def test_a_second_signal_stops_at_once(undisturbed: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^stopped by Ctrl-C$"):
        trained(tmp_path, on_step=signals_in_steps(6, 6))
    assert saved(tmp_path)["step"] == 4 and len(losses(tmp_path)) == 7
    trained(tmp_path, resume=True)
    check_same(tmp_path, undisturbed)


def test_a_signal_outside_a_step_stops_at_once(tmp_path: Path) -> None:
    def evaluate(*_: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(KeyboardInterrupt, match=r"^stopped by SIGTERM$"):
        trained(tmp_path, replace(STEPS, evaluate_every=3), evaluator=evaluate)
    assert saved(tmp_path)["step"] == 3, "saved before it was evaluated"


def test_a_full_disk_leaves_the_last_state(undisturbed: Path, tmp_path: Path) -> None:
    """The limit on the size of a file stands for it; the error comes from the same calls."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (undisturbed / "state.pt").stat().st_size

    def on_step(step: int, _: Mapping[str, float]) -> None:
        if step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))

    try:
        with pytest.raises(InputError) as error:
            trained(tmp_path, on_step=on_step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = str(error.value)
    assert "\n" not in message and "--resume" in message
    assert f"{tmp_path / 'state.pt'}: could not be saved at step 8 (File too large)" in message
    assert saved(tmp_path)["step"] == 4 and not left_behind(tmp_path)
    trained(tmp_path, resume=True)
    check_same(tmp_path, undisturbed)


def test_a_full_disk_while_the_detector_is_saved(undisturbed: Path, tmp_path: Path) -> None:
    """The state is whole then, and the detector of the last one, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (undisturbed / "detector.safetensors").read_bytes()
    from actiontubes.detect.training import state as training_state

    (tmp_path / "detector.safetensors").write_bytes(before)
    detector = tiny()
    # As if the state had just fitted.
    written: list[Path] = []
    write_bytes = Path.write_bytes

    def then_full(path: Path, content: Any) -> int:
        written.append(path)
        count = write_bytes(path, content)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", then_full)
        try:
            with pytest.raises(InputError, match="could not be saved") as error:
                optimizer = make_optimizer(detector, STEPS)
                task = DetectionTask(detector)
                training_state.save_state(tmp_path, task, detector, optimizer, None, {}, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value) and len(written) == 1
    assert saved(tmp_path)["step"] == 3
    assert (tmp_path / "detector.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.safetensors", "state.pt"]


def test_a_full_disk_while_a_loss_is_written(tmp_path: Path) -> None:
    log = LossLog(tmp_path / "losses.csv", 0)
    log.write(0, 0.1, {"a": 1.0}, 0, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
        with pytest.raises(InputError, match=r"losses\.csv: could not be written at step 1"):
            log.write(1, 0.1, {"a": 1.0}, 0, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_losses_torn_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    log = LossLog(path, 0)
    for step in range(12):
        log.write(step, 0.1, {"a": step / 7}, 0.5, 0.25)
    whole = path.read_text().splitlines()
    assert whole[:2] == ["step,lr,a,seconds,waited", "0,0.1,0,0.5000,0.2500"]
    path.write_text("\n".join(whole[:-1]) + "\n1")
    LossLog(path, 10).write(10, 0.1, {"a": 2.0}, 0.5, 0.25)
    again = path.read_text().splitlines()
    assert again == [*whole[:11], "10,0.1,2,0.5000,0.2500"]
    # Without a state nothing of it is true.
    LossLog(path, 0).write(0, 0.1, {"b": 2.0}, 0.5, 0.25)
    assert path.read_text().splitlines()[0] == "step,lr,b,seconds,waited"


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    detector = tiny()

    def on_step(step: int, _: Mapping[str, float]) -> None:
        if step == 8:
            with torch.no_grad():
                detector.head.scores.bias.fill_(math.nan)

    with pytest.raises(InputError) as error:
        trained(tmp_path, detector=detector, on_step=on_step)
    message = str(error.value)
    assert "\n" not in message and "step 9" in message and "action nan" in message
    assert "objectness 0." in message and "drawn18:0, drawn19:0" in message
    assert saved(tmp_path)["step"] == 8 and len(losses(tmp_path)) == 9
    assert all(value.isfinite().all() for value in saved(tmp_path)["model"].values())


def test_results_of_an_earlier_run_are_not_kept(tmp_path: Path) -> None:
    for name in ("results.json", "evaluations.csv", "predictions.csv", "notes.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.warns(UserWarning, match=r"state\.pt: not found; the run begins at step 0"):
        check_folder(tmp_path, resume=True)

    def on_step(step: int, _: Mapping[str, float]) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        trained(tmp_path, on_step=on_step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.csv", "notes.txt"]
    check_folder(tmp_path, resume=False)
    (tmp_path / "last.safetensors").touch()
    for resume in (False, True):
        with pytest.raises(InputError, match=r"last\.safetensors: belongs to a run without state"):
            check_folder(tmp_path, resume=resume)


def test_evaluations_and_their_steps(tmp_path: Path) -> None:
    seen: list[int] = []

    def evaluate(detector: Detector, step: int) -> dict[str, float]:
        assert not detector.training and not any(p.requires_grad for p in detector.parameters())
        torch.rand(5)  # whatever is drawn here changes nothing of the training
        seen.append(step)
        return {"score": 1.0}

    few = replace(STEPS, steps=5, evaluate_every=2)
    trained(tmp_path / "a", few, evaluator=evaluate)
    assert seen == [2, 4, 5]
    trained(tmp_path / "b", replace(few, evaluate_every=0))
    np.testing.assert_allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-6)


def test_rates_of_the_paper_s_steps() -> None:
    """0.1, from 60k of 80k steps on a tenth of it, from 70k on a hundredth."""
    schedule = Schedule(steps=80_000, lr=0.1, warmup=500)
    expected = {
        0: 0.1 / 501, 249: 0.1 * 250 / 501, 500: 0.1, 59_999: 0.1, 60_000: 0.01, 69_999: 0.01,
        70_000: 0.001, 79_999: 0.001,
    }  # fmt: skip
    for step, rate in expected.items():
        assert schedule.rate(step) == pytest.approx(rate)
    assert Schedule(steps=10_000, lr=1.0, warmup=5_000).rate(0) == pytest.approx(1e-3)


def test_rates_of_a_cosine() -> None:
    schedule = Schedule(steps=1000, lr=0.4, warmup=10, decay="cosine")
    for step, rate in {
        250: 0.4 * (1 + math.sqrt(0.5)) / 2,
        500: 0.2,
        750: 0.2 - 0.2 * math.sqrt(0.5),
    }.items():
        assert schedule.rate(step) == pytest.approx(rate)
    rates = [schedule.rate(step) for step in range(1000)]
    top = int(np.argmax(rates))
    assert 9 <= top <= 11 and all(np.diff(rates[:top]) > 0) and all(np.diff(rates[top:]) < 0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"steps": 0}, "steps"), ({"batch": 0}, "batch"), ({"accumulate": -1}, "accumulate"),
        ({"lr": 0.0}, "lr"), ({"lr": math.nan}, "lr"), ({"warmup": -1}, "--warmup"),
        ({"weight_decay": -0.1}, "--weight-decay"), ({"clip_norm": 0.0}, "--clip-norm"),
        ({"ema": 1.0}, "ema"), ({"ema": -0.5}, "ema"), ({"save_every": 0}, "--save-every"),
    ],
)  # fmt: skip
def test_schedules_that_cannot_be(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        replace(STEPS, **changes)


def test_moving_average_by_hand() -> None:
    torch.manual_seed(0)
    model, averaged = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    weights = [torch.randn(3) for _ in range(30)]
    expected = averaged.weight.detach().clone()
    for step, weight in enumerate(weights):
        with torch.no_grad():
            model.weight.copy_(weight)
            model.running_mean += 1  # type: ignore[operator]
            model.num_batches_tracked += 1  # type: ignore[operator]
        update_average(averaged, model, 0.75, step)
        # 1/10, 2/11, 3/12, ... and never more than 0.75.
        decay = min(0.75, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
        torch.testing.assert_close(averaged.weight, expected)
    assert averaged.num_batches_tracked == 30
    assert averaged.running_mean is not None and (averaged.running_mean > 25).all()
    update_average(averaged, model, 0.0, 1000)
    assert torch.equal(averaged.weight, model.weight)


def test_what_weight_decay_is_for() -> None:
    detector = tiny(norm="batch")
    detector.trunk.freeze("Conv2d_2c_3x3")
    groups = make_optimizer(detector, STEPS).param_groups
    assert [group["weight_decay"] for group in groups] == [1e-4, 0.0]
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    decayed, others = ([names[id(p)] for p in group["params"]] for group in groups)
    assert all(name.endswith(".weight") and ".norm." not in name for name in decayed)
    assert all(name.endswith(".bias") or ".norm." in name or "layers." in name for name in others)
    assert not any("Conv2d" in name for name in decayed + others)
    trained_ones = {name for name, p in detector.named_parameters() if p.requires_grad}
    assert {*decayed, *others} == trained_ones
    assert isinstance(make_optimizer(detector, replace(STEPS, optimizer="adamw")),
                      torch.optim.AdamW)  # fmt: skip


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    """A first step of SGD is the gradient times the learning rate."""
    few = Schedule(steps=1, batch=2, lr=2.0, warmup=0, weight_decay=0.0, clip_norm=0.01)
    detector = tiny()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    trained(tmp_path, few, detector)
    moves = [(value - before[name]).flatten() for name, value in detector.state_dict().items()]
    assert torch.cat(moves).norm().item() == pytest.approx(2.0 * 0.01, rel=1e-3)


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    detector = tiny(norm="batch")
    detector.trunk.freeze("Mixed_3b")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    averaged = trained(tmp_path, replace(STEPS, steps=3), detector)
    for state in (detector.state_dict(), averaged.state_dict()):
        for name, value in state.items():
            frozen = name.split(".")[1] in detector.trunk.frozen
            assert not frozen or torch.equal(value, before[name]), name
            if name.startswith("trunk.Mixed_4b") and "running" in name:
                assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("backbone", ["i3d", "s3d-g"])
def test_norms_shared_among_processes_are_the_same(backbone: str) -> None:
    detector = tiny(norm="batch", backbone=backbone)
    detector.trunk.freeze("Mixed_3b")
    clips = Rectangles()[1].clip[None]
    wanted, maps = {k: v.clone() for k, v in detector.state_dict().items()}, {}
    parameters = {id(parameter) for parameter in detector.parameters()}
    for way in ("alone", "shared"):
        maps[way] = detector.eval().extract_features(clips)["Mixed_4b"]
        if way == "alone":
            sync_batch_norms(detector)
    torch.testing.assert_close(maps["shared"], maps["alone"])
    assert {id(parameter) for parameter in detector.parameters()} == parameters
    state = detector.state_dict()
    assert list(state) == list(wanted) and all(torch.equal(state[k], wanted[k]) for k in wanted)
    shared = [m for m in detector.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(shared) > 20
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
                   for m in detector.modules())  # fmt: skip
    # Those of frozen layers stay still in training.
    detector.train()
    assert 0 < sum(m.training for m in shared) < len(shared)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"per_class_boxes": True, "multi_label": True},
        {"head": "light"},
        {"head": "mixed", "backbone": "i3d"},
    ],
    ids=["features", "sigmoids", "light", "mixed"],
)
def test_sixty_steps_find_a_moving_rectangle(
    changes: dict[str, Any], tmp_path: Path, detect_key_frames: Callable[..., KeyFrameDetections]
) -> None:
    sample = Rectangles(only=8)[0]
    detector = tiny(width_multiplier=0.1, hidden=64, **changes)
    # Of so small a map few anchors and proposals are positive: as many negative ones are enough.
    assert detector.proposals is not None
    detector.rois_per_frame = detector.proposals.sampler.count = 16
    schedule = Schedule(
        steps=60, batch=1, optimizer="adamw", lr=4e-3, warmup=3, decay="cosine", ema=0.5
    )
    found = trained(tmp_path, schedule, detector, clips=Rectangles(only=8))
    clips, clip_of = sample.clip[None], torch.zeros(1, dtype=torch.long)
    with torch.inference_mode():
        maps = found.extract_features(clips)
        proposals, _ = found.propose(maps, clips, clip_of, sample.key_frames)
        rows = detect_key_frames(found, maps, FRAMES, proposals, clip_of, sample.key_frames)
    # Boxes next to each other score alike after so few steps.
    best = slice(0, 3)
    right = rows.label[best] == sample.labels[0].argmax()
    overlap = box_iou(rows.boxes[best], sample.boxes[0])[:, 0]
    assert right[0] and rows.score[0] > 0.3
    assert overlap[right].max() > 0.5


def main(out: Path, how: str, step: int = -1) -> None:
    """`killed` STEP: dies at the end of a step. `shared`: is one of the processes of a run."""
    torch.set_num_threads(1)
    if how == "shared":
        trained(out, replace(FEW, batch=2), tiny())
        return

    def on_step(now: int, _: Mapping[str, float]) -> None:
        if now == step:
            os.kill(os.getpid(), 9)

    trained(out, on_step=on_step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
