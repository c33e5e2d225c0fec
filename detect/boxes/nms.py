"""Non-maximum suppression of boxes and tubelets, within each frame and class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...datasets.tables import Detections, Tubelets, Tubes, select_rows
from .iou import BoxExtent, rowwise_iou
from .joins import row_keys
from .matching import rank_by_score


def nms(
    detections: Detections,
    iou_threshold: float,
    top: int | None = None,
    soft: bool = False,
    extent: BoxExtent = "inclusive",
) -> Detections:
    """Greedy non-maximum suppression within each frame and class.

    Args:
        detections: boxes of any number of videos.
        iou_threshold: a box is removed if its IoU with a better one that stays is above this.
        top: most boxes that stay in a frame and class; None is no limit.
        soft: keep boxes, but multiply their scores by 1 - IoU (MOC's variant, in which the first
            better box above the threshold decides).
        extent: how wide a box is.

    Returns:
        the boxes that stay: by video, frame and class, best first.
    """
    tubelets = Tubelets.from_detections(detections)
    rows, score = nms_rows(tubelets, iou_threshold, top, soft, extent)
    return replace(select_rows(detections, rows), score=score)


def nms_across_classes(tubes: Tubes, iou_threshold: float = 0.5) -> Tubes:
    """One box for each person and frame, for drawing: that of the tube with the highest score.

    Args:
        tubes: with scores, of any number of videos and classes.
        iou_threshold: a box is removed if its IoU with that of a better tube, of any class, is
            above this.

    Returns:
        the boxes that stay, in their order.
    """
    assert tubes.tube_score is not None
    one_class = Tubelets(
        video=tubes.video, frame=tubes.frame, label=np.zeros_like(tubes.label),
        score=tubes.tube_score, boxes=tubes.boxes[:, None],
        video_names=tubes.video_names, label_names=("person",),
    )  # fmt: skip
    rows, _ = nms_rows(one_class, iou_threshold, None, False, "continuous")
    return select_rows(tubes, np.sort(rows))


def nms_rows(
    tubelets: Tubelets, iou_threshold: float, top: int | None, soft: bool, extent: BoxExtent
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that stay, in the order of `nms`, and their scores.

    Tubelets overlap by the mean IoU of their K boxes.

    One pass takes the best of every frame and class at once and removes what it suppresses; there
    are as many passes as boxes that stay in the fullest frame. Work is linear in the boxes.
    """
    (key,) = row_keys([tubelets], "video", "frame", "label")
    order = rank_by_score(tubelets, key)
    remaining = order
    kept = [np.empty(0, np.int64)]
    weight = np.ones(len(order))
    passes = len(order) if top is None or soft else top
    boxes_by_frame = np.moveaxis(tubelets.boxes, 1, 0)
    while len(remaining) and passes:
        is_best = np.diff(key[remaining], prepend=-1) != 0
        best = remaining[is_best]
        kept.append(best)
        others, better = remaining[~is_best], best[np.cumsum(is_best) - 1][~is_best]
        ious = [
            rowwise_iou(boxes.take(others, axis=0), boxes.take(better, axis=0), extent)
            for boxes in boxes_by_frame
        ]
        iou = np.mean(ious, axis=0)
        weight[others[iou > iou_threshold]] = 1 - iou[iou > iou_threshold]
        remaining = others[iou <= iou_threshold]
        passes -= 1
    if soft:
        tubelets = replace(tubelets, score=tubelets.score * weight)
        rows = rank_by_score(tubelets, key)
        start = np.flatnonzero(np.diff(key[rows], prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(start, np.diff(start, append=len(rows)))
        rows = rows if top is None else rows[rank < top]
    else:
        stays = np.zeros(len(order), bool)
        stays[np.concatenate(kept)] = True
        rows = order[stays[order]]
    return rows, tubelets.score[rows]
