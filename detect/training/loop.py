"""The training loop, on one page over accelerate.

`accelerate launch` runs it on several GPUs or machines. What a step sees is decided by the seed and
the step's number alone: a resumed run, or one shared among processes, takes the same steps.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ...datasets.clips.loader import limit_worker_threads
from ...datasets.errors import InputError
from .options import Schedule
from .state import LOSSES, STATE, LossLog, load_state, save_state

Model = TypeVar("Model", bound=nn.Module)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fit(
    model: Model,
    samples: Dataset,
    out: Path,
    schedule: Schedule,
    accelerator: Accelerator,
    *,
    collate: Callable[[Any], Any],
    losses: Callable[[Callable[..., Any], Any], Mapping[str, Tensor]],
    save: Callable[[Model], None],
    identity: Mapping[str, Any],
    evaluate: Callable[[Model, int], Mapping[str, float]] | None = None,
    resume: bool = False,
    workers: int = 0,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Model:
    """Trains any network; writes state.pt and losses.csv to the folder `out`, and what `save` does.

    Args:
        model: as built; what its `train` leaves in evaluation mode or without gradient stays.
        samples: position to sample, from 0 on; it has no end.
        accelerator: device, precision, processes, trackers.
        collate: samples to a batch, which has `names`, a name for each sample, and `to(device)`.
        losses: of (model, batch), each a scalar, by name; their sum is minimised. The model comes
            as it is to be called: compiled, shared among processes.
        save: writes the averaged model for its users, beside each state.
        identity: plain values that a state must have been written with, such as the settings.
        evaluate: called with the averaged model and the number of steps taken, on every process.
        resume: go on from state.pt if there is one.
        workers: processes that read samples; 0 reads them in this one.
        watch: called after each step with its losses.

    Returns:
        the model with the averaged weights, in evaluation mode.

    Raises:
        InputError: the folder holds a run and `resume` is off; state.pt is of another model; a
            loss is not finite; the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator.gradient_accumulation_steps = schedule.accumulate
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = make_optimizer(model, schedule)
    begin = load_state(
        out / STATE, model, averaged, optimizer, accelerator.scaler, identity, resume=resume
    )
    averaged.to(accelerator.device)
    model.train()
    several_gpus = accelerator.num_processes > 1 and accelerator.device.type == "cuda"
    if several_gpus and any(isinstance(m, _NORMS) and m.training for m in model.modules()):
        sync_batch_norms(model)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    run = torch.compile(wrapped) if compile else wrapped
    share = schedule.batch * schedule.accumulate * accelerator.num_processes
    loader = accelerator.prepare(
        DataLoader(
            samples,
            schedule.batch,
            sampler=range(begin * share, schedule.steps * share),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=accelerator.device.type == "cuda",
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=limit_worker_threads,
        )
    )
    batches = iter(loader)
    log = LossLog(out / LOSSES, begin) if accelerator.is_main_process else None
    bar = tqdm(
        total=schedule.steps, initial=begin, unit=" steps", leave=False,
        disable=not accelerator.is_main_process,
    )  # fmt: skip
    wrapped.train()
    for step in range(begin, schedule.steps):
        started, waited = time.perf_counter(), 0.0
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        sums: dict[str, Tensor] = {}
        for part in range(schedule.accumulate):
            asked = time.perf_counter()
            batch = next_batch(batches)
            waited += time.perf_counter() - asked
            # Dropout draws by the step's number, so that a resumed run draws the same; the loader
            # has drawn, too, but not in every step.
            torch.manual_seed(seed + 1_000_003 * (step * schedule.accumulate + part)
                              + accelerator.process_index)  # fmt: skip
            with accelerator.accumulate(wrapped), accelerator.autocast():
                found = losses(run, batch)
                total = torch.stack(list(found.values())).sum()
                require_finite(found, total, step, batch.names)
                accelerator.backward(total)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(wrapped.parameters(), schedule.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
            for name, loss in found.items():
                sums[name] = sums.get(name, 0.0) + loss.detach() / schedule.accumulate
        update_average(averaged, model, schedule.ema, step)
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
            save_state(out, model, averaged, optimizer, accelerator.scaler, done, identity, save)
        if evaluate is not None and (
            last or (schedule.evaluate_every and done % schedule.evaluate_every == 0)
        ):
            scores = evaluate(averaged, done)
            if scores:
                accelerator.log(dict(scores), step=step)
    bar.close()
    accelerator.wait_for_everyone()
    return averaged


def next_batch(batches: Iterator[Any]) -> Any:
    """The next batch of a loader; an error on the way is of one line, also out of a worker process.

    Raises:
        InputError: a video cannot be read.
    """
    try:
        return next(batches)
    except (InputError, OSError) as error:
        # Of a worker's error, torch makes its traceback the message; the last line is the error's.
        line = str(error).strip().splitlines()[-1]
        raise InputError(re.sub(r"^[\w.]*Error: ", "", line)) from error


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Weight decay for what has two or more dimensions: kernels and matrices."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=schedule.lr)
    return torch.optim.SGD(groups, lr=schedule.lr, momentum=0.9)


def update_average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
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
    """Stops the run at a loss that is no number.

    Raises:
        InputError: with the losses and the clips.
    """
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {loss.item():.4g}" for name, loss in losses.items())
        raise InputError(
            f"step {step}: the loss is not finite ({values}) for {', '.join(names)}; lower "
            "--lr or --clip-norm, or check these clips, then continue with --resume"
        )
