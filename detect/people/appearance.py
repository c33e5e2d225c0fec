"""A person followed by appearance through frames in which the detector misses them.

Detectors lose people upside down, in the air or blurred, that is in the middle of the action. The
channel and spatial reliability tracker (Lukežič et al. 2017; OpenCV's TrackerCSRT) bridges that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Follow = Callable[[np.ndarray], "np.ndarray | None"]
"""The next frame (H, W, 3) → the box x1 y1 x2 y2 there, or None once the person is lost."""


def track_appearance(picture: np.ndarray, box: np.ndarray) -> Follow:
    """Starts at `box` (4,) in `picture` (H, W, 3) uint8; call the result with each next frame.

    A person whose box has left the picture by a third is lost (the tracker itself holds the centre
    inside for good), and so is one whose box is too thin for a template: detectors leave slivers at
    the picture's edge.
    """
    import cv2

    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    x1, y1 = min(max(x1, 0), width - 2), min(max(y1, 0), height - 2)
    x2, y2 = max(min(x2, width), x1 + 2), max(min(y2, height), y1 + 2)
    parameters = cv2.TrackerCSRT.Params()
    # Half the time of OpenCV's 200, and as good on people of a few dozen pixels.
    parameters.template_size = 64
    tracker = cv2.TrackerCSRT.create(parameters)
    try:
        tracker.init(picture, (x1, y1, x2 - x1, y2 - y1))
    except cv2.error:
        return lambda picture: None

    def step(picture: np.ndarray) -> np.ndarray | None:
        try:
            found, (x, y, w, h) = tracker.update(picture)
        except cv2.error:
            return None
        inside = (min(x + w, width) - max(x, 0)) * (min(y + h, height) - max(y, 0))
        if not found or inside < 2 / 3 * w * h:
            return None
        return np.array([max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)], np.float64)

    return step
