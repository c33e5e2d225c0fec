"""Box coordinates: x1, y1, x2, y2 in pixels of the original video, and conversions to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from .errors import InputError

BoxUnit = Literal["pixel", "fraction"]
"""Whether boxes are in pixels of the video or in fractions of its frame."""
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
    return (boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])


def box_unit(boxes: np.ndarray) -> BoxUnit | None:
    """The unit of a file's boxes, as their numbers show it; None where they do not.

    Fractions are at most 2, as detectors place some boxes outside the frame, and not all whole. No
    file has nothing but boxes of a pixel or two, but one whose numbers are all 0 and 1 may be of
    whole frames in fractions.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
    """
    if not len(boxes):
        return "pixel"
    if _is_small(boxes).mean() < 0.99:
        return "pixel"
    if (boxes % 1 != 0).any():
        return "fraction"
    return None if np.abs(boxes).max() <= 1 else "pixel"


def mixed_units(boxes: np.ndarray, group: np.ndarray) -> tuple[int, int] | None:
    """Two rows of a file, of which one is a fraction and the other pixels; None in most files.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        group: (R,) the video of each, from 0: a video's boxes are of one unit.
    """
    small = _is_small(boxes)
    small[small] = (boxes[small] % 1 != 0).any(axis=1)
    if not small.any() or small.all():
        return None
    count = np.bincount(group)
    share = np.bincount(group, small, len(count)) / np.maximum(count, 1)
    if 0.01 < small.mean() < 0.99 or (share >= 0.99).any():
        return int(small.argmax()), int((~_is_small(boxes)).argmax())
    return None


def _is_small(boxes: np.ndarray) -> np.ndarray:
    """(R,) bool, whether a box may be in fractions of the frame."""
    small: np.ndarray = (boxes[:, 2] <= 2) & (boxes[:, 3] <= 2)
    if small.any():  # of few files, and the rest takes time
        small &= np.abs(boxes).max(axis=1) <= 2
    return small


def require_pixels(boxes: np.ndarray, source: object, unit: BoxUnit | None = None) -> None:
    """Refuses boxes in fractions of the frame where pixels are needed.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        source: the file, for messages.
        unit: what the user says; None decides by `box_unit`.

    Raises:
        InputError: the boxes are fractions.
    """
    if (unit or box_unit(boxes)) == "fraction":
        raise InputError(
            f"{source}: the boxes are fractions of the frame (0 to 1) where pixels are needed, and "
            "the size of the frames is not known; multiply them by width and height (or, if they "
            "are pixels, give --boxes pixel)"
        )


def require_declared_unit(boxes: np.ndarray, source: object) -> None:
    """Refuses boxes in fractions of a frame whose size is known, where the user did not say so.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        source: the file, for messages.

    Raises:
        InputError: the boxes are fractions.
    """
    if box_unit(boxes) == "fraction":
        raise InputError(
            f"{source}: the boxes are fractions of the frame (0 to 1) where pixels are expected; "
            "give --boxes fraction to multiply them by the size of the video, or --boxes pixel"
        )


def to_pixels(
    boxes: np.ndarray, size: Size, source: object, unit: BoxUnit | None = None
) -> np.ndarray:
    """Boxes in pixels of frames whose size is known.

    Args:
        boxes: (R, 4) x1 y1 x2 y2.
        size: width and height, or (R, 2) those of each box.
        source: the file, for messages.
        unit: what the user says; None refuses fractions, see `require_declared_unit`.
    """
    if unit is None:
        require_declared_unit(boxes, source)
    return boxes * np.tile(np.asarray(size), 2) if unit == "fraction" else boxes


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
