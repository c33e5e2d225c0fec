"""Training of a detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...datasets.clips.detection_clips import (
    DetectionBatch,
    DetectionClips,
    DetectionSample,
    collate,
)
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from ...datasets.files import write_json
from ...datasets.table_io import write_table
from ...datasets.tables import Tubes
from ..evaluation.evaluate import Evaluation
from ..inference.predict_dataset import evaluate_dataset, predict_dataset
from ..inference.predictor import TorchPredictor
from ..model.checkpoint import save_detector
from ..model.config import DetectorConfig
from ..model.detector import Detector
from ..people.proposals import ProposalSource
from .loop import OnStep, fit
from .options import RoiTraining, RunOptions, Schedule
from .proposals import prepare_proposals
from .state import EVALUATIONS, write_evaluation

DETECTOR = "detector.safetensors"
DETECTIONS, TUBES, RESULTS = "detections.parquet", "tubes.parquet", "results.json"


class DetectionTask:
    """Training of a detector, a `Task` of `fit`; saves detector.safetensors.

    Args:
        model: as built.
        evaluator: called with the averaged detector and the number of steps taken; returns scores.
    """

    def __init__(
        self,
        model: Detector,
        evaluator: Callable[[Detector, int], Mapping[str, float]] | None = None,
    ) -> None:
        self.model, self._evaluator = model, evaluator
        self.identity = plain_settings(model.config)

    def collate(self, samples: Sequence[DetectionSample]) -> DetectionBatch:
        return collate(samples)

    def losses(self, forward: Callable[..., Any], batch: DetectionBatch) -> Mapping[str, Tensor]:
        """The losses of `Detector.forward`."""
        return forward(
            batch.clips, batch.clip_index, batch.key_frames, batch.boxes, batch.labels,
            key_frame_seeds(batch), batch.proposals,
        )  # fmt: skip

    def calibrate(self, averaged: Detector) -> Mapping[str, Any]:
        """No sections yet."""
        return {}

    def save(self, averaged: Detector, folder: Path) -> None:
        save_detector(averaged, folder / DETECTOR, sections=self.calibrate(averaged))

    def evaluate(self, averaged: Detector, step: int) -> Mapping[str, float]:
        return self._evaluator(averaged, step) if self._evaluator else {}


@dataclass
class DetectionEvaluator:
    """Evaluates a detector on the test videos.

    Attributes:
        test_set: the test videos.
        folder: gets detections.parquet, tubes.parquet, results.json and evaluations.csv.
        run: of the training.
        people: person boxes of the test videos; for a detector without proposals of its own.
        result: the last evaluation.
    """

    test_set: DetectionSet
    folder: Path
    run: RunOptions
    people: ProposalSource | None
    result: Evaluation = field(init=False)

    def __call__(self, averaged: Detector, step: int) -> Mapping[str, float]:
        folder = self.folder
        predictor = TorchPredictor(
            averaged,
            device=str(next(averaged.parameters()).device),
            autocast_dtype=torch.bfloat16 if self.run.precision == "bf16" else None,
        )
        detections = predict_dataset(predictor, self.test_set, source=self.people)
        self.result, tubes = evaluate_dataset(self.test_set, detections)
        if not self.run.accelerator(folder).is_main_process:
            return {}
        write_table(detections, folder / DETECTIONS)
        write_table(tubes, folder / TUBES)
        scores = self.result.as_json()
        write_json(scores, folder / RESULTS)
        row = {
            "frame-mAP@0.5": scores["frame_map"]["0.5"],
            "video-mAP@0.5": scores["video_map"]["0.5"],
        }
        columns = {name: f"{value:.4f}" for name, value in row.items()}
        write_evaluation(folder / EVALUATIONS, step, {"protocol": scores["protocol"], **columns})
        values = ", ".join(f"{name} {value:.1f}" for name, value in row.items())
        tqdm.write(f"step {step}: {values} (protocol {scores['protocol']})")
        return row


def train_and_evaluate(
    detector: Detector,
    train_set: DetectionSet,
    test_set: DetectionSet,
    folder: Path,
    *,
    clips: ClipConfig,
    sampling: ClipSampling,
    augmentation: Augmentation,
    rois: RoiTraining,
    schedule: Schedule,
    run: RunOptions,
    proposals: str | None = None,
    on_step: OnStep | None = None,
) -> tuple[Detector, Evaluation]:
    """Trains a detector and evaluates it on the test videos.

    Writes to `folder` what `fit` and `DetectionEvaluator` do.

    Args:
        detector: as built.
        train_set: the training videos.
        test_set: the test videos, with the same labels.
        folder: of the run.
        clips: number and distance of key frames, and margin; the rest of a clip's shape is that of
            the detector's input.
        sampling: which clips are drawn.
        augmentation: how much clips vary.
        rois: what the head is trained on.
        schedule: see `fit`.
        run: see `fit`.
        proposals: for a detector with external proposals: "ground-truth", or a source of
            `open_proposal_source`, which is run once over all videos.
        on_step: see `fit`.

    Returns:
        The averaged detector, in evaluation mode, and its last evaluation.

    Raises:
        InputError: see `fit` and `DetectionClips`.
    """
    config = detector.config
    if not config.multi_label:
        _warn_of_several_classes(train_set.tubes)
    detector.rois_per_frame, detector.jitter = rois.rois_per_frame, rois.jitter
    detector.box_weight = rois.box_weight
    detector.proposal_box_weight = rois.proposal_box_weight
    table, people = None, None
    if config.proposals == "external":
        assert proposals is not None
        table, people = prepare_proposals(proposals, train_set, test_set, folder, run)
    samples = DetectionClips(
        train_set,
        replace(
            clips, frames=config.frames, size=config.size, frame_step=config.frame_step,
            streams=config.clip_streams, flow_method=config.flow_method,
        ),
        augmentation=augmentation, seed=run.seed, proposals=table, sampling=sampling,
    )  # fmt: skip
    evaluator = DetectionEvaluator(test_set, folder, run, people)
    task = DetectionTask(detector, evaluator)
    return fit(task, samples, folder, schedule, run, on_step), evaluator.result


def _warn_of_several_classes(truth: Tubes) -> None:
    """Warns that a softmax learns only the first class of a person with several."""
    rows = np.column_stack([truth.video, truth.frame, truth.boxes])
    several = len(np.unique(np.column_stack([rows, truth.label]), axis=0))
    several -= len(np.unique(rows, axis=0))
    if several:
        warnings.warn(
            f"{several} ground truth boxes have several classes; only the first of each is "
            "used for training. Use --multi-label to train on all",
            stacklevel=3,
        )


def key_frame_seeds(batch: DetectionBatch) -> list[int]:
    """A seed for each key frame: its clip's plus its position in the clip, whatever the batch."""
    clips = batch.clip_index.tolist()
    return [batch.seeds[clip] + i - clips.index(clip) for i, clip in enumerate(clips)]


def plain_settings(config: DetectorConfig) -> dict[str, Any]:
    """The config as values that state.pt may hold."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
