"""The training loop of detectors and classifiers, on accelerate.

`accelerate launch` runs it on several GPUs or machines. The seed and the step's number alone decide
which clips a step sees: a resumed run, or one shared among processes, takes the same steps.
"""

from __future__ import annotations

import copy
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ...datasets.clips.loader import make_loader
from ...datasets.errors import InputError
from ..inference.device import explain_precision
from .options import RunOptions, Schedule
from .state import (
    LOSSES,
    STATE,
    LossLog,
    evaluations_since_best,
    is_evaluated,
    load_state,
    plain_values,
    save_state,
)
from .stop_signals import StopSignals

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")
OnStep = Callable[[int, Mapping[str, float]], None]
_TIMED_STEPS = 10  # after which a run says how long it will take
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Task(Protocol[Model, Batch]):
    """What is trained: a network, its batches, its losses, and what is done with the result."""

    @property
    def model(self) -> Model:
        """The network as built; what its `train` leaves in evaluation mode is not trained."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain values that a state on disk must have been written with, such as the config."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Plain values of the options and the data that the steps depend on besides."""
        ...

    def collate(self, samples: Sequence[Any]) -> Batch:
        """A batch of samples, with `names` (a name for each sample) and `to(device)`."""
        ...

    def losses(self, forward: Callable[..., Any], batch: Batch) -> Mapping[str, Tensor]:
        """The scalar losses by name, whose sum is minimized.

        Args:
            forward: the model as it is to be called: compiled, shared among processes.
            batch: on the model's device.
        """
        ...

    def save(self, averaged: Model, folder: Path) -> None:
        """Writes the averaged model as it is now, beside each state."""
        ...

    def evaluate(self, averaged: Model, step: int) -> Mapping[str, float]:
        """Scores to log after `step` steps; called on every process, after `save`.

        Keeps the results and the weights if they are the best so far, and adds a row to
        evaluations.csv last of all. What it measures for linking goes into the file of `save`.
        """
        ...


def fit(
    task: Task[Model, Any],
    samples: Dataset,
    folder: Path,
    schedule: Schedule,
    run: RunOptions,
    on_step: OnStep | None = None,
) -> Model:
    """Trains a network; writes state.pt and losses.csv to `folder`, and what the task saves there.

    The state is saved before each evaluation. A resumed run makes up for an evaluation that a kill
    prevented; a finished one does no more.

    Args:
        task: what is trained.
        samples: position to sample, from 0 on; it has no end.
        folder: of the run.
        schedule: steps, batches, learning rates.
        run: device, precision, workers, seed, and whether a run in the folder is continued.
        on_step: called after each step with its number, from 0, and its losses.

    Returns:
        The model with the averaged weights, in evaluation mode.

    Raises:
        InputError: the folder holds a run and `run.resume` is off; state.pt is of another model or
            of other options; a loss is not finite; the disk is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved after the step that they came in.

    Warns:
        bfloat16 on a CPU; see `choose_precision`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = run.accelerator(folder)
    accelerator.gradient_accumulation_steps = schedule.accumulate
    if run.trackers:
        accelerator.init_trackers(folder.name)
    model = task.model
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = make_optimizer(model, schedule)
    options = dict(task.options) | plain_values(schedule)
    options |= {"seed": run.seed, "precision": accelerator.mixed_precision}
    options["processes"] = accelerator.num_processes
    first_step = load_state(
        folder / STATE, task, averaged, optimizer, accelerator.scaler, options, resume=run.resume
    )
    if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu":
        warnings.warn(
            "--precision bf16: on a processor PyTorch's gradients of small feature maps can be "
            "wrong; --precision no is safe",
            stacklevel=2,
        )
    if run.precision == "auto" and accelerator.is_main_process:
        tqdm.write(explain_precision(str(accelerator.device), training=True), file=sys.stderr)
    averaged.to(accelerator.device)
    model.train()
    several_gpus = accelerator.num_processes > 1 and accelerator.device.type == "cuda"
    if several_gpus and any(isinstance(m, _NORMS) and m.training for m in model.modules()):
        sync_batch_norms(model)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    forward = torch.compile(wrapped) if run.compile else wrapped
    samples_per_step = schedule.batch * schedule.accumulate * accelerator.num_processes
    loader = accelerator.prepare(
        make_loader(
            samples, task.collate, batch=schedule.batch, workers=run.workers,
            sampler=range(first_step * samples_per_step, schedule.steps * samples_per_step),
            pin_memory=accelerator.device.type == "cuda",
        )
    )  # fmt: skip
    log = LossLog(folder / LOSSES, first_step) if accelerator.is_main_process else None
    bar = tqdm(
        total=schedule.steps, initial=first_step, unit=" steps", leave=False,
        disable=not accelerator.is_main_process,
    )  # fmt: skip
    wrapped.train()
    durations: list[float] = []

    def take_step(step: int) -> None:
        started, waited = time.perf_counter(), 0.0
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        sums: dict[str, Tensor] = {}
        for part in range(schedule.accumulate):
            before_batch = time.perf_counter()
            batch = next_batch(batches)
            waited += time.perf_counter() - before_batch
            # Dropout draws by the step's number, so that a resumed run draws the same; the loader
            # has drawn, too, but not in every step.
            torch.manual_seed(run.seed + 1_000_003 * (step * schedule.accumulate + part)
                              + accelerator.process_index)  # fmt: skip
            with accelerator.accumulate(wrapped), accelerator.autocast():
                losses = task.losses(forward, batch)
                total = torch.stack(list(losses.values())).sum()
                require_finite(losses, total, step, batch.names)
                accelerator.backward(total)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(wrapped.parameters(), schedule.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.detach() / schedule.accumulate
        update_average(averaged, model, schedule.ema, step)
        values = mean_losses(sums, accelerator)
        seconds = time.perf_counter() - started
        if log is not None:
            log.write(step, schedule.rate(step), values, seconds, waited)
        accelerator.log(values | {"lr": schedule.rate(step)}, step=step)
        if on_step is not None:
            on_step(step, values)
        parts = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        rate = schedule.rate(step)
        bar.set_postfix_str(f"{parts}, lr {rate:.2g}", refresh=False)
        bar.update()
        durations.append(seconds)
        if len(durations) == _TIMED_STEPS and log is not None and schedule.steps > step + 1:
            tqdm.write(time_left(durations, schedule.steps - step - 1), file=sys.stderr)

    def evaluate(done: int) -> None:
        if scores := task.evaluate(averaged, done):
            accelerator.log(dict(scores), step=done - 1)

    def is_enough() -> bool:
        """Whether the evaluations of all processes' run have stopped getting better."""
        accelerator.wait_for_everyone()
        if not schedule.patience or evaluations_since_best(folder) < schedule.patience:
            return False
        if accelerator.is_main_process:
            tqdm.write(f"stopped early: no better in {schedule.patience} evaluations (--patience)")
        return True

    stop = StopSignals()
    with stop.handled():
        batches = iter(loader)  # processes of its own inherit the handlers
        if schedule.evaluates_after(first_step) and not is_evaluated(folder, first_step):
            if accelerator.is_main_process:
                task.save(averaged, folder)
            evaluate(first_step)
        is_over = first_step > 0 and is_enough()
        for step in range(first_step, first_step if is_over else schedule.steps):
            done = step + 1
            due = schedule.evaluates_after(done)
            with stop.step():
                take_step(step)
                stopped = _any_process(stop.received is not None, accelerator)
                saves = due or stopped or done % schedule.save_every == 0
                if saves and log is not None:
                    log.sync()
                    save_state(folder, task, averaged, optimizer, accelerator.scaler, options, done)
            if stopped or (saves and stop.received):
                raise KeyboardInterrupt(
                    f"stopped by {stop.received or 'a signal'}; step {done} is saved, continue "
                    "with --resume"
                )
            if due:
                evaluate(done)
                if done < schedule.steps and is_enough():
                    break
    bar.close()
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.free_memory()
    return averaged


