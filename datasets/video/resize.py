"""Resizing of frames to the input of a network."""

from __future__ import annotations

import numpy as np

_MAX_CHANNELS = 4  # that OpenCV averages


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a frame, (h, w, C) uint8, to (height, width); the aspect ratio may change.

    The interpolation is linear. Where both sides shrink to half or less, the frame is resized to a
    whole multiple of the target size, whose cells are then averaged; this takes a third of the time
    of `cv2.INTER_AREA`.
    """
    import cv2

    cell = min(frame.shape[0] // height, frame.shape[1] // width)
    if cell < 2:
        return cv2.resize(frame, (width, height))
    multiple = cv2.resize(frame, (cell * width, cell * height))
    return shrink(multiple, height, width)


def shrink(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrinks a frame, (h, w, C) uint8, by the mean of the area of each new pixel."""
    import cv2

    def mean(part: np.ndarray) -> np.ndarray:
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)

    if frame.shape[2] <= _MAX_CHANNELS:
        return mean(frame)
    parts = np.split(frame, [3], axis=2)
    return np.concatenate([mean(np.ascontiguousarray(part)) for part in parts], axis=2)
