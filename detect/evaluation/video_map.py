"""Video-mAP: average precision of whole tubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import join, pack_keys, row_keys
from .average_precision import RankedMatches, evaluated_classes
from .frame_map import OverlapPairs, match_targets, sort_pairs
from .protocols import Protocol


@dataclass(frozen=True, eq=False)
class TubeIndex:
    """The T tubes of a table, numbered from 0.

    Attributes:
        row_tube: (R,) index of the tube that each row of the table belongs to.
        length: (T,) number of boxes of each tube.
        video: (T,) its video.
        label: (T,) its class.
        score: (T,) `tube_score`; None where the table has none.
    """

    row_tube: np.ndarray
    length: np.ndarray
    video: np.ndarray
    label: np.ndarray
    score: np.ndarray | None

    def __len__(self) -> int:
        return len(self.length)

    def order(self) -> np.ndarray:
        """(T,) tubes label by label, best score first; of equal ones, the lower number."""
        assert self.score is not None
        return np.lexsort((-self.score, self.label))


@dataclass(frozen=True, eq=False)
class TubeOverlaps:
    """Pairs of tubes that share a video and a frame; the part of video-mAP that protocols share.

    Attributes:
        video_names, label_names: of both tables.
        index, other_index: the tubes of the two tables.
        tube: (P,) index of the first table's tube, ascending.
        other: (P,) index of the other table's tube, ascending for each.
        same_label: (P,) bool, are they of one class?
        spatial_iou: (P,) mean IoU over the frames that both have, by the width of a box.
        num_shared: (P,) number of frames that both have.
        num_either: (P,) number of frames that either has.
    """

    video_names: tuple[str, ...]
    label_names: tuple[str, ...]
    index: TubeIndex
    other_index: TubeIndex
    tube: np.ndarray
    other: np.ndarray
    same_label: np.ndarray
    spatial_iou: dict[BoxExtent, np.ndarray]
    num_shared: np.ndarray
    num_either: np.ndarray


@dataclass(frozen=True, eq=False)
class RankedTubes:
    """Tubes by falling score, and their pairs with ground truth tubes of their class.

    Attributes:
        order: (D,) indices of the tubes that suppression leaves, label by label, best score first.
        pairs: a pair's `detection` indexes `order`, its `target` the ground truth tubes.
        overlaps: with ground truth of all classes.
    """

    order: np.ndarray
    pairs: OverlapPairs
    overlaps: TubeOverlaps


def video_matches(
    ranked: RankedTubes, protocol: Protocol, thresholds: Sequence[float]
) -> RankedMatches:
    """The tubes that a protocol evaluates, and which of them match at each IoU threshold.

    Args:
        ranked: from `rank_tubes`, of this protocol.
        protocol: the rules.
        thresholds: thresholds of mean spatial IoU x temporal IoU, each above 0 and at most 1.
    """
    overlaps = ranked.overlaps
    index, truth, names = overlaps.index, overlaps.other_index, overlaps.label_names
    assert index.score is not None
    labels = index.label[ranked.order]
    return RankedMatches(
        video=index.video[ranked.order], label=labels, score=index.score[ranked.order],
        hits={each: match_tubes(ranked, protocol, each) >= 0 for each in thresholds},
        truth_video=truth.video, truth_label=truth.label,
        video_names=overlaps.video_names, label_names=names,
        classes=evaluated_classes(labels, truth.label, names, protocol.ignored_classes),
        method=protocol.tube_ap_method, epsilon=protocol.recall_epsilon,
    )  # fmt: skip


def rank_tubes(tubes: Tubes, overlaps: TubeOverlaps, protocol: Protocol) -> RankedTubes:
    """Suppresses, sorts and compares tubes as the protocol says.

    Args:
        tubes: aligned with the ground truth.
        overlaps: from `tube_overlaps` of these tubes and the ground truth.
        protocol: the rules.
    """
    order = overlaps.index.order()
    if protocol.tube_suppression is not None:
        order = order[nms_tubes(tubes, protocol.tube_suppression, protocol.tube_extent)[order]]
    iou = tube_iou(overlaps, protocol)
    rank = np.full(len(overlaps.index), -1)
    rank[order] = np.arange(len(order))
    detection = np.where(overlaps.same_label, rank[overlaps.tube], -1)
    rows = np.argsort(detection, kind="stable")
    rows = rows[detection[rows] >= 0]
    pairs = sort_pairs(OverlapPairs(detection[rows], overlaps.other[rows], iou[rows]))
    return RankedTubes(order, pairs, overlaps)


def match_tubes(ranked: RankedTubes, protocol: Protocol, threshold: float) -> np.ndarray:
    """(D,) for each of `ranked.order` the index of the ground truth tube it matches, or -1."""
    return match_targets(
        ranked.pairs,
        passes_threshold(ranked.pairs.iou, protocol, threshold),
        protocol.tube_duplicates,
        len(ranked.order),
        len(ranked.overlaps.other_index),
    )


def passes_threshold(iou: np.ndarray, protocol: Protocol, threshold: float) -> np.ndarray:
    """(P,) bool: is the IoU high enough by the protocol's comparison?"""
    return iou > threshold if protocol.strict_tube_iou else iou >= threshold


