"""Person proposals: where people are in a frame, before anybody asks what they do.

A source of proposals is a function of frames and the number of the first of them in its video.
Detectors look at the frames; precomputed boxes look at the number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError, some_of
from ...datasets.table_io import read_table
from ...datasets.tables import Detections
from ...datasets.video_names import VideoIndex
from .cleanup import clean_boxes

Proposals = Callable[[np.ndarray, int], list[np.ndarray]]
"""(T, H, W, 3) uint8 RGB, number of the first frame in its video -> T arrays (P, 5) float32.

x1, y1, x2, y2 in pixels of the given frames and a score in [0, 1]; inside the picture, after
non-maximum suppression, best first. Nobody in a frame is a (0, 5) array.
"""

DEFAULT_GPU = "fasterrcnn_resnet50_fpn_v2"
DEFAULT_CPU = "fasterrcnn_mobilenet_v3_large_320_fpn"
THRESHOLD = 0.02


def open_proposal_source(
    source: str, *, video: str | None = None, device: str = "cpu", threshold: float = THRESHOLD
) -> Proposals:
    """The person proposals that `source` names.

    Args:
        source: one of
            "default": torchvision's Faster R-CNN, ResNet-50 on a GPU and MobileNet on the CPU;
            "hog" where its weights cannot be had, with a warning.
            The name of a torchvision COCO detector, such as "fasterrcnn_resnet50_fpn_v2".
            PATH.onnx: a YOLOX model for people or for the COCO classes.
            "detectron2:CONFIG" or "detectron2:CONFIG,WEIGHTS": a config of detectron2's model zoo,
            such as COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml, and a weights file for it.
            "hog": OpenCV's people detector, which needs no download.
            "frame": the whole frame.
            PATH.parquet or PATH.csv: precomputed boxes, a `Detections` table.
        video: the video's name in such a table; its stem also does.
        device: where torch runs a detector.
        threshold: the lowest score that a detector's box may have. Low by default: a weak box can
            still be linked into a tube, a missed one cannot. Precomputed boxes are all taken.

    Raises:
        InputError: an unknown source; a file or weights that cannot be had or read.
    """
    if source == "frame":
        return whole_frame
    if source == "hog":
        return hog_proposals(threshold=threshold)
    if source.endswith((".parquet", ".csv")):
        if video is None:
            raise InputError(
                f"--proposals {source}: a table of boxes needs the name of the video to look up"
            )
        return table_proposals(read_table(Detections, Path(source)), video, where=source)
    if source.endswith(".onnx"):
        from .yolox import yolox_proposals

        return yolox_proposals(Path(source), threshold=threshold)
    if source.startswith("detectron2:"):
        from .detectron2_zoo import detectron2_proposals

        config, _, weights = source.removeprefix("detectron2:").partition(",")
        return detectron2_proposals(config, weights or None, device=device, threshold=threshold)
    if source == "default":
        return _default_proposals(device, threshold)
    from .torchvision_detectors import torchvision_detectors, torchvision_proposals

    names = torchvision_detectors()
    if source not in names:
        raise InputError(
            f"--proposals {source}: unknown; use default, hog, frame, detectron2:CONFIG, a "
            f"file ending in .onnx, .parquet or .csv, or one of {', '.join(names)}"
        )
    return torchvision_proposals(source, device=device, threshold=threshold)


def _default_proposals(device: str, threshold: float) -> Proposals:
    from .torchvision_detectors import torchvision_proposals

    name = DEFAULT_CPU if device == "cpu" else DEFAULT_GPU
    try:
        return torchvision_proposals(name, device=device, threshold=threshold)
    except InputError as error:
        warnings.warn(
            f"{error}. Using HOG instead, which misses many people; better: --proposals "
            "PATH.onnx (a YOLOX person detector) or a table of boxes",
            stacklevel=3,
        )
        return hog_proposals(threshold=threshold)


def whole_frame(frames: np.ndarray, first: int) -> list[np.ndarray]:
    """The whole frame as one box with score 1."""
    height, width = frames.shape[1:3]
    return [np.array([[0, 0, width, height, 1]], np.float32) for _ in frames]


def table_proposals(table: Detections, video: str, *, where: str = "the table") -> Proposals:
    """Precomputed boxes of one video; a person who stands there under several labels counts once.

    Args:
        table: the boxes; labels are ignored.
        video: the video's name, see `VideoIndex`.
        where: what a message calls the table.

    Raises:
        InputError: the video is not in the table, or a score lies outside [0, 1].
    """
    index = VideoIndex(table.video_names)
    code = index.find(video, f"{where}: ")
    if code is None:
        # The name is the end of a file's path, and the file may lie in any folder.
        code = index.find_file(Path(video))
    if code is None:
        raise InputError(
            f"{where}: contains no video named {video}; it has "
            f"{some_of(table.video_names) or 'no videos'}"
        )
    rows = np.flatnonzero(table.video == code)
    scores = table.score[rows]
    if len(rows) and not (scores.min() >= 0 and scores.max() <= 1):
        bad = int(rows[np.argmax((scores < 0) | (scores > 1))]) + 1
        raise InputError(f"{where}: row {bad}: score must be between 0 and 1")
    rows = rows[np.argsort(table.frame[rows], kind="stable")]
    frame_of_row = table.frame[rows]

    def look_up(frames: np.ndarray, first: int) -> list[np.ndarray]:
        ends = np.searchsorted(frame_of_row, np.arange(first, first + len(frames) + 1))
        return [
            clean_boxes(table.boxes[at], table.score[at], frames.shape[1:3], nms_iou=0.95)
            for at in (rows[start:stop] for start, stop in pairwise(ends))
        ]

    return look_up


def hog_proposals(*, threshold: float) -> Proposals:
    """OpenCV's default people detector: HOG and a linear SVM (Dalal and Triggs, CVPR 2005).

    It finds upright people, few others. Its window is 128 pixels high, so small frames are
    enlarged to a short side of 480, at most fourfold. The score is the logistic function of five
    times what the SVM's margin is over a half: the default threshold admits margins down to -0.3,
    which may continue a track, and a track starts at 0.5. Lower, every textured wall starts some.

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
    certain = min(max(threshold, 1e-3), 1 - 1e-3)
    lowest_margin = 0.5 + np.log(certain / (1 - certain)) / 5

    def detect(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        scale = min(4.0, max(1.0, 480 / min(height, width)))
        size = (max(64, round(width * scale)), max(128, round(height * scale)))
        found, margins = hog.detectMultiScale(
            cv2.resize(frame, size), hitThreshold=lowest_margin, winStride=(8, 8), padding=(8, 8),
            scale=1.1, groupThreshold=0,
        )  # fmt: skip
        xywh = np.reshape(found, (-1, 4))
        # The windows have a border around the person, of which a tenth on each side goes.
        corner, extent = xywh[:, :2] + 0.1 * xywh[:, 2:], 0.8 * xywh[:, 2:]
        boxes = np.concatenate([corner, corner + extent], axis=1)
        boxes *= np.tile([width / size[0], height / size[1]], 2)
        scores = 1 / (1 + np.exp(-5 * (np.ravel(margins) - 0.5)))
        # Its windows answer in swarms around one person.
        return clean_boxes(boxes, scores, (height, width), threshold=threshold, nms_iou=0.3)

    return lambda frames, first: [detect(frame) for frame in frames]
