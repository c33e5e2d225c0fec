"""Video-mAP: average precision of whole tubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import join, pack_keys
from .frame_map import ClassAP, Pairs, class_scores, match_targets, sorted_pairs
from .protocols import Protocol


@dataclass(frozen=True, eq=False)
class TubeIndex:
    """One row a tube, and the tube of every box.

    Attributes:
        of_row: (R,) index of the tube that a row of the table belongs to.
        first: (T,) a row of each tube.
        length: (T,) boxes in each tube.
    """

    of_row: np.ndarray
    first: np.ndarray
    length: np.ndarray


@dataclass(frozen=True, eq=False)
class TubeOverlaps:
    """Tubes that share a video and a frame, pair by pair; the part that protocols share.

    Attributes:
        index, other_index: the tubes of the two sides.
        tube: (P,) index of the tube, ascending.
        other: (P,) index of the tube it is compared with, ascending for each.
        same: (P,) bool, are they of one class?
        spatial: (P,) mean spatial IoU over the shared frames, by the way to measure a box.
        shared: (P,) how many frames both have.
        union: (P,) how many frames either has.
    """

    index: TubeIndex
    other_index: TubeIndex
    tube: np.ndarray
    other: np.ndarray
    same: np.ndarray
    spatial: dict[BoxExtent, np.ndarray]
    shared: np.ndarray
    union: np.ndarray


@dataclass(frozen=True, eq=False)
class ScoredTubes:
    """Tubes by falling score, beside the ground truth tubes of their class that they meet.

    Attributes:
        order: (D,) indices of the tubes that suppression leaves, label by label, best first.
        pairs: `detection` is an index into `order`, `target` one of a ground truth tube.
        overlaps: with ground truth of all classes.
    """

    order: np.ndarray
    pairs: Pairs
    overlaps: TubeOverlaps


def video_ap(
    ground_truth: Tubes,
    tubes: Tubes,
    protocol: Protocol,
    thresholds: Sequence[float],
    scored: ScoredTubes | None = None,
) -> list[ClassAP]:
    """Average precision per class at each IoU threshold.

    Args:
        ground_truth: its `unique_names` are the videos evaluated, its `label_names` the classes.
        tubes: with `tube_score` and the same names in the same order (see `align_to_ground_truth`).
        protocol: the rules.
        thresholds: each above 0 and at most 1.
        scored: from `score_tubes`, where it is at hand.
    """
    scored = scored or score_tubes(ground_truth, tubes, protocol)
    labels = tubes.label[scored.overlaps.index.first[scored.order]]
    truth_labels = ground_truth.label[scored.overlaps.other_index.first]
    return [
        class_scores(
            match_tubes(scored, protocol, threshold) >= 0,
            labels,
            truth_labels,
            ground_truth.label_names,
            threshold,
            protocol.tube_area,
            protocol.left_out,
            protocol.recall_epsilon,
        )
        for threshold in thresholds
    ]


def score_tubes(
    ground_truth: Tubes, tubes: Tubes, protocol: Protocol, overlaps: TubeOverlaps | None = None
) -> ScoredTubes:
    """Suppresses, sorts and compares tubes as the protocol says.

    Args:
        ground_truth, tubes: aligned tables.
        protocol: the rules.
        overlaps: from `tube_overlaps`, where several protocols are scored.
    """
    if overlaps is None:
        overlaps = tube_overlaps(tubes, ground_truth, [protocol.tube_pixels])
    order = tube_order(tubes, overlaps.index)
    if protocol.tube_suppression is not None:
        order = order[suppressed(tubes, protocol.tube_suppression, protocol.tube_pixels)[order]]
    iou = tube_iou(overlaps, protocol)
    place = np.full(len(overlaps.index.first), -1)
    place[order] = np.arange(len(order))
    detection = np.where(overlaps.same, place[overlaps.tube], -1)
    rows = np.argsort(detection, kind="stable")
    rows = rows[detection[rows] >= 0]
    pairs = sorted_pairs(detection[rows], overlaps.other[rows], iou[rows])
    return ScoredTubes(order, pairs, overlaps)


def match_tubes(scored: ScoredTubes, protocol: Protocol, threshold: float) -> np.ndarray:
    """(D,) for each of `scored.order` the index of the ground truth tube it matches, or -1."""
    return match_targets(
        scored.pairs,
        passes_threshold(scored.pairs.iou, protocol, threshold),
        protocol.tube_second_hit,
        len(scored.order),
        len(scored.overlaps.other_index.first),
    )


def passes_threshold(iou: np.ndarray, protocol: Protocol, threshold: float) -> np.ndarray:
    """(P,) bool by the protocol's comparison."""
    return iou > threshold if protocol.tube_above else iou >= threshold