def tube_overlaps(
    tubes: Tubes, others: Tubes, extents: Sequence[BoxExtent], same_label: bool = False
) -> TubeOverlaps:
    """Overlap of every two tubes that share a frame and a video.

    Frames that only one of two tubes has count in the union, also where a tube skips frames.

    Args:
        tubes: the detected ones.
        others: the ground truth, with the same names of videos and labels; or `tubes` again.
        extents: the widths of a box to compute with.
        same_label: only pairs of one class.
    """
    index, other_index = index_tubes(tubes), index_tubes(others)
    columns = ("video", "frame", "label") if same_label else ("video", "frame")
    keys, other_keys = row_keys([tubes, others], *columns)
    order = np.argsort(other_keys, kind="stable")
    left, right = join(keys, other_keys[order])
    right = order[right]
    pair = pack_keys(
        (index.row_tube[left], len(index)), (other_index.row_tube[right], len(other_index))
    )
    pairs, members = np.unique(pair, return_inverse=True)
    num_shared = np.bincount(members, minlength=len(pairs))
    boxes, other_boxes = tubes.boxes.take(left, axis=0), others.boxes.take(right, axis=0)
    spatial_iou = {
        extent: np.bincount(members, rowwise_iou(boxes, other_boxes, extent), len(pairs))
        / num_shared
        for extent in extents
    }
    tube, other = np.divmod(pairs, max(len(other_index), 1))
    return TubeOverlaps(
        video_names=others.video_names, label_names=others.label_names, index=index,
        other_index=other_index, tube=tube, other=other,
        same_label=index.label[tube] == other_index.label[other],
        spatial_iou=spatial_iou, num_shared=num_shared,
        num_either=index.length[tube] + other_index.length[other] - num_shared,
    )  # fmt: skip


def tube_iou(overlaps: TubeOverlaps, protocol: Protocol) -> np.ndarray:
    """(P,) mean spatial IoU x temporal IoU, 0..1."""
    return overlaps.spatial_iou[protocol.tube_extent] * temporal_iou(overlaps, protocol)


def temporal_iou(overlaps: TubeOverlaps, protocol: Protocol) -> np.ndarray:
    """(P,) frames that both tubes have over frames that either has, as the protocol counts them."""
    excluded = 1 if protocol.temporal == "exclusive" else 0
    union = np.maximum(overlaps.num_either - excluded, 1)
    is_enough = overlaps.num_shared >= protocol.shared_frames
    return np.where(is_enough, (overlaps.num_shared - excluded) / union, 0.0)


def nms_tubes(tubes: Tubes, threshold: float, extent: BoxExtent = "inclusive") -> np.ndarray:
    """Greedy non-maximum suppression of tubes, within each video and class.

    The overlap is mean spatial IoU x temporal IoU (ACT's nms3dt, YOWO's nms_3d).

    Args:
        tubes: with `tube_score`.
        threshold: a tube is removed if its overlap with a better one that stays is above this.
        extent: how wide a box is.

    Returns:
        (T,) bool, the tubes that stay, in the order of `index_tubes`.
    """
    pairs = tube_overlaps(tubes, tubes, [extent], same_label=True)
    rank = np.argsort(pairs.index.order())
    near = pairs.spatial_iou[extent] * pairs.num_shared / pairs.num_either > threshold
    near &= rank[pairs.tube] < rank[pairs.other]
    better, worse = pairs.tube[near], pairs.other[near]
    stays = np.ones(len(rank), bool)
    # Best first; only tubes that overlap are visited, and those are few.
    for i in np.argsort(rank[better], kind="stable"):
        if stays[better[i]]:
            stays[worse[i]] = False
    return stays


def index_tubes(tubes: Tubes) -> TubeIndex:
    """Numbers the tubes of a table from 0, in the order of their own numbers."""
    _, first_row, row_tube, length = np.unique(
        tubes.tube, return_index=True, return_inverse=True, return_counts=True
    )
    score = None if tubes.tube_score is None else tubes.tube_score[first_row]
    return TubeIndex(
        row_tube=row_tube, length=length, video=tubes.video[first_row],
        label=tubes.label[first_row], score=score,
    )  # fmt: skip
