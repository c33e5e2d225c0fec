"""Person boxes of one picture: clipped, suppressed and sorted, whatever found them."""

from __future__ import annotations

import numpy as np

NMS_IOU = 0.65  # two people who embrace overlap by 0.5 and more; both must stay


def no_boxes() -> np.ndarray:
    """The (0, 5) float32 array that says that nobody was found."""
    return np.empty((0, 5), np.float32)


def tidy_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    shape: tuple[int, int],
    *,
    threshold: float = 0.0,
    nms_iou: float = NMS_IOU,
) -> np.ndarray:
    """Clips boxes to the picture, drops the empty and the weak, suppresses repeats, sorts by score.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels; numbers that are not finite are dropped too.
        scores: (N,) in [0, 1].
        shape: (height, width) of the picture.
        threshold: the lowest score kept.
        nms_iou: of two boxes that overlap by more, the weaker goes (greedy NMS, no + 1 pixel rule).

    Returns:
        (P, 5) float32: x1, y1, x2, y2, score; best first.
    """
    import cv2

    height, width = shape
    with np.errstate(invalid="ignore"):
        clipped = np.clip(np.asarray(boxes, np.float64), 0, [width, height, width, height])
        extent = clipped[:, 2:] - clipped[:, :2]
        keep = (scores >= threshold) & (extent > 0).all(axis=1)
    clipped, extent, scores = clipped[keep], extent[keep], np.asarray(scores, np.float64)[keep]
    if not len(clipped):
        return no_boxes()
    xywh = np.concatenate([clipped[:, :2], extent], axis=1)
    # NMSBoxes drops a score of 0 whatever its threshold.
    ranks = np.maximum(scores, 1e-30).tolist()
    best = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), ranks, 0.0, nms_iou), int).ravel()
    return np.concatenate([clipped[best], scores[best, None]], axis=1).astype(np.float32)
