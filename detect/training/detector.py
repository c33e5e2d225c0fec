"""Training of a detector."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ...datasets.clips.annotated_frames import AnnotatedFrames
from ...datasets.clips.detection_clips import DetectionBatch, DetectionClips, collate
from ...datasets.clips.detection_set import DetectionSet, select_videos
from ...datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from ...datasets.file_options import FileOptions
from ...datasets.storage.files import write_json
from ...datasets.table_io import read_table, write_table
from ...datasets.table_writer import OUTPUT_FILES
from ...datasets.tables import Detections, Tubes
from ..evaluation.align import align_to_ground_truth
from ..inference.device import autocast_dtype, choose_precision
from ..inference.predict_dataset import evaluate_dataset, predict_dataset
from ..inference.predictor import TorchPredictor
from ..linking.interface import Calibration
from ..model.checkpoint import CALIBRATION, save_detector
from ..model.detector import Detector
from ..people.proposals import ProposalSource
from .calibration import fit_calibration, hold_out
from .cross_fitting import cross_fit, make_folds
from .feature_clips import FeatureBatch, FeatureClips, batch_features, collate_features
from .feature_training import FeatureTraining, plan_feature_training
from .loop import OnStep, fit
from .options import FeatureOptions, RoiTraining, RunOptions, Schedule
from .proposals import prepare_proposals
from .run_report import class_line, describe_training, report_curves, report_evaluation
from .state import (
    DETECTOR,
    EVALUATIONS,
    LAST,
    RESULTS,
    keep_last,
    plain_values,
    read_results,
    write_evaluation,
)

DetectVideos = Callable[[Detector, DetectionSet], Detections]


class DetectionTask:
    """Training of a detector, a `Task` of `fit`.

    Saves last.safetensors, and the evaluator the best, detector.safetensors; without an evaluator
    that is the last.

    Args:
        model: as built.
        evaluator: called with the averaged detector and the number of steps taken; returns scores.
        options: see `Task.options`.
        cached: how features are computed once, for samples of `FeatureClips`.
    """

    def __init__(
        self,
        model: Detector,
        evaluator: Callable[[Detector, int], Mapping[str, float]] | None = None,
        options: Mapping[str, Any] | None = None,
        cached: FeatureTraining | None = None,
    ) -> None:
        self.model, self._evaluator, self._cached = model, evaluator, cached
        self.identity, self.options = plain_values(model.config), dict(options or {})

    def collate(self, samples: Sequence[Any]) -> DetectionBatch | FeatureBatch:
        """A batch of `DetectionClips`, or of `FeatureClips` where there is a cache."""
        return collate(samples) if self._cached is None else collate_features(samples)

    def losses(
        self, forward: Callable[..., Any], batch: DetectionBatch | FeatureBatch
    ) -> Mapping[str, Tensor]:
        """The losses of `Detector.forward`."""
        features = None
        if isinstance(batch, FeatureBatch):
            assert self._cached is not None
            dtype = autocast_dtype(self._cached.precision)
            features = batch_features(self.model, batch, self._cached.cache, dtype)
            batch = batch.annotations
        return forward(
            batch.clips, batch.clip_index, batch.key_frames, batch.boxes, batch.labels,
            key_frame_seeds(batch), batch.proposals, features,
        )  # fmt: skip

    def save(self, averaged: Detector, folder: Path) -> None:
        save_detector(averaged, folder / (LAST if self._evaluator else DETECTOR))

    def evaluate(self, averaged: Detector, step: int) -> Mapping[str, float]:
        return self._evaluator(averaged, step) if self._evaluator else {}


@dataclass(frozen=True)
class DetectionEvaluator:
    """Evaluates a detector on the test videos, and keeps the best by frame-mAP at IoU 0.5.

    First it is calibrated on the videos for that; last.safetensors is written with the calibration.

    Attributes:
        test_set: the test videos.
        held_out: videos to calibrate on, which are not tested on; None without any.
        folder: gets a row in evaluations.csv; and of the best detector so far results.json,
            detections.parquet, tubes.parquet and detector.safetensors.
        run: of the training.
        detect: gives the detections of a detector in videos.
        calibration: where there are no such videos, what was measured otherwise; None for nothing.
    """

    test_set: DetectionSet
    held_out: DetectionSet | None
    folder: Path
    run: RunOptions
    detect: DetectVideos
    calibration: Calibration | None = None

    def __call__(self, averaged: Detector, step: int) -> Mapping[str, float]:
        folder = self.folder
        is_main_process = self.run.accelerator(folder).is_main_process
        calibration = self.calibration
        if self.held_out is not None:
            held_out = self.detect(averaged, self.held_out)
            calibration = fit_calibration(held_out, self.held_out.tubes)
        if calibration is not None and is_main_process:
            save_detector(averaged, folder / LAST, {CALIBRATION: asdict(calibration)})
        detections = self.detect(averaged, self.test_set)
        result, tubes = evaluate_dataset(self.test_set, detections, calibration)
        if not is_main_process:
            return {}
        scores = result.as_json()
        row = {
            "frame-mAP@0.5": scores["frame_map"]["0.5"],
            "video-mAP@0.5": scores["video_map"]["0.5"],
        }
        best = read_results(folder)
        if best is None or row["frame-mAP@0.5"] >= best["frame_map"]["0.5"]:
            # The results never stand beside other weights, also if the process is killed here.
            (folder / RESULTS).unlink(missing_ok=True)
            keep_last(folder, DETECTOR)
            write_table(detections, folder / OUTPUT_FILES.detections)
            write_table(tubes, folder / OUTPUT_FILES.tubes)
            report_evaluation(folder, self.test_set, detections, tubes, result)
            write_json({"step": step, **scores}, folder / RESULTS)
        columns = {name: f"{value:.4f}" for name, value in row.items()}
        write_evaluation(folder / EVALUATIONS, step, {"protocol": scores["protocol"], **columns})
        values = ", ".join(f"{name} {value:.1f}" for name, value in row.items())
        tqdm.write(f"step {step}: {values} (protocol {scores['protocol']})")
        tqdm.write(class_line(scores["frame_ap"]["0.5"]))
        report_curves(folder)
        return row


@dataclass(frozen=True, eq=False)
class DetectorTraining:
    """How a detector is trained and used, whichever the videos.

    Attributes:
        clips, sampling, augmentation, run: see `train_and_evaluate`.
        options: see `Task.options`.
        table: person boxes to train on; None without.
        people: person boxes to detect with; for a detector without proposals of its own.
        cached: how features are computed once; None computes them in every step.
        folder: of the run.
    """

    clips: ClipConfig
    sampling: ClipSampling
    augmentation: Augmentation
    run: RunOptions
    options: Mapping[str, Any]
    table: Detections | None
    people: ProposalSource | None
    cached: FeatureTraining | None
    folder: Path

    def fit(
        self,
        detector: Detector,
        videos: DetectionSet,
        others: Sequence[DetectionSet],
        evaluator: Callable[[Detector, int], Mapping[str, float]],
        folder: Path,
        schedule: Schedule,
        on_step: OnStep | None = None,
    ) -> Detector:
        """`loop.fit` on some videos; `evaluator`, as in `DetectionTask`, detects in the others."""
        seed, cached = self.run.seed, self.cached
        samples: Dataset
        if cached is not None:
            frames = AnnotatedFrames(videos, self.sampling, self.table)
            clips = cached.clips.of_set(videos, cached.settings)
            samples = FeatureClips(clips, frames, self.clips, cached.views, cached.cache, seed)
        else:
            samples = DetectionClips(
                videos, self.clips, augmentation=self.augmentation, seed=seed,
                proposals=self.table, sampling=self.sampling,
            )  # fmt: skip
        options = {**self.options, "data": describe_sets(videos, *others)}
        task = DetectionTask(detector, evaluator, options, cached)
        return fit(task, samples, folder, schedule, self.run, on_step)

    def detect(self, averaged: Detector, videos: DetectionSet) -> Detections:
        """The detections of a detector in videos, in the precision that `detect` has."""
        device = str(self.run.accelerator(self.folder).device)
        precision = choose_precision(self.run.precision, device)
        open_predictor = partial(
            TorchPredictor, averaged, device=device, autocast_dtype=autocast_dtype(precision)
        )
        extractor = self.cached.extractor(videos) if self.cached is not None else None
        return predict_dataset(
            open_predictor(), videos, source=self.people,
            predictor_of=lambda video: open_predictor(extractor=extractor and extractor(video)),
        )  # fmt: skip

    def train_and_detect(
        self, detector: Detector, videos: DetectionSet, others: DetectionSet, folder: Path,
        schedule: Schedule,
    ) -> Detections:  # fmt: skip
        """The detections in the others of a copy of the detector that is trained on the videos.

        A run that was stopped is continued, one that was finished is only read.
        """
        path = folder / OUTPUT_FILES.detections

        def keep_detections(averaged: Detector, step: int) -> Mapping[str, float]:
            detections = self.detect(averaged, others)
            if self.run.accelerator(self.folder).is_main_process:
                write_table(detections, path)
                write_json({"step": step}, folder / RESULTS)
                write_evaluation(folder / EVALUATIONS, step, {})
            return {}

        training = replace(self, run=replace(self.run, trackers=None))
        training.fit(copy.deepcopy(detector), videos, [others], keep_detections, folder, schedule)
        return align_to_ground_truth(read_table(Detections, path), others.tubes, str(path))


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
    files: FileOptions | None = None,
    features: FeatureOptions | None = None,
    calibration_videos: int = 0,
    train_on_calibration_videos: bool = False,
    calibration_folds: int = 0,
    on_step: OnStep | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """Trains a detector and evaluates it on the test videos.

    Writes to `folder` what `fit` and `DetectionEvaluator` do. No other run may write there.

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
        files: what a table of proposals leaves open.
        features: whether features are computed once and kept; None computes them in every step.
        calibration_videos, train_on_calibration_videos, calibration_folds: see `DetectionData`.
        on_step: see `fit`.

    Returns:
        The averaged detector after the last step, in evaluation mode, and the scores of the best
        so far, which detector.safetensors contains.

    Raises:
        InputError: see `fit` and `DetectionClips`.
    """
    config = detector.config
    if not config.multi_label:
        _warn_of_several_classes(train_set.tubes)
    detector.rois_per_frame, detector.jitter = rois.rois_per_frame, rois.jitter
    detector.box_weight = rois.box_weight
    detector.proposal_box_weight = rois.proposal_box_weight
    rest, held_out = hold_out(train_set, calibration_videos)
    train_set = train_set if train_on_calibration_videos else rest
    folds = make_folds(train_set, calibration_folds) if held_out is None else []
    others = [test_set] if held_out is None else [test_set, held_out]
    table, people = None, None
    if config.proposals == "external":
        assert proposals is not None
        detected = [*others, _without(train_set, test_set)] if folds else others
        table, people = prepare_proposals(proposals, train_set, detected, folder, run, files)
    clips = replace(
        clips, frames=config.frames, size=config.size, frame_step=config.frame_step,
        streams=config.clip_streams, flow_method=config.flow_method,
    )  # fmt: skip
    cached = None
    if features is not None:
        cached = plan_feature_training(
            detector, train_set, clips, augmentation, features, schedule, run, folder
        )
    accelerator = run.accelerator(folder)
    if accelerator.is_main_process:
        device = f"{accelerator.device}, precision {accelerator.mixed_precision}"
        tqdm.write("\n".join(describe_training(train_set, test_set, detector, device)))
    options = plain_values(clips, sampling, augmentation, rois)
    options |= {"proposals": proposals, "cache_features": str(cached) if cached else "off"}
    training = DetectorTraining(
        clips, sampling, augmentation, run, options, table, people, cached, folder
    )
    calibration = None
    if folds:
        made_of = plain_values(config, schedule) | options
        made_of |= {"data": describe_sets(train_set), "folds": folds, "seed": run.seed}
        calibration = cross_fit(
            train_set, folds, partial(training.train_and_detect, detector), schedule, run, folder,
            made_of,
        )  # fmt: skip
    evaluator = DetectionEvaluator(test_set, held_out, folder, run, training.detect, calibration)
    averaged = training.fit(detector, train_set, others, evaluator, folder, schedule, on_step)
    return averaged, read_results(folder) or {}


def _without(videos: DetectionSet, others: DetectionSet) -> DetectionSet:
    """The videos that are not among the others."""
    rows = [row for row, name in enumerate(videos.names) if name not in others.names]
    return select_videos(videos, rows)


def describe_sets(*sets: DetectionSet) -> str:
    """What sets contain, in words that are different for different contents."""
    digest = hashlib.sha256()
    for each in sets:
        tubes = each.tubes
        digest.update(repr((each.names, each.labels)).encode())
        for column in (tubes.video, tubes.frame, tubes.label, tubes.tube, tubes.boxes,
                       each.num_frames, each.width, each.height):  # fmt: skip
            digest.update(np.ascontiguousarray(column).tobytes())
    videos, boxes = (" + ".join(str(n) for n in counts) for counts in
                     zip(*((len(each), len(each.tubes)) for each in sets)))  # fmt: skip
    return f"{videos} videos with {boxes} boxes (SHA-256 {digest.hexdigest()[:12]})"


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
