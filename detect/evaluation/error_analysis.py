"""Error analysis: which kinds of errors frame-mAP and video-mAP lose their points to.

After frameAP_error in ACT's ACT.py (Kalogeiton et al. 2017): the area under the precision-recall
curve, the areas under the shares of each kind of false positive, and the recall that is never
reached fill the unit square, so in percent they add to 100.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...datasets.tables import select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import expand_runs, find_runs, row_keys
from .average_precision import APMethod, evaluated_classes, split_area
from .frame_map import FrameOverlaps, match_frames, ranked_detections
from .protocols import Protocol
from .video_map import RankedTubes, match_tubes, passes_threshold, temporal_iou

ERROR_KINDS = ("ap", "localisation", "classification", "timing", "other", "missed")
_HIT, _LOCALISATION, _CLASSIFICATION, _TIMING, _OTHER = range(5)


def frame_errors(
    overlaps: FrameOverlaps, protocol: Protocol, threshold: float
) -> dict[str, dict[str, float]]:
    """Percent of each kind of error, by class.

    A false positive is the first of these that fits:

    * localisation: its class has ground truth on that frame (duplicates count here, as in ACT);
    * classification: its IoU with ground truth of another class is at least `threshold`;
    * other: there is ground truth on that frame, but elsewhere;
    * timing: the video has ground truth of the class, but that frame has none of any class;
    * other: the video has no ground truth of the class.

    Args:
        overlaps: from `frame_overlaps`.
        protocol: its AP method and matching rules are used, so that "ap" is its AP.
        threshold: the IoU threshold.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    ranking, truth = ranked_detections(overlaps, protocol), overlaps.ground_truth
    kind = _box_kinds(overlaps, protocol, threshold)[ranking]
    labels = overlaps.detections.label[ranking]
    classes = evaluated_classes(labels, truth.label, truth.label_names, protocol.ignored_classes)
    return _areas_by_class(kind, classes, protocol.frame_ap_method)


def false_positives(
    overlaps: FrameOverlaps, protocol: Protocol, threshold: float
) -> tuple[np.ndarray, list[str]]:
    """The false positives.

    Args:
        overlaps, protocol, threshold: see `frame_errors`.

    Returns:
        (F,) their indices into `overlaps.detections`, and the kind of each out of `ERROR_KINDS`.
    """
    kind = _box_kinds(overlaps, protocol, threshold)
    false = np.zeros(len(kind), bool)
    false[ranked_detections(overlaps, protocol)] = True
    rows = np.flatnonzero(false & (kind != _HIT))
    return rows, [ERROR_KINDS[index] for index in kind[rows]]


def video_errors(
    ranked: RankedTubes, protocol: Protocol, threshold: float
) -> dict[str, dict[str, float]]:
    """Percent of each kind of error of tubes, by class.

    A false positive is the first of these that fits; IoU is mean spatial x temporal IoU:

    * localisation: its IoU with a ground truth tube of its class is at least `threshold`, but
      another tube matches that one;
    * classification: its IoU with one of another class is at least `threshold`;
    * localisation: the temporal IoU with the tube of its class that it overlaps most is at least
      the square root of `threshold`;
    * timing: the mean spatial IoU with that tube is;
    * other: neither is.

    The square root is that of MultiSports' videoAP_error, since the IoU is a product of two.

    Args:
        ranked: from `rank_tubes`, of this protocol.
        protocol: its AP method and matching rules are used, so that "ap" is its AP.
        threshold: the IoU threshold.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    overlaps = ranked.overlaps
    spatial, temporal = overlaps.spatial_iou[protocol.tube_extent], temporal_iou(overlaps, protocol)
    iou = spatial * temporal
    root = np.sqrt(threshold)
    # Of the overlapping ground truth of its class the one of the highest IoU decides.
    best = np.full(len(overlaps.index), -1)
    rows = np.flatnonzero(overlaps.same_label)
    rows = rows[np.argsort(iou[rows], kind="stable")]
    best[overlaps.tube[rows]] = rows
    has_best = best >= 0
    kind = np.full(len(best), _OTHER)
    kind[has_best] = np.select(
        [temporal[best[has_best]] >= root, spatial[best[has_best]] >= root],
        [_LOCALISATION, _TIMING],
        _OTHER,
    )
    near = passes_threshold(iou, protocol, threshold)
    kind[overlaps.tube[near & ~overlaps.same_label]] = _CLASSIFICATION
    kind[overlaps.tube[near & overlaps.same_label]] = _LOCALISATION
    matched = match_tubes(ranked, protocol, threshold)
    kind = np.where(matched >= 0, _HIT, kind[ranked.order])
    labels, truth_labels = overlaps.index.label[ranked.order], overlaps.other_index.label
    classes = evaluated_classes(
        labels, truth_labels, overlaps.label_names, protocol.ignored_classes
    )
    return _areas_by_class(kind, classes, protocol.tube_ap_method, protocol.recall_epsilon)


def mean_errors(by_class: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Percent of each kind, the mean over classes; None if there is no class."""
    return {
        kind: float(np.mean([errors[kind] for errors in by_class.values()])) if by_class else None
        for kind in ERROR_KINDS
    }


def _box_kinds(overlaps: FrameOverlaps, protocol: Protocol, threshold: float) -> np.ndarray:
    """(D,) the kind of each of `overlaps.detections`: _HIT or the number of an error."""
    matched = match_frames(overlaps, protocol, threshold)
    boxes, truth = select_rows(overlaps.detections, matched < 0), overlaps.ground_truth
    frame, truth_frame = row_keys([boxes, truth], "video", "frame")
    by_frame = np.argsort(truth_frame, kind="stable")
    start, count = find_runs(frame, truth_frame[by_frame])
    action, truth_action = row_keys([boxes, truth], "video", "label")
    kind = np.full(len(boxes), _OTHER)
    kind[np.isin(action, truth_action) & (count == 0)] = _TIMING
    detection, target = expand_runs(start, count)
    target = by_frame[target]
    same = boxes.label[detection] == truth.label[target]
    located = np.zeros(len(boxes), bool)
    located[detection[same]] = True
    elsewhere = ~located[detection]
    detection, target = detection[elsewhere], target[elsewhere]
    iou = rowwise_iou(
        boxes.boxes.take(detection, axis=0),
        truth.boxes.take(target, axis=0),
        protocol.frame_extent,
    )
    kind[detection[iou >= threshold]] = _CLASSIFICATION
    kind[located] = _LOCALISATION
    result = np.full(len(matched), _HIT)
    result[matched < 0] = kind
    return result


def _areas_by_class(
    kind: np.ndarray,
    classes: Sequence[tuple[str, slice, int]],
    method: APMethod,
    epsilon: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Percent of each kind for each class.

    Args:
        kind: (D,) of each detection, label by label, best score first.
        classes: from `evaluated_classes`.
        method, epsilon: see `RankedMatches`.
    """
    result = {}
    for name, rows, num_positives in classes:
        counts = np.cumsum(kind[rows] == np.arange(5)[:, None], axis=1)
        recall = counts[_HIT] / (num_positives + epsilon)
        shares = counts / np.arange(1, counts.shape[1] + 1)
        areas = [*split_area(recall, shares, method), 1 - recall.max(initial=0.0)]
        result[name] = {kind: 100 * float(value) for kind, value in zip(ERROR_KINDS, areas)}
    return result