def time_left(durations: Sequence[float], steps: int) -> str:
    """How long so many steps will take, in words; the first two, which warm up, do not count."""
    step = statistics.median(durations[2:] or durations)
    seconds = step * steps
    whole = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    whole = whole if seconds < 7200 else f"{seconds / 3600:.1f} h"
    return f"{step:.2f} s a step: about {whole} for the other {steps} steps, without evaluations"


def _any_process(flag: bool, accelerator: Accelerator) -> bool:
    """Whether the flag is set in any process of the run."""
    if accelerator.num_processes == 1:
        return flag
    flags = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(flags, "sum").item())


def next_batch(batches: Iterator[Any]) -> Any:
    """The next batch of a loader; an error has one line, also one from a worker process.

    Raises:
        InputError: a video cannot be read.
    """
    try:
        return next(batches)
    except (InputError, OSError) as error:
        # torch makes a worker's traceback the message; its last line is the error's own.
        line = str(error).strip().splitlines()[-1]
        raise InputError(re.sub(r"^[\w.]*Error: ", "", line)) from error


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The optimizer of a schedule, with weight decay for kernels and matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.lr)
    return torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9)


def update_average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the averaged weights, and the norms' statistics, towards the model's.

    The first steps move them farther, so that the average forgets the initial weights.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    averages, values = averaged.state_dict(), model.state_dict()
    moving = [name for name in averages if averages[name].is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_(
            [averages[name] for name in moving], [values[name] for name in moving], weight
        )
        for name in averages.keys() - moving:
            averages[name].copy_(values[name])


def sync_batch_norms(module: nn.Module) -> None:
    """Lets batch norms take their statistics over the clips of all processes (GPUs only).

    As torch's `convert_sync_batchnorm`, which refuses norms without a scale.
    """
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, _NORMS):
                shared = nn.SyncBatchNorm(norm.num_features)
                shared.__dict__.update(vars(norm))
                setattr(parent, name, shared)


def mean_losses(sums: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The losses as numbers, the mean over all processes."""
    stacked = accelerator.reduce(torch.stack(list(sums.values())), "mean")
    return dict(zip(sums, stacked.tolist()))


def require_finite(losses: Mapping[str, Tensor], total: Tensor, step: int, names: Any) -> None:
    """Stops the run at a loss that is not a finite number.

    Raises:
        InputError: names the losses and the clips.
    """
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {loss.item():.4g}" for name, loss in losses.items())
        raise InputError(
            f"step {step}: the loss is not finite ({values}) for {', '.join(names)}; lower "
            "--lr or --clip-norm, or check these clips, then continue with --resume"
        )
