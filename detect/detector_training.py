"""The detector's parts of the training loop: its batches, losses, file and identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.clips import Batch, collate
from .detector import Detector
from .detector_file import save_detector
from .detector_settings import DetectorSettings
from .training import Schedule, train

DETECTOR = "detector.safetensors"


def train_detector(
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
        others: see `training.train`.

    Returns:
        the detector with the averaged weights, in evaluation mode.

    Raises:
        InputError: see `training.train`.
    """
    return train(
        detector, clips, out, schedule, accelerator, collate=collate, losses=detector_losses,
        save=lambda averaged: save_detector(averaged, out / DETECTOR),
        identity=plain_settings(detector.settings), evaluate=evaluate, resume=resume,
        workers=workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip


def detector_losses(run: Callable[..., Any], batch: Batch) -> Mapping[str, Tensor]:
    """See `Detector.forward`."""
    return run(
        batch.clips, batch.clip_of, batch.key_frames, batch.boxes, batch.labels, key_seeds(batch),
        batch.given,
    )  # fmt: skip


def key_seeds(batch: Batch) -> list[int]:
    """A seed for each key frame, from that of its clip and the place in it, whatever the batch."""
    clips = batch.clip_of.tolist()
    return [batch.seeds[clip] + place - clips.index(clip) for place, clip in enumerate(clips)]


def plain_settings(settings: DetectorSettings) -> dict[str, Any]:
    """The settings as values that a state may hold."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
