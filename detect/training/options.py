"""Options of training: schedule, sampling of clips, device and precision. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...datasets.clips.augmentation import Augmentation
from ...datasets.errors import InputError, as_option

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class ClipSampling:
    """How clips are drawn for training; see `DetectionClips` and `ClipConfig`.

    Attributes:
        key_frames, key_frame_step, margin: of a clip.
        balance, background, cache: of `DetectionClips`.
        workers: processes that read clips.
        augmentation: how clips vary, or None.
    """

    key_frames: int = 1
    key_frame_step: int = 4
    margin: int = 0
    balance: bool = True
    background: float = 0.1
    cache: bool = False
    workers: int = 0
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers {self.workers}: must be 0 or more")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns.

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

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch": 1, "accumulate": 1, "save_every": 1}
        least |= dict.fromkeys(("warm_up", "weight_decay", "ema", "evaluate_every"), 0)
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise InputError(
                    f"{as_option(name)} {getattr(self, name)}: must be {value} or more"
                )
        for name in ("lr", "clip_norm"):
            if not getattr(self, name) > 0:
                raise InputError(f"{as_option(name)} {getattr(self, name)}: must be greater than 0")
        if self.ema >= 1:
            raise InputError(
                f"--ema {self.ema}: must be less than 1, such as 0.999 (at 1 the average never "
                "changes)"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        warm = min(1.0, (step + 1) / (self.warm_up + 1))
        done = step / self.steps
        if self.decay == "cosine":
            factor = (1 + math.cos(math.pi * done)) / 2
        else:
            factor = 0.1 ** ((done >= 3 / 4) + (done >= 7 / 8))
        return self.lr * factor * max(warm, 1e-3)


def make_accelerator(
    precision: str, device: str, trackers: list[str] | None, out: Path
) -> Accelerator:
    """Device, precision and trackers as the options say; an InputError where one is not there."""
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    # accelerate itself leaves out trackers that are not installed.
    there = [str(tracker) for tracker in get_available_trackers()]
    for tracker in trackers or ():
        if tracker not in there:
            raise InputError(
                f"--trackers {tracker}: is not installed; installed are {', '.join(there)}"
            )
    try:
        return Accelerator(
            mixed_precision=precision, cpu=device == "cpu", log_with=trackers, project_dir=out
        )
    except ValueError as error:
        raise InputError(
            f"--precision {precision}: not supported on this machine ({error})"
        ) from error
