"""Frame-mAP: average precision of boxes, each frame by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import expand_runs, find_runs, pack_keys
from ..boxes.matching import first_of_each, greedy_match, rank_by_score, sort_by_preference
from .average_precision import APMethod, average_precision, precision_recall_curve
from .protocols import DuplicateRule, Protocol

# Pairs compared at a time: bounds the memory where one frame holds very many boxes.
_PAIRS = 4_000_000


@dataclass(frozen=True, eq=False)
class ClassAP:
    """What one IoU threshold gives, class by class.

    Attributes:
        threshold: the IoU threshold.
        ap: percent, by class name; None where there is no ground truth.
        curves: precision and recall, each (D,), by class name, for classes with ground truth.
    """

    threshold: float
    ap: dict[str, float | None]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def mean(self) -> float | None:
        """mAP in percent: the mean over classes with ground truth; None if there is none."""
        values = [value for value in self.ap.values() if value is not None]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True, eq=False)
class Pairs:
    """Detections beside ground truth that they overlap, from the most wanted of each.

    Attributes:
        detection: (P,) index of the detection, ascending; of those with a common target the best
            score first.
        target: (P,) index of the ground truth.
        iou: (P,) their overlap, falling for each detection.
    """

    detection: np.ndarray
    target: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True, eq=False)
class FrameOverlaps:
    """The part of frame-mAP that protocols share.

    Detections are brought into the order of their frames first: what is compared then lies
    together in memory, and time grows with their number and no faster.

    Attributes:
        detections: by video, frame and class, the best of each first.
        rows: (D,) the rows they had.
        ranking: (D,) indices into `detections`: label by label, best score first.
        annotated: (D,) bool, is there any ground truth on that frame?
        truth: (G,) rows of the ground truth, in the order that the pairs' `target` means.
        pairs: those of the same frame and class, by the way to measure a box.
    """

    detections: Detections
    rows: np.ndarray
    ranking: np.ndarray
    annotated: np.ndarray
    truth: np.ndarray
    pairs: dict[BoxExtent, Pairs]


def frame_ap(
    ground_truth: Tubes,
    detections: Detections,
    protocol: Protocol,
    thresholds: Sequence[float],
    overlaps: FrameOverlaps | None = None,
) -> list[ClassAP]:
    """Average precision per class at each IoU threshold.

    Args:
        ground_truth: its `unique_names` are the videos evaluated, its `label_names` the classes.
        detections: with the same names in the same order (see `align_to_ground_truth`).
        protocol: the rules.
        thresholds: each above 0 and at most 1.
        overlaps: from `frame_overlaps`, where several protocols are scored.
    """
    if overlaps is None:
        overlaps = frame_overlaps(ground_truth, detections, [protocol], min(thresholds))
    ranking = ranked_detections(overlaps, protocol)
    labels = overlaps.detections.label[ranking]
    return [
        class_scores(
            match_frames(overlaps, protocol, threshold)[ranking] >= 0,
            labels,
            ground_truth.label,
            ground_truth.label_names,
            threshold,
            protocol.frame_area,
            protocol.left_out,
        )
        for threshold in thresholds
    ]


def frame_overlaps(
    ground_truth: Tubes, detections: Detections, protocols: Sequence[Protocol], lowest: float
) -> FrameOverlaps:
    """Every detection beside the ground truth boxes of its frame and class.

    Args:
        ground_truth, detections: aligned tables.
        protocols: those to be scored.
        lowest: the least IoU threshold of all.
    """
    keys, truth_keys = _frame_keys(detections, ground_truth)
    ranked = rank_by_score(detections)
    rows = ranked[np.argsort(keys[ranked], kind="stable")]
    place = np.empty(len(rows), np.int64)
    place[rows] = np.arange(len(rows))
    detections, keys = select_rows(detections, rows), keys[rows]
    truth = np.argsort(ground_truth.tube, kind="stable")
    truth = truth[np.argsort(truth_keys[truth], kind="stable")]
    truth_boxes, truth_keys = ground_truth.boxes.take(truth, axis=0), truth_keys[truth]
    annotated = np.ones(len(rows), bool)
    if any(protocol.frames == "annotated" for protocol in protocols):
        labels = max(len(ground_truth.label_names), 1)
        annotated = find_runs(keys // labels, truth_keys // labels)[1] > 0
    start, count = find_runs(keys, truth_keys)
    pixels = sorted({protocol.frame_pixels for protocol in protocols})
    parts: dict[BoxExtent, list[Pairs]] = {name: [] for name in pixels}
    for chunk in _chunks(count):
        detection, target = expand_runs(start[chunk], count[chunk])
        detection += chunk.start
        boxes = detections.boxes.take(detection, axis=0)
        others = truth_boxes.take(target, axis=0)
        for name in pixels:
            iou = rowwise_iou(boxes, others, name)
            near = iou >= lowest
            parts[name].append(Pairs(detection[near], target[near], iou[near]))
    pairs = {name: sorted_pairs(*_joined(part)) for name, part in parts.items()}
    return FrameOverlaps(detections, rows, place[ranked], annotated, truth, pairs)


def sorted_pairs(detection: np.ndarray, target: np.ndarray, iou: np.ndarray) -> Pairs:
    """Pairs with ascending `detection`, the targets of each ascending, sorted by falling IoU."""
    order = sort_by_preference(detection, target, iou)
    return Pairs(detection[order], target[order], iou[order])


def match_frames(overlaps: FrameOverlaps, protocol: Protocol, threshold: float) -> np.ndarray:
    """(D,) for each of `overlaps.detections` the index into `overlaps.truth` it matches, or -1."""
    pairs = overlaps.pairs[protocol.frame_pixels]
    near = pairs.iou >= threshold
    return match_targets(
        pairs, near, protocol.frame_second_hit, len(overlaps.rows), len(overlaps.truth)
    )


def ranked_detections(overlaps: FrameOverlaps, protocol: Protocol) -> np.ndarray:
    """`overlaps.ranking` of the detections on frames that the protocol looks at."""
    if protocol.frames == "annotated":
        return overlaps.ranking[overlaps.annotated[overlaps.ranking]]
    return overlaps.ranking


def match_targets(
    pairs: Pairs, near: np.ndarray, second_hit: DuplicateRule, detections: int, targets: int
) -> np.ndarray:
    """(D,) for each detection the target that it matches, or -1.

    Args:
        pairs: what overlaps what.
        near: (P,) bool, the pairs that overlap enough.
        second_hit: what becomes of a detection whose best target is taken.
        detections, targets: how many there are.
    """
    detection, target = pairs.detection[near], pairs.target[near]
    if second_hit == "false positive":
        best = first_of_each(detection)
        detection, target = detection[best], target[best]
    made = greedy_match(detection, target, targets)
    matched = np.full(detections, -1)
    matched[detection[made]] = target[made]
    return matched


def class_scores(
    hits: np.ndarray,
    labels: np.ndarray,
    truth_labels: np.ndarray,
    label_names: tuple[str, ...],
    threshold: float,
    area: APMethod,
    left_out: tuple[str, ...] = (),
    epsilon: float = 0.0,
) -> ClassAP:
    """AP of every class from the hits of all.

    Args:
        hits: (D,) bool, label by label, best score first.
        labels: (D,) ascending.
        truth_labels: (G,) the label of each ground truth.
        label_names: what both index.
        threshold: the IoU threshold, for the record.
        area: what is called AP.
        left_out: classes that get None.
        epsilon: see `precision_recall_curve`.
    """
    positives = np.bincount(truth_labels, minlength=len(label_names))
    bounds = np.searchsorted(labels, np.arange(len(label_names) + 1))
    ap: dict[str, float | None] = dict.fromkeys(label_names)
    curves = {}
    for index, name in enumerate(label_names):
        if positives[index] and name not in left_out:
            of_class = hits[bounds[index] : bounds[index + 1]]
            curve = precision_recall_curve(of_class, int(positives[index]), epsilon)
            ap[name] = 100 * average_precision(*curve, area)
            curves[name] = curve
    return ClassAP(threshold, ap, curves)


def _frame_keys(detections: Detections, ground_truth: Tubes) -> tuple[np.ndarray, np.ndarray]:
    """One number for a (video, frame, label), the label in the lowest place."""
    frames = 1 + max(int(table.frame.max(initial=0)) for table in (detections, ground_truth))
    videos, labels = len(ground_truth.video_names), len(ground_truth.label_names)
    first, second = (
        pack_keys((table.video, videos), (table.frame, frames), (table.label, labels))
        for table in (detections, ground_truth)
    )
    return first, second


def _chunks(count: np.ndarray) -> list[slice]:
    """Slices of rows whose pairs, `count` each, number about `_PAIRS`."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_PAIRS, total, _PAIRS))
    bounds = np.unique([0, *cuts, len(count)])
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)] or [slice(0, 0)]


def _joined(parts: list[Pairs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.concatenate([part.detection for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.iou for part in parts]),
    )
