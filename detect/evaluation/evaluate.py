"""Frame-mAP and video-mAP of detections and tubes, under one protocol or several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from ...datasets.file_options import FileOptions
from ...datasets.formats.annotation_format import GroundTruth
from ...datasets.tables import Detections, Tubes
from .align import AlignedTables, read_aligned
from .annotated_frames import AnnotatedFrames
from .average_precision import AVERAGED_THRESHOLDS, ClassAP, RankedMatches
from .bootstrap import LEVEL, Difference, Interval
from .error_analysis import frame_errors, mean_errors, video_errors
from .frame_map import frame_matches, frame_overlaps
from .protocols import Protocol, get_protocol
from .video_map import rank_tubes, tube_overlaps, video_matches

FRAME_THRESHOLDS = (0.3, 0.5, 0.75)
VIDEO_THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All numbers of one protocol, in percent.

    Attributes:
        protocol: the rules.
        frame_scores: AP of boxes, one for each IoU threshold, rising; empty without detections.
        video_scores: AP of tubes, one for each IoU threshold, rising; empty without tubes.
        frame_errors, video_errors: the share of each kind of error, by class and kind, at
            `error_threshold`; empty without detections, or tubes.
        error_threshold: the IoU threshold of the errors.
        matches: what the scores follow from, by "frame" or "video".
        num_resamples: of the intervals; 0 without any.
        intervals: of each of `means`, see `bootstrap.add_intervals`; or empty.
        differences: to another method, likewise.
    """

    protocol: Protocol
    frame_scores: list[ClassAP] = field(default_factory=list)
    video_scores: list[ClassAP] = field(default_factory=list)
    frame_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    video_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    error_threshold: float = 0.5
    matches: dict[str, RankedMatches] = field(default_factory=dict)
    num_resamples: int = 0
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)

    @property
    def frame_map(self) -> dict[float, float | None]:
        """Frame-mAP by IoU threshold; None where no class has ground truth."""
        return {each.threshold: each.mean for each in self.frame_scores}

    @property
    def video_map(self) -> dict[float, float | None]:
        """Video-mAP by IoU threshold; None where no class has ground truth."""
        return {each.threshold: each.mean for each in self.video_scores}

    @property
    def scores(self) -> dict[str, list[ClassAP]]:
        """`frame_scores` and `video_scores` by "frame" or "video", where there are any."""
        parts = {"frame": self.frame_scores, "video": self.video_scores}
        return {part: scores for part, scores in parts.items() if scores}

    @property
    def means(self) -> dict[str, dict[str, float | None]]:
        """Every mAP by "frame" or "video", then by IoU threshold, such as "0.5" or "0.5:0.95"."""
        result: dict[str, dict[str, float | None]] = {}
        for part, scores in self.scores.items():
            result[part] = {f"{each.threshold:g}": each.mean for each in scores}
            averaged = mean_over_thresholds(scores)
            if averaged is not None:
                result[part]["0.5:0.95"] = averaged.mean
        return result

    @property
    def errors(self) -> dict[str, dict[str, float | None]]:
        """The mean over classes of `frame_errors` and `video_errors`, by "frame" or "video"."""
        parts = {"frame": self.frame_errors, "video": self.video_errors}
        return {part: mean_errors(errors) for part, errors in parts.items() if errors}

    def as_json(self) -> dict[str, Any]:
        """The object that `actiontubes evaluate --json` writes."""
        result: dict[str, Any] = {"protocol": self.protocol.name}
        for part, scores in self.scores.items():
            errors = self.frame_errors if part == "frame" else self.video_errors
            result[f"{part}_map"] = {f"{each.threshold:g}": each.mean for each in scores}
            result[f"{part}_ap"] = {f"{each.threshold:g}": each.ap for each in scores}
            result[f"{part}_errors"] = mean_errors(errors)
            result[f"{part}_errors_by_class"] = errors
        averaged = mean_over_thresholds(self.video_scores)
        if averaged is not None:
            result["video_map"]["0.5:0.95"] = averaged.mean
            result["video_ap"]["0.5:0.95"] = averaged.ap
        if self.intervals:
            result["bootstrap"] = {"resamples": self.num_resamples, "level": LEVEL}
            result["bootstrap"] |= {
                f"{part}_map": {name: each.as_json() for name, each in intervals.items()}
                for part, intervals in self.intervals.items()
            }
        if self.differences:
            result["against"] = {
                f"{part}_map": {name: each.as_json() for name, each in differences.items()}
                for part, differences in self.differences.items()
            }
        return result


