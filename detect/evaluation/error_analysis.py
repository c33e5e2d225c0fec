"""Where the missing points went: the error decomposition of frame-mAP and video-mAP.

The idea is ACT's frameAP_error (Kalogeiton et al. 2017): the area under the
precision-recall curve, the area under each kind of false positive's share of the detections, and
the recall never reached fill the unit square, so they add to 100.
"""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import expand_runs, find_runs, pack_keys
from .average_precision import APMethod, split_area
from .frame_map import FrameOverlaps, match_frames, ranked_detections
from .protocols import Protocol
from .video_map import ScoredTubes, match_tubes, passes_threshold, score_tubes, temporal_iou

ERROR_KINDS = ("ap", "localisation", "classification", "timing", "other", "missed")
_HIT, _LOCALISATION, _CLASSIFICATION, _TIMING, _OTHER = range(5)


def frame_errors(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> dict[str, dict[str, float]]:
    """Percent of each kind of error, by class.

    A false positive is, in this order:

    * localisation: its class has ground truth on that frame (duplicates count here, as in ACT);
    * classification: it overlaps ground truth of another class by at least `threshold`;
    * other: there is ground truth on that frame, but elsewhere;
    * timing: the video has the action, but nothing stands on that frame;
    * other: the video does not have the action.

    Args:
        ground_truth: what `overlaps` was made with.
        protocol: its area and matching rules hold, so that "ap" is its AP.
        threshold: the IoU threshold.
        overlaps: from `frame_overlaps`.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    ranking = ranked_detections(overlaps, protocol)
    kind = _box_kinds(ground_truth, protocol, threshold, overlaps)[ranking]
    labels = overlaps.detections.label[ranking]
    return _shares_by_class(
        kind, labels, ground_truth.label, ground_truth, protocol, protocol.frame_area
    )


def false_positives(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> tuple[np.ndarray, list[str]]:
    """The false positives, as indices into `overlaps.detections`, and the kind of each.

    Args as of `frame_errors`.
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
    scored: ScoredTubes | None = None,
) -> dict[str, dict[str, float]]:
    """Percent of each kind of error of tubes, by class.

    A false positive is, in this order:

    * localisation: it overlaps a ground truth tube of its class by at least `threshold`, which
      another tube has taken;
    * classification: it overlaps one of another class by at least `threshold`;
    * localisation: right in time only (temporal IoU of at least the root of `threshold` with the
      tube of its class that it overlaps most);
    * timing: right in space only (mean spatial IoU of at least that root);
    * other: neither.

    The two roots are those of MultiSports' videoAP_error, since the overlap is the product.

    Args:
        ground_truth, tubes: aligned tables.
        protocol: its area and matching rules hold, so that "ap" is its AP.
        threshold: the IoU threshold.
        scored: from `score_tubes`, where it is at hand.

    Returns:
        for each class with ground truth the percentages of `ERROR_KINDS`, which add to 100.
    """
    scored = scored or score_tubes(ground_truth, tubes, protocol)
    overlaps = scored.overlaps
    first, truth = overlaps.index.first, overlaps.other_index.first
    spatial, temporal = overlaps.spatial[protocol.tube_pixels], temporal_iou(overlaps, protocol)
    iou = spatial * temporal
    root = np.sqrt(threshold)
    # Of the overlapping ground truth of the own class only the best says what went wrong.
    best = np.full(len(first), -1)
    rows = np.flatnonzero(overlaps.same)
    rows = rows[np.argsort(iou[rows], kind="stable")]
    best[overlaps.tube[rows]] = rows
    has = best >= 0
    kind = np.full(len(first), _OTHER)
    kind[has] = np.select(
        [temporal[best[has]] >= root, spatial[best[has]] >= root], [_LOCALISATION, _TIMING], _OTHER
    )
    near = passes_threshold(iou, protocol, threshold)
    kind[overlaps.tube[near & ~overlaps.same]] = _CLASSIFICATION
    kind[overlaps.tube[near & overlaps.same]] = _LOCALISATION
    matched = match_tubes(scored, protocol, threshold)
    return _shares_by_class(
        np.where(matched >= 0, _HIT, kind[scored.order]),
        tubes.label[first[scored.order]],
        ground_truth.label[truth],
        ground_truth,
        protocol,
        protocol.tube_area,
        protocol.recall_epsilon,
    )


def mean_errors(by_class: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """The mean over classes; each None if there is no class."""
    return {
        kind: float(np.mean([errors[kind] for errors in by_class.values()])) if by_class else None
        for kind in ERROR_KINDS
    }


def _box_kinds(
    ground_truth: Tubes, protocol: Protocol, threshold: float, overlaps: FrameOverlaps
) -> np.ndarray:
    """(D,) what each of `overlaps.detections` is."""
    matched = match_frames(overlaps, protocol, threshold)
    kind = np.full(len(matched), _HIT)
    false = np.flatnonzero(matched < 0)
    boxes = select_rows(overlaps.detections, false)
    kind[false] = _false_box_kinds(ground_truth, boxes, protocol, threshold)
    return kind


def _false_box_kinds(
    ground_truth: Tubes, boxes: Detections, protocol: Protocol, threshold: float
) -> np.ndarray:
    """(F,) the kind of error of boxes that are no hits."""
    videos, labels = len(ground_truth.video_names), len(ground_truth.label_names)
    frames = 1 + max(int(table.frame.max(initial=0)) for table in (boxes, ground_truth))
    frame, truth_frame = (
        pack_keys((table.video, videos), (table.frame, frames)) for table in (boxes, ground_truth)
    )
    by_frame = np.argsort(truth_frame, kind="stable")
    start, count = find_runs(frame, truth_frame[by_frame])
    has_action = np.zeros((videos, labels), bool)
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
        protocol.frame_pixels,
    )
    kind[detection[iou >= threshold]] = _CLASSIFICATION
    kind[located] = _LOCALISATION
    return kind


def _shares_by_class(
    kind: np.ndarray,
    labels: np.ndarray,
    truth_labels: np.ndarray,
    ground_truth: Tubes,
    protocol: Protocol,
    area: APMethod,
    epsilon: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Areas of the kinds, from detections label by label, best score first."""
    names = ground_truth.label_names
    positives = np.bincount(truth_labels, minlength=len(names))
    bounds = np.searchsorted(labels, np.arange(len(names) + 1))
    result = {}
    for index, name in enumerate(names):
        if not positives[index] or name in protocol.left_out:
            continue
        of_class = kind[bounds[index] : bounds[index + 1]]
        so_far = np.cumsum(of_class[None] == np.arange(5)[:, None], axis=1)
        recall = so_far[_HIT] / (positives[index] + epsilon)
        shares = so_far / np.arange(1, len(of_class) + 1)
        reached = recall[-1] if len(recall) else 0.0
        areas = [*split_area(recall, shares, area), 1 - reached]
        result[name] = {kind: 100 * float(value) for kind, value in zip(ERROR_KINDS, areas)}
    return result
