"""Training of a detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ...datasets.clips.detection_clips import ClipConfig, DetectionBatch, DetectionClips, collate
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.files import write_json
from ...datasets.table_io import write_table
from ...datasets.tables import Tubes
from ..evaluation.evaluate import Evaluation
from ..inference.predict_dataset import evaluate_dataset, predict_dataset
from ..inference.predictor import TorchPredictor
from ..model.checkpoint import save_detector
from ..model.config import DetectorConfig
from ..model.detector import Detector
from .loop import fit
from .options import ClipSampling, Schedule
from .proposals import prepare_proposals
from .state import EVALUATIONS, write_evaluation

DETECTOR = "detector.safetensors"
DETECTIONS, TUBES, RESULTS = "detections.parquet", "tubes.parquet", "results.json"


def train_and_evaluate(
    detector: Detector,
    train_set: DetectionSet,
    test_set: DetectionSet,
    out: Path,
    schedule: Schedule,
    supervision: ClipSampling,
    accelerator: Accelerator,
    *,
    proposals: str | None = None,
    resume: bool = False,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> tuple[Detector, Evaluation]:
    """Trains and evaluates; writes, beside what `train_detector` writes, detections.parquet,
    tubes.parquet, results.json and evaluations.csv of the test videos to `out`.

    Args:
        proposals: for a detector without its own: "ground-truth", or a source of
            `open_proposal_source`, which runs over all videos once.
        others: see `training.train`.

    Raises:
        InputError: see `training.train`, `DetectionClips`.
    """
    settings = detector.settings
    half = accelerator.mixed_precision == "bf16"
    if not settings.multi_label:
        _warn_of_several_classes(train_set.tubes)
    given, people = None, None
    if settings.proposals == "given":
        assert proposals is not None
        given, people = prepare_proposals(proposals, train_set, test_set, out, accelerator, resume)
    clips = DetectionClips(
        train_set,
        ClipConfig(
            settings.frames, settings.height, settings.width_pixels, supervision.key_frames,
            supervision.key_frame_step, supervision.margin, settings.frame_step,
            settings.clip_streams, settings.flow_method,
        ),
        augmentation=supervision.augmentation, seed=seed, balance=supervision.balance,
        background=supervision.background, cache=supervision.cache,
        proposals=given,
    )  # fmt: skip
    last: list[Evaluation] = []

    def evaluate(averaged: Detector, step: int) -> dict[str, float]:
        device, dtype = next(averaged.parameters()).device, torch.bfloat16 if half else None
        predictor = TorchPredictor(averaged, device=str(device), autocast_dtype=dtype)
        found = predict_dataset(predictor, test_set, source=people)
        result, tubes = evaluate_dataset(test_set, found)
        last[:] = [result]
        if not accelerator.is_main_process:
            return {}
        write_table(found, out / DETECTIONS)
        write_table(tubes, out / TUBES)
        scores = result.as_json()
        write_json(scores, out / RESULTS)
        row = {
            "frame-mAP@0.5": scores["frame_map"]["0.5"],
            "video-mAP@0.5": scores["video_map"]["0.5"],
        }
        write_evaluation(
            out / EVALUATIONS, step,
            {"protocol": scores["protocol"], **{name: f"{v:.4f}" for name, v in row.items()}},
        )  # fmt: skip
        values = ", ".join(f"{name} {value:.1f}" for name, value in row.items())
        tqdm.write(f"step {step}: {values} (protocol {scores['protocol']})")
        return row

    trained = train_detector(
        detector, clips, out, schedule, accelerator, evaluate=evaluate, resume=resume,
        workers=supervision.workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip
    if not last:  # a finished run that was resumed
        evaluate(trained, schedule.steps)
    return trained, last[0]


def _warn_of_several_classes(truth: Tubes) -> None:
    """A softmax knows one class a person; of boxes with several the first is learnt."""
    rows = np.column_stack([truth.video, truth.frame, truth.boxes])
    several = len(np.unique(np.column_stack([rows, truth.label]), axis=0))
    several -= len(np.unique(rows, axis=0))
    if several:
        warnings.warn(
            f"{several} ground truth boxes have several classes; only the first of each is "
            "used for training. Use --multi-label to train on all",
            stacklevel=3,
        )


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
    return fit(
        detector, clips, out, schedule, accelerator, collate=collate, losses=detector_losses,
        save=lambda averaged: save_detector(averaged, out / DETECTOR),
        identity=plain_settings(detector.settings), evaluate=evaluate, resume=resume,
        workers=workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip


def detector_losses(run: Callable[..., Any], batch: DetectionBatch) -> Mapping[str, Tensor]:
    """See `Detector.forward`."""
    return run(
        batch.clips, batch.clip_of, batch.key_frames, batch.boxes, batch.labels, key_seeds(batch),
        batch.given,
    )  # fmt: skip


def key_seeds(batch: DetectionBatch) -> list[int]:
    """A seed for each key frame, from that of its clip and the place in it, whatever the batch."""
    clips = batch.clip_of.tolist()
    return [batch.seeds[clip] + place - clips.index(clip) for place, clip in enumerate(clips)]


def plain_settings(settings: DetectorConfig) -> dict[str, Any]:
    """The settings as values that a state may hold."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
