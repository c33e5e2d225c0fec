"""The training loop, on one page over accelerate.

`accelerate launch` runs it on several GPUs or machines. What a step sees is decided by the seed and
the step's number alone: a resumed run, or one shared among processes, takes the same steps.
"""

from __future__ import annotations

import copy
import csv
import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..datasets.clips import Batch, collate, one_thread
from ..datasets.files import InputError, whole_file
from .detector import Detector
from .detector_file import save_detector

STATE, LOSSES, DETECTOR = "state.pt", "losses.csv", "detector.safetensors"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the detector learns.

    Attributes:
        steps: optimiser steps.
        batch: clips a step and process.
        accumulate: batches summed up before a step is taken.
        optimiser: SGD with momentum 0.9, as the paper; or AdamW.
        lr: learning rate after the warm-up.
        warm_up: steps over which it rises to `lr` from a thousandth of it.
        decay: "steps" divides it by 10 after 3/4 and 7/8 of the steps (the paper's schedule of
            classification: 60k and 70k of 80k); "cosine" lets it fall to 0.
        weight_decay: of all weights but norms and biases.
        clip_norm: largest norm of the gradients.
        ema: decay of the moving average of the weights that is evaluated and saved; 0 for none.
        save_every: steps from one checkpoint to the next.
        evaluate_every: steps from one evaluation to the next; 0 only at the end.
    """

    steps: int
    batch: int = 4
    accumulate: int = 1
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    warm_up: int = 500
    decay: Literal["steps", "cosine"] = "steps"
    weight_decay: float = 1e-4
    clip_norm: float = 10.0
    ema: float = 0.999
    save_every: int = 500
    evaluate_every: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        warm = min(1.0, (step + 1) / (self.warm_up + 1))
        done = step / self.steps
        if self.decay == "cosine":
            factor = (1 + math.cos(math.pi * done)) / 2
        else:
            factor = 0.1 ** ((done >= 3 / 4) + (done >= 7 / 8))
        return self.lr * factor * max(warm, 1e-3)


def train(
    detector: Detector,
    clips: Dataset,
    out: Path,
    schedule: Schedule,
    accelerator: Accelerator,
    *,
    evaluate: Callable[[Detector, int], Mapping[str, float]] | None = None,
    resume: bool = False,
    workers: int = 0,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Detector:
    """Trains a detector; writes detector.safetensors, state.pt and losses.csv to the folder `out`.

    Args:
        detector: as built.
        clips: `datasets.clips.Clips`, position to sample; it has no end.
        accelerator: device, precision, processes, trackers.
        evaluate: called with the averaged detector and the number of steps taken, on every process.
        resume: go on from state.pt if there is one.
        workers: processes that read clips; 0 reads them in this one.
        watch: called after each step with its losses.

    Returns:
        the detector with the averaged weights, in evaluation mode.

    Raises:
        InputError: the folder holds a run and `resume` is off; state.pt is of another detector; a
            loss is not finite; the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    averaged = copy.deepcopy(detector).eval().requires_grad_(False)
    optimizer = make_optimizer(detector, schedule)
    state = read_state(out / STATE, detector, resume)
    begin = 0
    if state is not None:
        begin = state["step"]
        detector.load_state_dict(state["detector"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
    averaged.to(accelerator.device)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        detector = nn.SyncBatchNorm.convert_sync_batchnorm(detector)
    model, optimizer = accelerator.prepare(detector, optimizer)
    run = torch.compile(model) if compile else model
    share = schedule.batch * schedule.accumulate * accelerator.num_processes
    loader = accelerator.prepare(
        DataLoader(
            clips,
            schedule.batch,
            sampler=range(begin * share, schedule.steps * share),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=accelerator.device.type == "cuda",
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=one_thread,
        )
    )
    batches = iter(loader)
    log = LossLog(out / LOSSES, begin) if accelerator.is_main_process else None
    bar = tqdm(
        total=schedule.steps, initial=begin, unit=" steps", leave=False,
        disable=not accelerator.is_main_process,
    )  # fmt: skip
    model.train()
    for step in range(begin, schedule.steps):
        started, waited = time.perf_counter(), 0.0
        # Dropout draws by the step's number, so that a resumed run draws the same.
        torch.manual_seed(seed + 1_000_003 * step + accelerator.process_index)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        sums: dict[str, Tensor] = {}
        for _ in range(schedule.accumulate):
            asked = time.perf_counter()
            batch: Batch = next(batches)
            waited += time.perf_counter() - asked
            with accelerator.accumulate(model), accelerator.autocast():
                losses = run(
                    batch.clips, batch.clip_of, batch.key_frames, batch.boxes, batch.labels,
                    key_seeds(batch), batch.given,
                )  # fmt: skip
                total = torch.stack(list(losses.values())).sum()
                require_finite(losses, total, step, batch.names)
                accelerator.backward(total)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), schedule.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.detach() / schedule.accumulate
        average(averaged, accelerator.unwrap_model(model), schedule.ema, step)
        values = mean_losses(sums, accelerator)
        now = time.perf_counter() - started
        if log is not None:
            log.write(step, schedule.rate(step), values, now, waited)
        accelerator.log(values | {"lr": schedule.rate(step)}, step=step)
        if watch is not None:
            watch(step, values)
        bar.set_postfix(loss=f"{sum(values.values()):.3f}", refresh=False)
        bar.update()
        done = step + 1
        last = done == schedule.steps
        if accelerator.is_main_process and (last or done % schedule.save_every == 0):
            write_state(out, accelerator.unwrap_model(model), averaged, optimizer, done)
        if evaluate is not None and (
            last or (schedule.evaluate_every and done % schedule.evaluate_every == 0)
        ):
            scores = evaluate(averaged, done)
            if scores:
                accelerator.log(dict(scores), step=step)
    bar.close()
    accelerator.wait_for_everyone()
    return averaged


def make_optimizer(detector: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Weight decay for what has two or more dimensions: kernels and matrices."""
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.lr)
    return torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9)


def average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the averaged weights, and the norms' statistics, towards the model's.

    In the first steps by more, so that the average forgets where it began.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    ours, theirs = averaged.state_dict(), model.state_dict()
    moving = [name for name in ours if ours[name].is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_(
            [ours[name] for name in moving], [theirs[name] for name in moving], weight
        )
        for name in ours.keys() - moving:
            ours[name].copy_(theirs[name])


def key_seeds(batch: Batch) -> list[int]:
    """A seed for each key frame, from that of its clip."""
    return [batch.seeds[clip] + place for place, clip in enumerate(batch.clip_of.tolist())]


def mean_losses(sums: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The losses as numbers, the mean over all processes."""
    stacked = accelerator.reduce(torch.stack(list(sums.values())), "mean")
    return dict(zip(sums, stacked.tolist()))


def require_finite(losses: Mapping[str, Tensor], total: Tensor, step: int, names: Any) -> None:
    """Stops the run at a loss that is no number.

    Raises:
        InputError: with the losses and the clips.
    """
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {loss.item():.4g}" for name, loss in losses.items())
        raise InputError(
            f"step {step}: the loss is not finite ({values}) on {', '.join(names)}; lower --lr or "
            "--clip-norm, or look at these clips; --resume goes on from the last checkpoint"
        )


def write_state(
    out: Path, detector: Detector, averaged: Detector, optimizer: Any, step: int
) -> None:
    """Writes all that the run needs to go on, and the averaged detector.

    Raises:
        InputError: the disk is full; the last state is untouched.
    """
    content = io.BytesIO()
    torch.save(
        {
            "step": step,
            "detector": detector.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "settings": _plain(asdict(detector.settings)),
        },
        content,
    )
    try:
        with whole_file(out / STATE) as temporary:
            temporary.write_bytes(content.getbuffer())
        save_detector(averaged, out / DETECTOR)
    except OSError as error:
        raise InputError(
            f"{out / STATE}: step {step} could not be saved ({error.strerror}); make room and run "
            "again with --resume: the last checkpoint is whole"
        ) from error


def read_state(path: Path, detector: Detector, resume: bool) -> dict[str, Any] | None:
    """The state of an earlier run of the same detector, or None.

    Raises:
        InputError: see `train`.
    """
    if not path.is_file():
        return None
    if not resume:
        raise InputError(
            f"{path}: a run stands there; --resume goes on with it, --out starts one elsewhere"
        )
    try:
        # Of files of the run's own making, too, nothing but tensors and plain values is read.
        state = torch.load(path, map_location="cpu", weights_only=True)
        before = state["settings"]
    except Exception as error:
        raise InputError(f"{path}: not a readable state ({type(error).__name__})") from error
    for name, value in _plain(asdict(detector.settings)).items():
        if before.get(name) != value:
            raise InputError(
                f"{path}: {name} was {before.get(name)} and is {value} now; resume with the same "
                "recipe and data, or start anew with another --out"
            )
    return state


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}


class LossLog:
    """losses.csv, a row a step; of a resumed run the rows behind its state are written anew."""

    def __init__(self, path: Path, step: int) -> None:
        rows: list[list[str]] = []
        if step and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [
                    row for row in csv.reader(file) if row[:1] == ["step"] or _before(row, step)
                ]
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerows(rows)
        self._named = bool(rows)

    def write(
        self, step: int, rate: float, losses: Mapping[str, float], seconds: float, waited: float
    ) -> None:
        if not self._named:
            self._writer.writerow(["step", "lr", *losses, "seconds", "waited"])
            self._named = True
        values = [f"{value:.9g}" for value in losses.values()]
        self._writer.writerow([step, f"{rate:.6g}", *values, f"{seconds:.4f}", f"{waited:.4f}"])
        self._file.flush()


def _before(row: list[str], step: int) -> bool:
    return bool(row) and row[0].isdigit() and int(row[0]) < step
