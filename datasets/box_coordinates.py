"""Box coordinates: x1, y1, x2, y2 in pixels of the original video, and conversions to others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Size = Sequence[float] | np.ndarray
"""Width and height; (1, 1) for boxes in fractions of the frame."""

_ROUNDED = 2  # pixels


def rescale_boxes(boxes: np.ndarray, from_size: Size, to_size: Size) -> np.ndarray:
    """Boxes of frames of one size as boxes of the same frames at another size.

    Args:
        boxes: (..., 4) x1 y1 x2 y2.
        from_size, to_size: width and height.

    Returns:
        (..., 4) x1 y1 x2 y2, floating point.
    """
    return boxes * np.tile(np.asarray(to_size) / np.asarray(from_size), 2)


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) x1, y1, x2 = x + width, y2 = y + height, from x, y, width, height."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) x, y, width = x2 - x1, height = y2 - y1, from x1, y1, x2, y2."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def has_swapped_corners(boxes: np.ndarray) -> np.ndarray:
    """(...,) bool, whether x2 < x1 or y2 < y1 in boxes (..., 4) x1 y1 x2 y2."""
    return np.any(boxes[..., 2:4] < boxes[..., :2], axis=-1)


def same_aspect(size: Size, other: Size) -> bool:
    """Whether frames of one size (width, height) may be frames of the other, scaled.

    A scaled side is a whole number, and often an even one: 2 pixels of the smaller size may be due
    to that.
    """
    (small_width, small_height), (width, height) = sorted((tuple(size), tuple(other)))
    return (
        abs(height * small_width / width - small_height) <= _ROUNDED
        or abs(width * small_height / height - small_width) <= _ROUNDED
    )
