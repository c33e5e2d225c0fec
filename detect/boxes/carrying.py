"""Boxes carried from frames where they were detected to the frames between or after these."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .iou import pairwise_iou

_SAME_IOU = 0.3  # least overlap of one person's boxes on the two frames, as in `PersonTracker`


def match_boxes(
    boxes: np.ndarray, others: np.ndarray, iou: float = _SAME_IOU
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs boxes one to one, so that the sum of the pairs' IoU is highest.

    Args:
        boxes, others: (P, D) and (Q, D), x1 y1 x2 y2 first.
        iou: of a pair, at least.

    Returns:
        the rows of both, (M,) each, ascending in the first.
    """
    from scipy.optimize import linear_sum_assignment  # takes long to import, and --help needs none

    overlap = pairwise_iou(boxes[:, :4], others[:, :4])
    # Pairs that are too far apart must not sway the choice among the others.
    overlap[overlap < iou] = 0
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    good = overlap[rows, columns] > 0
    return rows[good], columns[good]


def carry_between(first: np.ndarray, second: np.ndarray, gap: int) -> list[np.ndarray]:
    """The boxes on the frames between two frames with detections.

    A box that has a match on the other frame moves there in a straight line. Any other keeps its
    place on the frames that are nearer to its own detection (the one in the middle goes to the
    first), and is on none of the rest.

    Args:
        first, second: (P, D) and (Q, D), x1 y1 x2 y2, and more columns, such as a score, that
            change linearly, too.
        gap: frames from the first to the second.

    Returns:
        gap - 1 arrays (R, D): the matched boxes in the order of `first`, then the others.
    """
    rows, columns = match_boxes(first, second)
    start, change = first[rows], second[columns] - first[rows]
    alone = np.delete(first, rows, axis=0), np.delete(second, columns, axis=0)
    return [
        np.concatenate([start + change * (step / gap), alone[2 * step > gap]])
        for step in range(1, gap)
    ]


def carry_among(detected: Sequence[np.ndarray], frames: Sequence[int]) -> list[np.ndarray]:
    """The boxes on all frames from the first to the last of those with detections.

    Args:
        detected: (P, D) of each of these frames; see `carry_between`.
        frames: their numbers, ascending.
    """
    carried = [detected[0]]
    for (start, stop), (first, second) in zip(pairwise(frames), pairwise(detected)):
        carried += [*carry_between(first, second, stop - start), second]
    return carried


def detected_frames(count: int, step: int) -> list[int]:
    """Which of `count` frames detections are needed on: every `step`-th and the last."""
    frames = [*range(0, count, step)]
    return frames if frames[-1] == count - 1 else [*frames, count - 1]


def carry_forward(
    previous: np.ndarray, latest: np.ndarray, gap: int, frames: int, size: tuple[int, int]
) -> np.ndarray:
    """Where the boxes of the latest frame with detections have moved after some more frames.

    A box that has a match on the frame with detections before goes on as fast as its center came
    from there; any other keeps its place. Boxes are clipped to the frame, and those that have left
    it are dropped.

    Args:
        previous, latest: (P, 4) and (Q, 4) x1 y1 x2 y2 in pixels.
        gap: frames from the previous to the latest.
        frames: since the latest.
        size: (width, height) of the frame.

    Returns:
        (R, 4), in the order of `latest`.
    """
    rows, columns = match_boxes(previous, latest)
    moved = latest.copy()
    motion = (latest[columns] - previous[rows]) / gap * frames
    moved[columns] += np.tile((motion[:, :2] + motion[:, 2:]) / 2, 2)
    moved = np.clip(moved, 0, np.tile(size, 2))
    return moved[(moved[:, 2:] > moved[:, :2]).all(axis=1)]
