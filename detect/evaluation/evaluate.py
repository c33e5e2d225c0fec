"""All numbers of a set of detections and tubes, under one protocol or several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.tables import Detections, Tubes
from .error_analysis import frame_errors, mean_errors, video_errors
from .frame_map import ClassAP, FrameOverlaps, frame_ap, frame_overlaps
from .protocols import Protocol
from .video_map import TubeIndex, TubeOverlaps, score_tubes, tube_overlaps, video_ap

FRAME_THRESHOLDS = (0.3, 0.5, 0.75)
VIDEO_THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_AVERAGED = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one protocol says.

    Attributes:
        protocol: the rules.
        frame: one a threshold, rising; empty without detections.
        video: one a threshold, rising; empty without tubes.
        frame_errors, video_errors: percent of each kind by class, at `error_threshold`; empty
            without detections, or tubes.
        error_threshold: the IoU threshold of the errors.
    """

    protocol: Protocol
    frame: list[ClassAP]
    video: list[ClassAP]
    frame_errors: dict[str, dict[str, float]]
    video_errors: dict[str, dict[str, float]]
    error_threshold: float = 0.5

    def as_json(self) -> dict[str, Any]:
        """The object that `actiontubes evaluate --json` writes: all numbers in percent."""
        result: dict[str, Any] = {"protocol": self.protocol.name}
        for part, scores, errors in (
            ("frame", self.frame, self.frame_errors),
            ("video", self.video, self.video_errors),
        ):
            if scores:
                result[f"{part}_map"] = {f"{each.threshold:g}": each.mean for each in scores}
                result[f"{part}_ap"] = {f"{each.threshold:g}": each.ap for each in scores}
                result[f"{part}_errors"] = mean_errors(errors)
                result[f"{part}_errors_by_class"] = errors
        averaged = mean_over_thresholds(self.video)
        if averaged is not None:
            result["video_map"]["0.5:0.95"] = averaged.mean
            result["video_ap"]["0.5:0.95"] = averaged.ap
        return result


def evaluate(
    ground_truth: Tubes,
    protocols: Sequence[Protocol],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    frame_thresholds: Sequence[float] = FRAME_THRESHOLDS,
    video_thresholds: Sequence[float] = VIDEO_THRESHOLDS,
    error_threshold: float = 0.5,
) -> list[Evaluation]:
    """Frame-mAP of detections and video-mAP of tubes.

    Args:
        ground_truth: its `unique_names` are the videos evaluated, its `label_names` the classes.
        protocols: the rules, one result each.
        detections: boxes by frame, any method's, with the names of `ground_truth` (see
            `align_to_ground_truth`).
        tubes: boxes by tube with `tube_score`, aligned.
        frame_thresholds, video_thresholds: IoU thresholds, above 0 and at most 1.
        error_threshold: IoU threshold of the error decomposition.

    Warns:
        of classes without ground truth, which have no AP and are left out of the mean.
    """
    _warn_of_empty_classes(ground_truth, [table for table in (detections, tubes) if table])
    boxes: FrameOverlaps | None = None
    if detections is not None:
        lowest = min(*frame_thresholds, error_threshold)
        boxes = frame_overlaps(ground_truth, detections, protocols, lowest)
    overlaps: TubeOverlaps | None = None
    if tubes is not None:
        pixels = sorted({protocol.tube_pixels for protocol in protocols})
        overlaps = tube_overlaps(tubes, ground_truth, pixels)
        _warn_of_gaps(tubes, overlaps.index)
    results = []
    for protocol in protocols:
        frame, video = [], []
        frame_kinds, video_kinds = {}, {}
        if detections is not None and boxes is not None:
            frame = frame_ap(ground_truth, detections, protocol, sorted(frame_thresholds), boxes)
            frame_kinds = frame_errors(ground_truth, protocol, error_threshold, boxes)
        if tubes is not None:
            scored = score_tubes(ground_truth, tubes, protocol, overlaps)
            video = video_ap(ground_truth, tubes, protocol, sorted(video_thresholds), scored)
            video_kinds = video_errors(ground_truth, tubes, protocol, error_threshold, scored)
        results.append(
            Evaluation(protocol, frame, video, frame_kinds, video_kinds, error_threshold)
        )
    return results


def mean_over_thresholds(video: Sequence[ClassAP]) -> ClassAP | None:
    """The mean over IoU 0.5, 0.55, ..., 0.95 of each class; None if one is not there.

    Its threshold is NaN and it has no curves.
    """
    found = [scores for scores in video if scores.threshold in _AVERAGED]
    if len(found) < len(_AVERAGED):
        return None
    ap: dict[str, float | None] = {}
    for name in found[0].ap:
        values = [scores.ap[name] for scores in found]
        ap[name] = None if None in values else float(np.mean(values))  # type: ignore[arg-type]
    return ClassAP(float("nan"), ap, {})


def _warn_of_gaps(tubes: Tubes, index: TubeIndex) -> None:
    last = np.full(len(index.first), -1)
    np.maximum.at(last, index.of_row, tubes.frame)
    first = np.full(len(index.first), np.iinfo(np.int32).max)
    np.minimum.at(first, index.of_row, tubes.frame)
    gaps = np.flatnonzero(last - first + 1 > index.length)
    if len(gaps):
        warnings.warn(
            f"{len(gaps)} tubes have gaps (the first is tube "
            f"{tubes.tube[index.first[gaps[0]]]}); frames without a box count as not detected",
            stacklevel=3,
        )


def _warn_of_empty_classes(ground_truth: Tubes, tables: Sequence[Detections | Tubes]) -> None:
    counts = np.bincount(ground_truth.label, minlength=len(ground_truth.label_names))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        names = ", ".join(ground_truth.label_names[code] for code in empty)
        rows = sum(int(np.isin(table.label, empty).sum()) for table in tables)
        warnings.warn(
            f"no ground truth for {names} ({rows} detections): these classes have no AP and "
            "are left out of the mean",
            stacklevel=3,
        )
