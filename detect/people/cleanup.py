"""Person boxes of one frame: clipped, suppressed and sorted, whatever found them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

NMS_IOU = 0.65  # two people who embrace overlap by 0.5 and more; both must stay
BATCH = 4  # frames in one forward pass


def in_batches(
    detect: Callable[[np.ndarray], Iterable[tuple[np.ndarray, np.ndarray]]], threshold: float
) -> Callable[[np.ndarray, int], list[np.ndarray]]:
    """Person proposals by a detector that takes several frames at a time.

    Args:
        detect: gives each frame's (N, 4) boxes of people and (N,) scores.
        threshold: the lowest score kept.
    """
    return lambda frames, first: [
        clean_boxes(boxes, scores, frames.shape[1:3], threshold=threshold)
        for start in range(0, len(frames), BATCH)
        for boxes, scores in detect(frames[start : start + BATCH])
    ]


def clean_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    shape: tuple[int, int],
    *,
    threshold: float = 0.0,
    nms_iou: float = NMS_IOU,
) -> np.ndarray:
    """Clips boxes to the frame, drops the empty and the weak, suppresses repeats, sorts by score.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels; numbers that are not finite are dropped too.
        scores: (N,) in [0, 1].
        shape: (height, width) of the frame.
        threshold: the lowest score kept.
        nms_iou: of two boxes that overlap by more, the weaker goes (greedy NMS, no + 1 pixel rule).

    Returns:
        (P, 5) float32: x1, y1, x2, y2, score; best first.
    """
    import torch
    from torchvision.ops import nms

    height, width = shape
    with np.errstate(invalid="ignore"):
        clipped = np.clip(np.asarray(boxes, np.float64), 0, [width, height, width, height])
        keep = (scores >= threshold) & (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    clipped, scores = clipped[keep], np.asarray(scores, np.float32)[keep]
    best = nms(torch.from_numpy(clipped), torch.from_numpy(scores).double(), nms_iou).numpy()
    return np.column_stack([clipped[best], scores[best]]).astype(np.float32)