def tube_overlaps(
    tubes: Tubes, others: Tubes, pixels: Sequence[BoxExtent], same_label: bool = False
) -> TubeOverlaps:
    """Overlap of every two tubes that share a frame and a video.

    Frames that only one of two tubes has count in the union, also where a tube skips frames.

    Args:
        tubes: the detected ones.
        others: the ground truth (or `tubes` again).
        pixels: ways to measure a box.
        same_label: only pairs of one class.
    """
    index, other_index = index_tubes(tubes), index_tubes(others)
    keys, other_keys = _row_keys(tubes, others, same_label)
    order = np.argsort(other_keys, kind="stable")
    left, right = join(keys, other_keys[order])
    right = order[right]
    pair = pack_keys(
        (index.of_row[left], len(index.first)),
        (other_index.of_row[right], len(other_index.first)),
    )
    pairs, members = np.unique(pair, return_inverse=True)
    shared = np.bincount(members, minlength=len(pairs))
    boxes, other_boxes = tubes.boxes.take(left, axis=0), others.boxes.take(right, axis=0)
    spatial = {
        name: np.bincount(members, rowwise_iou(boxes, other_boxes, name), len(pairs)) / shared
        for name in pixels
    }
    tube, other = np.divmod(pairs, max(len(other_index.first), 1))
    union = index.length[tube] + other_index.length[other] - shared
    same = tubes.label[index.first[tube]] == others.label[other_index.first[other]]
    return TubeOverlaps(index, other_index, tube, other, same, spatial, shared, union)


def tube_iou(overlaps: TubeOverlaps, protocol: Protocol) -> np.ndarray:
    """(P,) mean spatial IoU x temporal IoU."""
    return overlaps.spatial[protocol.tube_pixels] * temporal_iou(overlaps, protocol)


def temporal_iou(overlaps: TubeOverlaps, protocol: Protocol) -> np.ndarray:
    """(P,) frames in common over frames of either, by the protocol's way to count them."""
    one = 1 if protocol.temporal == "exclusive" else 0
    lengths = np.maximum(overlaps.union - one, 1)
    enough = overlaps.shared >= protocol.shared_frames
    return np.where(enough, (overlaps.shared - one) / lengths, 0.0)


def suppressed(tubes: Tubes, overlap: float, pixels: BoxExtent = "inclusive") -> np.ndarray:
    """Greedy non-maximum suppression of tubes, in each video and class by itself.

    The overlap is mean spatial IoU x temporal IoU (ACT's nms3dt, YOWO's nms_3d).

    Args:
        tubes: with `tube_score`.
        overlap: a tube goes if it overlaps a better one that stays by more than this.
        pixels: how wide a box is.

    Returns:
        (T,) bool, the tubes that stay, in the order of `index_tubes`.
    """
    pairs = tube_overlaps(tubes, tubes, [pixels], same_label=True)
    place = np.empty(len(pairs.index.first), np.int64)
    place[tube_order(tubes, pairs.index)] = np.arange(len(place))
    near = pairs.spatial[pixels] * pairs.shared / pairs.union > overlap
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


def tube_order(tubes: Tubes, index: TubeIndex) -> np.ndarray:
    """Tubes label by label, best score first; of equal ones, the lower number."""
    assert tubes.tube_score is not None
    return np.lexsort((-tubes.tube_score[index.first], tubes.label[index.first]))


def _row_keys(tubes: Tubes, others: Tubes, same_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """One number for a (video, frame), or a (video, frame, label), in both tables."""
    frames = 1 + max(int(table.frame.max(initial=0)) for table in (tubes, others))
    videos, labels = len(others.video_names), len(others.label_names)
    keys = []
    for table in (tubes, others):
        columns = [(table.video, videos), (table.frame, frames)]
        keys.append(pack_keys(*columns, *([(table.label, labels)] if same_label else [])))
    return keys[0], keys[1]
