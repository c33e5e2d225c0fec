"""The worst mistakes of a report, with their frames where these are available."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...datasets.box_coordinates import rescale_boxes, xyxy_to_xywh
from ...datasets.tables import Videos
from ...datasets.video.media import locate_videos, read_frame
from ..evaluation.evaluate import Evaluation
from ..evaluation.frame_map import FrameOverlaps
from ..evaluation.worst_examples import WorstExample, worst_false_positives, worst_misses
from . import plots
from .page import Section

_NUM_EXAMPLES = 12


def worst_example_sections(
    overlaps: FrameOverlaps,
    main: Evaluation,
    media: Path | None,
    videos: Videos | None,
) -> list[Section]:
    """The worst mistakes: with their frames where these are available, otherwise as tables."""
    names = overlaps.ground_truth.video_names
    paths = {} if media is None else locate_videos(media, names)
    protocol, threshold = main.protocol, main.error_threshold
    sizes = {} if videos is None else dict(zip(videos.video, zip(videos.width, videos.height)))
    rates = {} if videos is None else dict(zip(videos.video, videos.fps.tolist()))
    sections = []
    for title, find, colors, text in (
        ("Worst false positives", worst_false_positives, (plots.RED, plots.GREEN),
         "The highest scores, one for each video and class. Solid: the detection; dashed: ground "
         "truth."),
        ("Worst misses", worst_misses, (plots.GREEN, plots.RED),
         "The action instances detected on the smallest share of their frames. Solid: ground "
         "truth; dashed: detections of its class."),
    ):  # fmt: skip
        examples = find(overlaps, protocol, threshold, set(paths or names), _NUM_EXAMPLES)
        if paths:
            frames = ((each, read_frame(paths[each.video], each.frame)) for each in examples)
            images = [
                draw_example(
                    frame, each, sizes.get(each.video), colors, rates.get(each.video, np.nan)
                )
                for each, frame in frames
                if frame is not None
            ]
            section = Section(title, text, images=images)
        else:
            rows = [
                (each.title, each.error, each.video,
                 f"{each.frame}{_moment(each.frame, rates.get(each.video, np.nan))}")
                for each in examples
            ]  # fmt: skip
            section = Section(title, text, (("class", "kind", "video", "frame"), rows))
        sections += [section] if examples else []
    return sections


def draw_example(
    frame: np.ndarray,
    example: WorstExample,
    size: tuple[int, int] | None,
    colors: tuple[str, str],
    fps: float = float("nan"),
) -> dict[str, Any]:
    """A frame as a JPEG, and the boxes to draw on it, for the page's template.

    Args:
        frame: (H, W, 3) uint8 RGB.
        example: its boxes.
        size: width and height of the video that the boxes refer to; None: those of `frame`.
        colors: of the box in question, and of the other boxes.
        fps: frames per second, for the moment; NaN where unknown.

    Returns:
        example, moment (text), width, height, jpeg (base64), line (width of the lines), and boxes:
        for each x, y, width and height in pixels of the frame, its color, and whether it is dashed.
    """
    height, width = frame.shape[:2]
    encoded, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert encoded
    boxes = np.vstack([example.box, example.other_boxes])
    boxes = xyxy_to_xywh(rescale_boxes(boxes, size or (width, height), (width, height)))
    return {
        "example": example,
        "moment": _moment(example.frame, fps),
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "line": round(max(width, height) / 160, 1),
        "boxes": [(box, colors[i > 0], i > 0) for i, box in enumerate(boxes.round(1).tolist())],
    }


def _moment(frame: int, fps: float) -> str:
    """ ", 1:02.5" behind a frame's number: minutes and seconds; "" where the rate is unknown."""
    if not fps > 0:
        return ""
    tenths = round(10 * frame / fps)
    return f", {tenths // 600}:{tenths % 600 / 10:04.1f}"
