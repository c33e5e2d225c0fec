"""OpenCV's people detector, the proposal source that needs no download."""

from __future__ import annotations

import numpy as np

from ...datasets.box_coordinates import rescale_boxes, xywh_to_xyxy
from ...datasets.errors import InputError
from .person_boxes import FunctionSource, PersonBoxes, clean_boxes


def hog_source(name: str, *, device: str, threshold: float) -> FunctionSource:
    """OpenCV's default people detector: HOG and a linear SVM (Dalal and Triggs, CVPR 2005).

    It finds upright people, few others. Its window is 128 pixels high, so small frames are
    enlarged to a short side of 480, at most fourfold. The score is the logistic function of 5 *
    (margin of the SVM - 0.5): the default threshold admits margins down to -0.3, which may
    continue a track, while a track starts at a score of 0.5. With a lower threshold every textured
    wall starts tracks.

    Raises:
        InputError: this build of OpenCV has no HOG detector.
    """
    import cv2

    if not hasattr(cv2, "HOGDescriptor"):
        raise InputError(
            f"--proposals hog: this OpenCV ({cv2.__version__}) was built without contrib; pip "
            "install opencv-contrib-python-headless"
        )
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    probability = min(max(threshold, 1e-3), 1 - 1e-3)
    lowest_margin = 0.5 + np.log(probability / (1 - probability)) / 5

    def detect(frame: np.ndarray) -> PersonBoxes:
        height, width = frame.shape[:2]
        scale = min(4.0, max(1.0, 480 / min(height, width)))
        size = (max(64, round(width * scale)), max(128, round(height * scale)))
        windows, margins = hog.detectMultiScale(
            cv2.resize(frame, size), hitThreshold=lowest_margin, winStride=(8, 8), padding=(8, 8),
            scale=1.1, groupThreshold=0,
        )  # fmt: skip
        xywh = np.reshape(windows, (-1, 4)).astype(np.float64)
        # The windows have a border around the person: a tenth is cut off on each side.
        xywh[:, :2] += 0.1 * xywh[:, 2:]
        xywh[:, 2:] *= 0.8
        boxes = rescale_boxes(xywh_to_xyxy(xywh), size, (width, height))
        scores = 1 / (1 + np.exp(-5 * (np.ravel(margins) - 0.5)))
        # Many windows fire around one person, hence the low IoU.
        return clean_boxes(boxes, scores, (height, width), threshold=threshold, nms_iou=0.3)

    return FunctionSource(lambda frames, first_frame: map(detect, frames))
