"""Error analysis: which kinds of errors frame-mAP and video-mAP lose their points to.

After frameAP_error in ACT's ACT.py (Kalogeiton et al. 2017): the area under the precision-recall
curve, the areas under the shares of each kind of false positive, and the recall that is never
reached fill the unit square, so in percent they add to 100.
"""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import expand_runs, find_runs, pack_keys
from .average_precision import APMethod, split_area
from .frame_map import FrameOverlaps, match_frames, ranked_detections
from .protocols import Protocol
from .video_map import RankedTubes, match_tubes, passes_threshold, rank_tubes, temporal_iou

ERROR_KINDS = ("ap", "localisation", "classification", "timing", "other", "missed")
_HIT, _LOCALISATION, _CLASSIFICATION, _TIMING, _OTHER = range(5)


def frame_errors(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> dict[str, dict[str, float]]:
    """Percent of each kind of error, by class.

    A false positive is the first of these that fits:

    * localisation: its class has ground truth on that frame (duplicates count here, as in ACT);
    * classification: its IoU with ground truth of another class is at least `threshold`;
    * other: there is ground truth on that frame, but elsewhere;
    * timing: the video has ground truth of the class, but that frame has none of any class;
    * other: the video has no ground truth of the class.

    Args:
        ground_truth: the one that `overlaps` was computed with.
        protocol: its AP method and matching rules are used, so that "ap" is its AP.
        threshold: the IoU threshold.
        overlaps: from `frame_overlaps`.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    ranking = ranked_detections(overlaps, protocol)
    kind = _box_kinds(ground_truth, protocol, threshold, overlaps)[ranking]
    labels = overlaps.detections.label[ranking]
    return _areas_by_class(
        kind, labels, ground_truth.label, ground_truth, protocol, protocol.frame_ap_method
    )


def false_positives(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> tuple[np.ndarray, list[str]]:
    """The false positives.

    Args:
        ground_truth, protocol, threshold, overlaps: see `frame_errors`.

    Returns:
        (F,) their indices into `overlaps.detections`, and the kind of each out of `ERROR_KINDS`.
    """
    kind = _box_kinds(ground_truth, protocol, threshold, overlaps)
    false = np.zeros(len(kind), bool)
    false[ranked_detections(overlaps, protocol)] = True
    rows = np.flatnonzero(false & (kind != _HIT))
    return rows, [ERROR_KINDS[index] for index in kind[rows]]


def video_errors(
    ground_truth: Tubes,
    tubes: Tubes,
    protocol: Protocol,
    threshold: float,
    ranked: RankedTubes | None = None,
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
        ground_truth, tubes: aligned tables.
        protocol: its AP method and matching rules are used, so that "ap" is its AP.
        threshold: the IoU threshold.
        ranked: from `rank_tubes`, if it has been computed; None computes it.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    ranked = ranked or rank_tubes(ground_truth, tubes, protocol)
    overlaps = ranked.overlaps
    first, truth = overlaps.index.first_row, overlaps.other_index.first_row
    spatial, temporal = overlaps.spatial_iou[protocol.tube_extent], temporal_iou(overlaps, protocol)
    iou = spatial * temporal
    root = np.sqrt(threshold)
    # Of the overlapping ground truth of its class the one of the highest IoU decides.
    best = np.full(len(first), -1)
    rows = np.flatnonzero(overlaps.same_label)
    rows = rows[np.argsort(iou[rows], kind="stable")]
    best[overlaps.tube[rows]] = rows
    has_best = best >= 0
    kind = np.full(len(first), _OTHER)
    kind[has_best] = np.select(
        [temporal[best[has_best]] >= root, spatial[best[has_best]] >= root],
        [_LOCALISATION, _TIMING],
        _OTHER,
    )
    near = passes_threshold(iou, protocol, threshold)
    kind[overlaps.tube[near & ~overlaps.same_label]] = _CLASSIFICATION
    kind[overlaps.tube[near & overlaps.same_label]] = _LOCALISATION
    matched = match_tubes(ranked, protocol, threshold)
    return _areas_by_class(
        np.where(matched >= 0, _HIT, kind[ranked.order]),
        tubes.label[first[ranked.order]],
        ground_truth.label[truth],
        ground_truth,
        protocol,
        protocol.tube_ap_method,
        protocol.recall_epsilon,
    )


def mean_errors(by_class: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """Percent of each kind, the mean over classes; None if there is no class."""
    return {
        kind: float(np.mean([errors[kind] for errors in by_class.values()])) if by_class else None
        for kind in ERROR_KINDS
    }


def _box_kinds(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> np.ndarray:
    """(D,) the kind of each of `overlaps.detections`: _HIT or the number of an error."""
    matched = match_frames(overlaps, protocol, threshold)
    kind = np.full(len(matched), _HIT)
    false = np.flatnonzero(matched < 0)
    boxes = select_rows(overlaps.detections, false)
    kind[false] = _false_box_kinds(ground_truth, boxes, protocol, threshold)
    return kind


def _false_box_kinds(
    ground_truth: Tubes, boxes: Detections, protocol: Protocol, threshold: float
) -> np.ndarray:
    """(F,) the kind of error of F false positives."""
    num_videos, num_labels = len(ground_truth.video_names), len(ground_truth.label_names)
    num_frames = 1 + max(int(table.frame.max(initial=0)) for table in (boxes, ground_truth))
    frame, truth_frame = (
        pack_keys((table.video, num_videos), (table.frame, num_frames))
        for table in (boxes, ground_truth)
    )
    by_frame = np.argsort(truth_frame, kind="stable")
    start, count = find_runs(frame, truth_frame[by_frame])
    has_action = np.zeros((num_videos, num_labels), bool)
    has_action[ground_truth.video, ground_truth.label] = True
    kind = np.full(len(boxes), _OTHER)
    kind[has_action[boxes.video, boxes.label] & (count == 0)] = _TIMING
    detection, target = expand_runs(start, count)
    target = by_frame[target]
    same = boxes.label[detection] == ground_truth.label[target]
    located = np.zeros(len(boxes), bool)
    located[detection[same]] = True
    elsewhere = ~located[detection]
    detection, target = detection[elsewhere], target[elsewhere]
    iou = rowwise_iou(
        boxes.boxes.take(detection, axis=0),
        ground_truth.boxes.take(target, axis=0),
        protocol.frame_extent,
    )
    kind[detection[iou >= threshold]] = _CLASSIFICATION
    kind[located] = _LOCALISATION
    return kind


def _areas_by_class(
    kind: np.ndarray,
    labels: np.ndarray,
    truth_labels: np.ndarray,
    ground_truth: Tubes,
    protocol: Protocol,
    method: APMethod,
    epsilon: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Percent of each kind for each class.

    Args:
        kind: (D,) of each detection, label by label, best score first.
        labels: (D,) ascending.
        truth_labels: (G,) the label of each ground truth.
        ground_truth: names the classes.
        protocol: says which classes are ignored.
        method, epsilon: see `class_ap`.
    """
    names = ground_truth.label_names
    num_positives = np.bincount(truth_labels, minlength=len(names))
    bounds = np.searchsorted(labels, np.arange(len(names) + 1))
    result = {}
    for index, name in enumerate(names):
        if not num_positives[index] or name in protocol.ignored_classes:
            continue
        class_kinds = kind[bounds[index] : bounds[index + 1]]
        counts = np.cumsum(class_kinds[None] == np.arange(5)[:, None], axis=1)
        recall = counts[_HIT] / (num_positives[index] + epsilon)
        shares = counts / np.arange(1, len(class_kinds) + 1)
        reached = recall[-1] if len(recall) else 0.0
        areas = [*split_area(recall, shares, method), 1 - reached]
        result[name] = {kind: 100 * float(value) for kind, value in zip(ERROR_KINDS, areas)}
    return result
