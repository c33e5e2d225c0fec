"""Which actions are taken for which others."""

from __future__ import annotations

import numpy as np

from ....datasets.tables import select_rows
from ...boxes.iou import rowwise_iou
from ...boxes.joins import join, row_keys
from ...boxes.matching import greedy_match, sort_by_preference
from ..frame_map import FrameOverlaps, match_frames, ranked_detections
from ..protocols import Protocol


def confusion_matrix(
    overlaps: FrameOverlaps, protocol: Protocol, iou: float, threshold: float
) -> np.ndarray:
    """Counts ground truth boxes by their class and by what they were detected as.

    First the detections that match ground truth of their own class are counted, as for AP. Then the
    others match the ground truth that is left, of any class, best score first.

    Args:
        overlaps: from `frame_overlaps`, of this protocol.
        protocol: the rules.
        iou: least IoU of a match.
        threshold: least score of a detection.

    Returns:
        (C + 1, C + 1) int64: row c is ground truth of class c, and column c detections of class c.
        The last column is the ground truth that was missed; the last row the detections where no
        ground truth is left. The other rows add up to the ground truth of their classes.
    """
    truth = select_rows(overlaps.ground_truth, overlaps.truth)
    num_classes = len(truth.label_names)
    matched = match_frames(overlaps, protocol, iou)
    counts = np.zeros(len(matched), bool)
    counts[ranked_detections(overlaps, protocol)] = True
    counts &= overlaps.detections.score >= threshold
    result = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    is_left = np.ones(len(truth), bool)
    is_left[matched[counts & (matched >= 0)]] = False
    np.add.at(result, (truth.label[~is_left],) * 2, 1)
    rows = np.flatnonzero(counts & (matched < 0))
    rows = rows[np.argsort(-overlaps.detections.score[rows], kind="stable")]
    boxes, left = select_rows(overlaps.detections, rows), select_rows(truth, is_left)
    keys, left_keys = row_keys([boxes, left], "video", "frame")
    order = np.argsort(left_keys, kind="stable")
    detection, target = join(keys, left_keys[order])
    target = order[target]
    overlap = rowwise_iou(
        boxes.boxes.take(detection, axis=0), left.boxes.take(target, axis=0), protocol.frame_extent
    )
    near = overlap >= iou
    detection, target, overlap = detection[near], target[near], overlap[near]
    preferred = sort_by_preference(detection, target, overlap)
    detection, target = detection[preferred], target[preferred]
    pairs = greedy_match(detection, target, len(left))
    np.add.at(result, (left.label[target[pairs]], boxes.label[detection[pairs]]), 1)
    missed, alone = np.ones(len(left), bool), np.ones(len(boxes), bool)
    missed[target[pairs]] = False
    alone[detection[pairs]] = False
    np.add.at(result[:, -1], left.label[missed], 1)
    np.add.at(result[-1], boxes.label[alone], 1)
    return result
