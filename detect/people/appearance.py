"""Tracks a person by appearance through frames in which the detector misses them.

Detectors miss people upside down, in the air or blurred, which is in the middle of the action. The
channel and spatial reliability tracker (Lukežič et al. 2017; OpenCV's TrackerCSRT) bridges that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_TEMPLATE_SIZE = 64  # half the time of OpenCV's 200, and as good on people of some 50 pixels
_MIN_INSIDE = 2 / 3  # of the box's area


def track_appearance(
    frame: np.ndarray, box: np.ndarray
) -> Callable[[np.ndarray], np.ndarray | None]:
    """Starts a tracker.

    Args:
        frame: (H, W, 3) uint8.
        box: (4,) x1 y1 x2 y2 of the person in it, in pixels.

    Returns:
        a function to call with each next frame, which returns the person's box (4,) there, or None
        once the person is lost: when a third of the box is outside the frame (the tracker itself
        keeps the center inside for ever), or when the box is too thin for a template, as detectors
        find at the edge of a frame.
    """
    import cv2

    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    x1, y1 = min(max(x1, 0), width - 2), min(max(y1, 0), height - 2)
    x2, y2 = max(min(x2, width), x1 + 2), max(min(y2, height), y1 + 2)
    parameters = cv2.TrackerCSRT.Params()
    parameters.template_size = _TEMPLATE_SIZE
    tracker = cv2.TrackerCSRT.create(parameters)
    try:
        tracker.init(frame, (x1, y1, x2 - x1, y2 - y1))
    except cv2.error:
        return lambda frame: None

    def locate(frame: np.ndarray) -> np.ndarray | None:
        try:
            is_located, (x, y, w, h) = tracker.update(frame)
        except cv2.error:
            return None
        inside = (min(x + w, width) - max(x, 0)) * (min(y + h, height) - max(y, 0))
        if not is_located or inside < _MIN_INSIDE * w * h:
            return None
        return np.array([max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)], np.float64)

    return locate
