"""Non-maximum suppression of the boxes, or tubelets, of each frame and class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...datasets.tables import Detections, Tubelets, Tubes, select_rows
from .iou import BoxExtent, rowwise_iou
from .joins import pack_keys
from .matching import rank_by_score


def nms(
    detections: Detections,
    overlap: float,
    top: int | None = None,
    soft: bool = False,
    pixels: BoxExtent = "inclusive",
) -> Detections:
    """Greedy suppression in each frame and class.

    Args:
        detections: boxes of any number of videos.
        overlap: a box goes if its IoU with a better one that stays is above this.
        top: at most so many stay in each frame and class, the best.
        soft: boxes stay, but with their score times 1 - IoU (MOC's variant, where the first better
            box that overlaps decides).
        pixels: how wide a box is.

    Returns:
        the boxes that stay: by video, frame and class, the best first.
    """
    tubelets = nms_tubelets(as_tubelets(detections), overlap, top, soft, pixels)
    return tubelets.as_detections()


def nms_tubelets(
    tubelets: Tubelets,
    overlap: float,
    top: int | None = None,
    soft: bool = False,
    pixels: BoxExtent = "inclusive",
) -> Tubelets:
    """The same for tubelets, whose overlap is the mean IoU of their K boxes."""
    rows, score = nms_rows(tubelets, overlap, top, soft, pixels)
    return replace(select_rows(tubelets, rows), score=score)


def nms_across_classes(tubes: Tubes, overlap: float = 0.5) -> Tubes:
    """One label a person in each frame, for drawing: the box of the tube that scores highest.

    Args:
        tubes: with scores, of any number of videos and classes.
        overlap: a box goes if its IoU with a better tube's, of whatever class, is above this.

    Returns:
        the boxes that stay, in their order.
    """
    assert tubes.tube_score is not None
    one_class = Detections(
        tubes.video, tubes.frame, np.zeros_like(tubes.label), tubes.tube_score, tubes.boxes,
        tubes.video_names, ("person",),
    )  # fmt: skip
    rows, _ = nms_rows(as_tubelets(one_class), overlap, None, False, "continuous")
    return select_rows(tubes, np.sort(rows))


def nms_rows(
    tubelets: Tubelets, overlap: float, top: int | None, soft: bool, pixels: BoxExtent
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stay, in the order of `nms`, and their scores.

    One pass takes the best of every frame and class at once, and drops what it suppresses; there
    are as many passes as boxes that stay in the fullest frame. Work is linear in the boxes.
    """
    frames = 1 + int(tubelets.frame.max(initial=0))
    key = pack_keys(
        (tubelets.video, len(tubelets.video_names)),
        (tubelets.frame, frames),
        (tubelets.label, len(tubelets.label_names)),
    )
    order = rank_by_score(_first_boxes(tubelets), key)
    remaining = order
    kept = [np.empty(0, np.int64)]
    weight = np.ones(len(order))
    passes = len(order) if top is None or soft else top
    while len(remaining) and passes:
        first = np.diff(key[remaining], prepend=-1) != 0
        heads = remaining[first]
        kept.append(heads)
        others, head = remaining[~first], heads[np.cumsum(first) - 1][~first]
        iou = _mean_iou(tubelets.boxes, others, head, pixels)
        weight[others[iou > overlap]] = 1 - iou[iou > overlap]
        remaining = others[iou <= overlap]
        passes -= 1
    if soft:
        tubelets = replace(tubelets, score=tubelets.score * weight)
        rows = rank_by_score(_first_boxes(tubelets), key)
        start = np.flatnonzero(np.diff(key[rows], prepend=-1))
        place = np.arange(len(rows)) - np.repeat(start, np.diff([*start, len(rows)]))
        rows = rows if top is None else rows[place < top]
    else:
        stays = np.zeros(len(order), bool)
        stays[np.concatenate(kept)] = True
        rows = order[stays[order]]
    return rows, tubelets.score[rows]


def as_tubelets(detections: Detections) -> Tubelets:
    """Detections as tubelets of one frame."""
    return Tubelets(
        detections.video,
        detections.frame,
        detections.label,
        detections.score,
        detections.boxes[:, None],
        detections.video_names,
        detections.label_names,
    )


def _mean_iou(
    boxes: np.ndarray, rows: np.ndarray, others: np.ndarray, pixels: BoxExtent
) -> np.ndarray:
    length = boxes.shape[1]
    pairs = [(boxes[:, k].take(rows, 0), boxes[:, k].take(others, 0)) for k in range(length)]
    ious = [rowwise_iou(*pair, pixels) for pair in pairs]
    return sum(ious[1:], ious[0]) / length


def _first_boxes(tubelets: Tubelets) -> Detections:
    return Detections(
        tubelets.video,
        tubelets.frame,
        tubelets.label,
        tubelets.score,
        tubelets.boxes[:, 0],
        tubelets.video_names,
        tubelets.label_names,
    )
