"""Frame-mAP: average precision of boxes, each frame by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Detections, Tubes, concatenate_rows, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import expand_runs, find_runs, row_keys
from ..boxes.matching import first_of_each, greedy_match, rank_by_score, sort_by_preference
from .average_precision import RankedMatches, evaluated_classes
from .protocols import DuplicateRule, Protocol

# About how many pairs are compared at a time: bounds the memory where frames have many boxes.
_MAX_PAIRS = 4_000_000


@dataclass(frozen=True, eq=False)
class OverlapPairs:
    """Pairs of a detection and a ground truth that overlap.

    Attributes:
        detection: (P,) index of the detection, ascending: of those with a common target the best
            score first.
        target: (P,) index of the ground truth.
        iou: (P,) in 0..1, falling for each detection.
    """

    detection: np.ndarray
    target: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True, eq=False)
class FrameOverlaps:
    """The part of frame-mAP that protocols share.

    Detections are sorted by frame, so that those compared lie together in memory and time grows
    linearly with their number.

    Attributes:
        ground_truth: the table it was computed with.
        detections: by video, frame and class, the best of each first.
        ranking: (D,) indices into `detections`: label by label, best score first.
        annotated: (D,) bool, is there any ground truth on that frame?
        truth: (G,) row numbers of the ground truth; a pair's `target` indexes this.
        pairs: those of the same frame and class, by the width of a box.
    """

    ground_truth: Tubes
    detections: Detections
    ranking: np.ndarray
    annotated: np.ndarray
    truth: np.ndarray
    pairs: dict[BoxExtent, OverlapPairs]


def frame_matches(
    overlaps: FrameOverlaps, protocol: Protocol, thresholds: Sequence[float]
) -> RankedMatches:
    """The detections that a protocol evaluates, and which of them match at each IoU threshold.

    Args:
        overlaps: from `frame_overlaps`, of this protocol and of IoU down to the lowest threshold.
        protocol: the rules.
        thresholds: IoU thresholds, each above 0 and at most 1.
    """
    ranking = ranked_detections(overlaps, protocol)
    detections, truth = overlaps.detections, overlaps.ground_truth
    labels, names = detections.label[ranking], truth.label_names
    return RankedMatches(
        video=detections.video[ranking], label=labels, score=detections.score[ranking],
        hits={each: match_frames(overlaps, protocol, each)[ranking] >= 0 for each in thresholds},
        truth_video=truth.video, truth_label=truth.label,
        video_names=truth.video_names, label_names=names,
        classes=evaluated_classes(labels, truth.label, names, protocol.ignored_classes),
        method=protocol.frame_ap_method,
    )  # fmt: skip


def frame_overlaps(
    ground_truth: Tubes, detections: Detections, protocols: Sequence[Protocol], min_iou: float
) -> FrameOverlaps:
    """Overlaps of every detection with the ground truth boxes of its frame and class.

    Args:
        ground_truth: its `video_names` are the videos evaluated, its `label_names` the classes.
        detections: with the same names in the same order (see `align_to_ground_truth`).
        protocols: those that will be scored.
        min_iou: the lowest IoU threshold; pairs below are left out.
    """
    keys, truth_keys = row_keys([detections, ground_truth], "video", "frame", "label")
    ranked = rank_by_score(detections)
    rows = ranked[np.argsort(keys[ranked], kind="stable")]
    position = np.empty(len(rows), np.int64)
    position[rows] = np.arange(len(rows))
    detections, keys = select_rows(detections, rows), keys[rows]
    truth = np.argsort(ground_truth.tube, kind="stable")
    truth = truth[np.argsort(truth_keys[truth], kind="stable")]
    truth_boxes, truth_keys = ground_truth.boxes.take(truth, axis=0), truth_keys[truth]
    frames, truth_frames = row_keys([detections, ground_truth], "video", "frame")
    start, count = find_runs(keys, truth_keys)
    extents = sorted({protocol.frame_extent for protocol in protocols})
    parts: dict[BoxExtent, list[OverlapPairs]] = {extent: [] for extent in extents}
    num_chunks = 1 + int(count.sum()) // _MAX_PAIRS
    for chunk in np.array_split(np.arange(len(count)), num_chunks):
        detection, target = expand_runs(start[chunk], count[chunk])
        detection = chunk[detection]
        boxes = detections.boxes.take(detection, axis=0)
        others = truth_boxes.take(target, axis=0)
        for extent in extents:
            iou = rowwise_iou(boxes, others, extent)
            chunk_pairs = OverlapPairs(detection, target, iou)
            parts[extent].append(select_rows(chunk_pairs, iou >= min_iou))
    pairs = {extent: sort_pairs(concatenate_rows(chunks)) for extent, chunks in parts.items()}
    return FrameOverlaps(
        ground_truth=ground_truth, detections=detections, ranking=position[ranked],
        annotated=np.isin(frames, truth_frames), truth=truth, pairs=pairs,
    )  # fmt: skip


def sort_pairs(pairs: OverlapPairs) -> OverlapPairs:
    """Sorts each detection's pairs, whose `target` is ascending, by falling IoU."""
    return select_rows(pairs, sort_by_preference(pairs.detection, pairs.target, pairs.iou))


def match_frames(overlaps: FrameOverlaps, protocol: Protocol, threshold: float) -> np.ndarray:
    """(D,) for each of `overlaps.detections` an index into `overlaps.truth`, -1 if none matches."""
    pairs = overlaps.pairs[protocol.frame_extent]
    near = pairs.iou >= threshold
    return match_targets(
        pairs, near, protocol.frame_duplicates, len(overlaps.detections), len(overlaps.truth)
    )


def ranked_detections(overlaps: FrameOverlaps, protocol: Protocol) -> np.ndarray:
    """`overlaps.ranking` of the detections that the protocol evaluates."""
    counts = np.ones(len(overlaps.detections), bool)
    if protocol.frames == "annotated":
        counts &= overlaps.annotated
    if protocol.detections_per_frame is not None:
        counts &= _rank_in_frame(overlaps.detections) < protocol.detections_per_frame
    return overlaps.ranking[counts[overlaps.ranking]]


def _rank_in_frame(detections: Detections) -> np.ndarray:
    """(D,) the place of each detection among those of its frame, of all classes, from 0."""
    order = np.lexsort((-detections.score, detections.frame, detections.video))
    video, frame = detections.video[order], detections.frame[order]
    starts = np.flatnonzero(
        np.append(True, (np.diff(video) != 0) | (np.diff(frame) != 0))[: len(order)]
    )
    lengths = np.diff(np.append(starts, len(order)))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return rank


def match_targets(
    pairs: OverlapPairs,
    near: np.ndarray,
    duplicates: DuplicateRule,
    num_detections: int,
    num_targets: int,
) -> np.ndarray:
    """Matches detections to ground truth, best score first.

    Args:
        pairs: P pairs.
        near: (P,) bool, the pairs that overlap enough.
        duplicates: how a detection counts whose best target has been matched.
        num_detections: D.
        num_targets: number of ground truths.

    Returns:
        (D,) for each detection the target that it matches, or -1.
    """
    detection, target = pairs.detection[near], pairs.target[near]
    if duplicates == "false positive":
        best = first_of_each(detection)
        detection, target = detection[best], target[best]
    matched = greedy_match(detection, target, num_targets)
    result = np.full(num_detections, -1)
    result[detection[matched]] = target[matched]
    return result