def evaluate(
    ground_truth: Tubes | GroundTruth | str | Path,
    detections: Detections | str | Path | None = None,
    tubes: Tubes | str | Path | None = None,
    *,
    protocol: str | Protocol = "act",
    split: int | None = None,
    videos: str | Path | None = None,
    files: FileOptions | None = None,
    annotated_frames: AnnotatedFrames | None = None,
) -> Evaluation:
    """Frame-mAP of detections and video-mAP of tubes, by any method.

    Args:
        ground_truth: tubes, what `read_annotations` returns, or a file or folder in any format.
        detections: a table or file of boxes for frame-mAP.
        tubes: a table or file of tubes with `tube_score` for video-mAP.
        protocol: act, multisports, road or yowo, or rules of your own.
        split: evaluate the test videos of this split, from 1.
        videos: a text file with the videos to evaluate, one a line.
        files: what the files leave open: class numbers, the first frame's number, the boxes' unit.
        annotated_frames: "all", or "boxed" if only the frames with ground truth were annotated;
            None where the ground truth leaves no doubt.

    Raises:
        InputError: there is nothing to evaluate; a file cannot be read, or in several ways; no such
            protocol; the tables have no video or class in common; the protocol measures pixels and
            the boxes are fractions.
    """
    rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
    tables = read_aligned(
        ground_truth, detections, tubes, split=split, videos=videos, files=files,
        annotated_frames=annotated_frames,
    )  # fmt: skip
    require_unit(tables, [rules])
    (result,) = evaluate_tables(tables.ground_truth, [rules], tables.detections, tables.tubes)
    return result


def evaluate_tables(
    ground_truth: Tubes,
    protocols: Sequence[Protocol],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    frame_thresholds: Sequence[float] = FRAME_THRESHOLDS,
    video_thresholds: Sequence[float] = VIDEO_THRESHOLDS,
    error_threshold: float = 0.5,
) -> list[Evaluation]:
    """`evaluate` of aligned tables under several protocols, which share what they can.

    Args:
        ground_truth: its `video_names` are the videos evaluated, its `label_names` the classes.
        protocols: the rules, one result each.
        detections: boxes with the names of `ground_truth` (see `align_to_ground_truth`).
        tubes: tubes with `tube_score`, aligned.
        frame_thresholds, video_thresholds: IoU thresholds, above 0 and at most 1.
        error_threshold: IoU threshold of the error analysis.

    Warns:
        of classes without ground truth, which have no AP and are left out of the mean.
    """
    _warn_of_empty_classes(ground_truth, [table for table in (detections, tubes) if table])
    if detections is not None:
        lowest = min(*frame_thresholds, error_threshold)
        box_overlaps = frame_overlaps(ground_truth, detections, protocols, lowest)
    if tubes is not None:
        extents = sorted({protocol.tube_extent for protocol in protocols})
        overlaps = tube_overlaps(tubes, ground_truth, extents)
    results = []
    for protocol in protocols:
        parts: dict[str, Any] = {}
        matches: dict[str, RankedMatches] = {}
        if detections is not None:
            matches["frame"] = frame_matches(box_overlaps, protocol, sorted(frame_thresholds))
            parts["frame_scores"] = matches["frame"].class_aps()
            parts["frame_errors"] = frame_errors(box_overlaps, protocol, error_threshold)
        if tubes is not None:
            ranked = rank_tubes(tubes, overlaps, protocol)
            matches["video"] = video_matches(ranked, protocol, sorted(video_thresholds))
            parts["video_scores"] = matches["video"].class_aps()
            parts["video_errors"] = video_errors(ranked, protocol, error_threshold)
        results.append(
            Evaluation(protocol=protocol, error_threshold=error_threshold, matches=matches, **parts)
        )
    return results


def require_unit(tables: AlignedTables, protocols: Sequence[Protocol]) -> None:
    """Refuses boxes in fractions of the frame under a protocol that measures whole pixels.

    Raises:
        InputError: names the protocol, and one that can be chosen.
    """
    if tables.box_unit == "pixel":
        return
    for protocol in protocols:
        extents = [protocol.frame_extent] * (tables.detections is not None)
        extents += [protocol.tube_extent] * (tables.tubes is not None)
        if set(extents) - {"continuous"}:
            raise InputError(
                f"protocol {protocol.name}: measures boxes in whole pixels, and these are "
                "fractions of the frame; choose multisports, or give the sizes of the videos"
            )


def mean_over_thresholds(scores: Sequence[ClassAP]) -> ClassAP | None:
    """The mean AP over IoU 0.5, 0.55, ..., 0.95 of each class; None if a threshold is missing.

    Its threshold is NaN and it has no curves.
    """
    averaged = [each for each in scores if each.threshold in AVERAGED_THRESHOLDS]
    if len(averaged) < len(AVERAGED_THRESHOLDS):
        return None
    ap: dict[str, float | None] = {}
    for name in averaged[0].ap:
        values = [each.ap[name] for each in averaged]
        ap[name] = None if None in values else float(np.mean(values))  # type: ignore[arg-type]
    return ClassAP(float("nan"), ap, {})


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
