"""Video-mAP: average precision of whole tubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes
from .frames import ClassScores, Pairs, class_scores, matched_targets, sorted_pairs
from .overlap import Pixels, box_iou, combined_key, join
from .protocols import Protocol

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class TubeIndex:
    """One row a tube, and the tube of every box.

    Attributes:
        of_row: (R,) index of the tube that a row of the table belongs to.
        first: (T,) a row of each tube.
        length: (T,) boxes in each tube.
    """

    of_row: Array
    first: Array
    length: Array


@dataclass(frozen=True, eq=False)
class TubeOverlaps:
    """Tubes that share a frame, pair by pair.

    Attributes:
        tube: (P,) index of the tube, ascending.
        other: (P,) index of the tube it is compared with, ascending for each.
        spatial: (P,) mean spatial IoU over the shared frames.
        shared: (P,) how many frames both have.
        union: (P,) how many frames either has.
    """

    tube: Array
    other: Array
    spatial: Array
    shared: Array
    union: Array


def video_scores(
    ground_truth: Tubes, tubes: Tubes, protocol: Protocol, thresholds: Sequence[float]
) -> list[ClassScores]:
    """Average precision per class at each IoU threshold.

    Args:
        ground_truth: its `video_names` are the videos evaluated, its `label_names` the classes.
        tubes: with `tube_score` and the same names in the same order (see `aligned`).
        protocol: the rules.
        thresholds: each above 0 and at most 1.
    """
    truth = index_tubes(ground_truth).first
    order, pairs = tube_pairs(ground_truth, tubes, protocol)
    labels = tubes.label[index_tubes(tubes).first[order]]
    return [
        class_scores(
            tube_hits(pairs, protocol, threshold, len(order), len(truth)) >= 0,
            labels,
            ground_truth.label[truth],
            ground_truth.label_names,
            threshold,
            protocol.tube_area,
            protocol.left_out,
            protocol.recall_epsilon,
        )
        for threshold in thresholds
    ]


def tube_pairs(ground_truth: Tubes, tubes: Tubes, protocol: Protocol) -> tuple[Array, Pairs]:
    """Every scored tube beside every ground truth tube of its video and class that it meets.

    Returns:
        (D,) indices (see `index_tubes`) of the tubes that suppression leaves, label by label, best
        score first; and the pairs, their `detection` an index into it.
    """
    order = tube_order(tubes)
    if protocol.tube_suppression is not None:
        kept = suppressed(tubes, protocol.tube_suppression, protocol.tube_pixels)
        order = order[kept[order]]
    overlaps = tube_overlaps(tubes, ground_truth, protocol.tube_pixels)
    iou = overlaps.spatial * temporal_iou(overlaps, protocol)
    place = np.full(len(index_tubes(tubes).first), -1)
    place[order] = np.arange(len(order))
    detection = place[overlaps.tube]
    rows = np.argsort(detection, kind="stable")
    rows = rows[detection[rows] >= 0]
    return order, sorted_pairs(detection[rows], overlaps.other[rows], iou[rows])


def tube_hits(
    pairs: Pairs, protocol: Protocol, threshold: float, detections: int, targets: int
) -> Array:
    """(D,) for each detected tube the ground truth tube that it matches, or -1."""
    near = pairs.iou > threshold if protocol.tube_above else pairs.iou >= threshold
    return matched_targets(pairs, near, protocol.tube_second_hit, detections, targets)


def tube_overlaps(
    tubes: Tubes, others: Tubes, pixels: Pixels, any_label: bool = False
) -> TubeOverlaps:
    """Overlap of every two tubes that share a frame, a video and a class.

    Frames that only one of two tubes has count in the union, also where a tube skips frames.

    Args:
        tubes: the detected ones.
        others: the ground truth (or `tubes` again).
        pixels: how wide a box is.
        any_label: pairs tubes of different classes too.
    """
    index, other_index = index_tubes(tubes), index_tubes(others)
    keys, other_keys = _row_keys(tubes, others, any_label)
    order = np.argsort(other_keys, kind="stable")
    left, right = join(keys, other_keys[order])
    right = order[right]
    iou = box_iou(tubes.boxes[left], others.boxes[right], pixels)
    pair = combined_key(
        (index.of_row[left], len(index.first)),
        (other_index.of_row[right], len(other_index.first)),
    )
    pairs, members = np.unique(pair, return_inverse=True)
    shared = np.bincount(members, minlength=len(pairs))
    spatial = np.bincount(members, weights=iou, minlength=len(pairs)) / shared
    tube, other = np.divmod(pairs, max(len(other_index.first), 1))
    union = index.length[tube] + other_index.length[other] - shared
    return TubeOverlaps(tube, other, spatial, shared, union)


def temporal_iou(overlaps: TubeOverlaps, protocol: Protocol) -> Array:
    """(P,) frames in common over frames of either, by the protocol's way to count them."""
    one = 1 if protocol.temporal == "exclusive" else 0
    lengths = np.maximum(overlaps.union - one, 1)
    enough = overlaps.shared >= protocol.shared_frames
    return np.where(enough, (overlaps.shared - one) / lengths, 0.0)


def suppressed(tubes: Tubes, overlap: float, pixels: Pixels = "inclusive") -> Array:
    """Greedy non-maximum suppression of tubes, in each video and class by itself.

    The overlap is mean spatial IoU x temporal IoU (ACT's nms3dt, YOWO's nms_3d).

    Args:
        tubes: with `tube_score`.
        overlap: a tube goes if it overlaps a better one that stays by more than this.
        pixels: how wide a box is.

    Returns:
        (T,) bool, the tubes that stay, in the order of `index_tubes`.
    """
    pairs = tube_overlaps(tubes, tubes, pixels)
    place = np.empty(len(index_tubes(tubes).first), np.int64)
    place[tube_order(tubes)] = np.arange(len(place))
    near = pairs.spatial * pairs.shared / pairs.union > overlap
    near &= place[pairs.tube] < place[pairs.other]
    better, worse = pairs.tube[near], pairs.other[near]
    stays = np.ones(len(place), bool)
    # Best first; only tubes that overlap are visited, and those are few.
    for i in np.argsort(place[better], kind="stable"):
        if stays[better[i]]:
            stays[worse[i]] = False
    return stays


def index_tubes(tubes: Tubes) -> TubeIndex:
    """Numbers the tubes of a table from 0, by their own rising numbers."""
    _, first, of_row, length = np.unique(
        tubes.tube, return_index=True, return_inverse=True, return_counts=True
    )
    return TubeIndex(of_row, first, length)


def tube_order(tubes: Tubes) -> Array:
    """Tubes label by label, best score first; of equal ones, the lower number."""
    assert tubes.tube_score is not None
    first = index_tubes(tubes).first
    return np.lexsort((-tubes.tube_score[first], tubes.label[first]))


def _row_keys(tubes: Tubes, others: Tubes, any_label: bool) -> tuple[Array, Array]:
    """One number for a (video, label, frame) in both tables."""
    frames = 1 + max(int(table.frame.max(initial=0)) for table in (tubes, others))
    videos, labels = len(others.video_names), 1 if any_label else len(others.label_names)
    first, second = (
        combined_key(
            (table.video, videos),
            (np.zeros_like(table.label) if any_label else table.label, labels),
            (table.frame, frames),
        )
        for table in (tubes, others)
    )
    return first, second
