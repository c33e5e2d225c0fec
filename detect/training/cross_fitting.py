"""Calibration without videos to spare: every video is detected in by a detector that never saw it.

Cross-fitting by video: the videos are dealt into folds, and for each fold a detector is trained on
the others, in a third of the steps. What linking needs is then measured on all videos.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet, select_videos
from ...datasets.labels import remap_codes
from ...datasets.storage.files import write_json
from ...datasets.storage.text_files import read_json
from ...datasets.table_io import write_table
from ...datasets.tables import Detections, Tubes, concatenate_rows, select_rows
from ..linking.interface import Calibration
from .calibration import fit_calibration
from .options import RunOptions, Schedule
from .state import check_folder

FOLDER = "calibration"
"""Subfolder of a run for the detectors of the folds; it goes when they are not needed any more."""
RECORD, CROSS_FITTED = "calibration.json", "cross_fitted.parquet"
_SHARE_OF_STEPS = 3

TrainAndDetect = Callable[[DetectionSet, DetectionSet, Path, Schedule], Detections]


def make_folds(videos: DetectionSet, count: int) -> list[list[int]]:
    """Rows of the videos of each fold.

    Videos of a class lie in different folds, so that where a class has two videos or more all of
    its videos are detected in by a detector that has learned it.

    Args:
        videos: V of them.
        count: number of folds; as many as there are videos where there are fewer.

    Returns:
        the folds, at least two; or none where that is not possible: fewer than two videos, or
        `count` below 2, or all boxes in one fold.
    """
    count = min(count, len(videos))
    if count < 2:
        return []
    label = np.full(len(videos), len(videos.labels))
    np.minimum.at(label, videos.tubes.video, videos.tubes.label)
    order = np.argsort(label, kind="stable")
    folds = [sorted(order[first::count].tolist()) for first in range(count)]
    has_boxes = np.unique(videos.tubes.video)
    # Something must be left to train on, whichever fold is left out.
    return [] if any(np.isin(has_boxes, fold).all() for fold in folds) else folds


def cross_fit(
    videos: DetectionSet,
    folds: Sequence[Sequence[int]],
    train_and_detect: TrainAndDetect,
    schedule: Schedule,
    run: RunOptions,
    folder: Path,
    made_of: Mapping[str, Any],
) -> Calibration:
    """The calibration of a detector, measured on the videos that it will be trained on.

    Args:
        videos: the training videos.
        folds: of `make_folds`.
        train_and_detect: trains on the first set, within a folder, and detects in the second.
        schedule: of the detector.
        run: of the detector; a resumed one uses a result that was made of the same.
        folder: of the run; gets calibration.json and cross_fitted.parquet, the detections.
        made_of: what the result depends on, as JSON.
    """
    record, made_of = folder / RECORD, json.loads(json.dumps(made_of))
    if run.resume and record.is_file():
        known = read_json(record)
        if isinstance(known, dict) and known.get("made_of") == made_of:
            return Calibration.from_json(known.get("calibration"), record)
    accelerator = run.accelerator(folder)
    is_main_process = accelerator.is_main_process
    if not run.resume:
        # What a run that was stopped here left is no run to continue: it has no state of its own.
        check_folder(folder, resume=False)
        accelerator.wait_for_everyone()
        if is_main_process:
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
        accelerator.wait_for_everyone()
    steps = max(schedule.steps // _SHARE_OF_STEPS, 1)
    if is_main_process:
        tqdm.write(
            f"calibration: first {len(folds)} detectors are trained on parts of the videos, "
            f"{len(folds) * steps} steps in all besides the {schedule.steps} of the training "
            "(--calibration-folds 0 leaves them out)",
            file=sys.stderr,
        )
    short = replace(
        schedule, steps=steps, warmup=schedule.warmup // _SHARE_OF_STEPS, evaluate_every=0
    )
    parts = []
    for number, fold in enumerate(folds, 1):
        rest = select_videos(videos, np.setdiff1d(np.arange(len(videos)), fold).tolist())
        part = select_videos(videos, fold)
        detections = train_and_detect(rest, part, folder / FOLDER / f"fold{number}", short)
        parts.append(merge_unseen_classes(detections, part.tubes, np.unique(rest.tubes.label)))
    all_detections, all_tubes = (
        concatenate_rows(
            [
                replace(each, video=remap_codes(each.video, each.video_names, videos.names),
                        video_names=videos.names)
                for each in tables
            ]
        )
        for tables in zip(*parts)
    )  # fmt: skip
    calibration = fit_calibration(all_detections, all_tubes)
    # Scores stay as they are: after a third of the steps, on fewer videos and classes, tubes are
    # right less often than those of the detector (on eight videos of eight classes 2 % at most).
    calibration = replace(calibration, score_scale=1.0, score_shift=0.0)
    if is_main_process:
        write_table(all_detections, folder / CROSS_FITTED)
        write_json({"calibration": asdict(calibration), "made_of": made_of}, record)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return calibration


def merge_unseen_classes(
    detections: Detections, truth: Tubes, seen: np.ndarray
) -> tuple[Detections, Tubes]:
    """Ignores classes in videos with a class that the detector has not learned.

    All boxes and tubes of such a video get the first of these classes. The score of a box is then
    the sum over its classes, at most 1: the probability of any action.

    Args:
        detections: of the detector.
        truth: with the same names of videos and labels.
        seen: the labels that it has learned.
    """
    unseen = ~np.isin(truth.label, seen)
    label_of = np.full(len(truth.video_names), len(truth.label_names))
    np.minimum.at(label_of, truth.video[unseen], truth.label[unseen])
    ignored = label_of < len(truth.label_names)
    if not ignored.any():
        return detections, truth
    merged = ignored[truth.video]
    label = np.where(merged, label_of[truth.video], truth.label).astype(truth.label.dtype)
    truth = replace(truth, label=label)
    merged = ignored[detections.video]
    label = np.where(merged, label_of[detections.video], detections.label)
    label = label.astype(detections.label.dtype)
    keys = np.column_stack([detections.video, detections.frame, label, detections.boxes])
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    score = np.minimum(np.bincount(index.reshape(-1), detections.score), 1.0)
    order = np.argsort(first)
    rows = first[order]
    merged_boxes = select_rows(replace(detections, label=label), rows)
    return replace(merged_boxes, score=score[order]), truth
