"""What to look at: the worst false positives and misses, with their pictures for the report."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ...datasets.tables import Tubes
from .errors import false_boxes
from .frames import FrameOverlaps, frame_hits
from .protocols import Protocol

Array = np.ndarray


@dataclass(frozen=True)
class Example:
    """One mistake on one frame.

    Attributes:
        video: its name.
        frame: from 0.
        what: the class, and its score or how much was found.
        why: what kind of mistake.
        wrong: (4,) the box in question: the false detection, or the ground truth missed.
        truth: (G, 4) ground truth boxes on that frame, or detections of the class for a miss.
    """

    video: str
    frame: int
    what: str
    why: str
    wrong: Array
    truth: Array


def worst_false_positives(
    ground_truth: Tubes,
    protocol: Protocol,
    threshold: float,
    overlaps: FrameOverlaps,
    videos: set[str],
    count: int,
) -> list[Example]:
    """The false positives of highest score, one a video and class.

    Args:
        ground_truth: what `overlaps` was made with.
        protocol: the rules.
        threshold: the IoU threshold.
        overlaps: from `frame_overlaps`.
        videos: only of these.
        count: at most so many.
    """
    rows, kinds = false_boxes(ground_truth, protocol, threshold, overlaps)
    detections = overlaps.detections
    examples: dict[tuple[str, str], Example] = {}
    for i in np.lexsort((rows, -detections.score[rows])):
        row = rows[i]
        video = ground_truth.video_names[detections.video[row]]
        label = ground_truth.label_names[detections.label[row]]
        if len(examples) == count:
            break
        if video not in videos or (video, label) in examples:
            continue
        on_frame = (ground_truth.video == detections.video[row]) & (
            ground_truth.frame == detections.frame[row]
        )
        examples[video, label] = Example(
            video,
            int(detections.frame[row]),
            f"{label} {detections.score[row]:.2f}",
            kinds[i],
            detections.boxes[row],
            ground_truth.boxes[on_frame],
        )
    return list(examples.values())


def worst_misses(
    ground_truth: Tubes,
    protocol: Protocol,
    threshold: float,
    overlaps: FrameOverlaps,
    videos: set[str],
    count: int,
) -> list[Example]:
    """The ground truth tubes of which the fewest frames were found, each on a frame missed.

    Args as of `worst_false_positives`.
    """
    detections = overlaps.detections
    found = np.zeros(len(ground_truth), bool)
    hits = frame_hits(overlaps, protocol, threshold)
    found[overlaps.truth[hits[hits >= 0]]] = True
    tube, first, place, length = np.unique(
        ground_truth.tube, return_index=True, return_inverse=True, return_counts=True
    )
    share = np.bincount(place, weights=found, minlength=len(tube)) / length
    examples: list[Example] = []
    for i in np.lexsort((tube, -length, share)):
        video = ground_truth.video_names[ground_truth.video[first[i]]]
        if len(examples) == count or share[i] == 1:
            break
        if video not in videos:
            continue
        rows = np.flatnonzero((place == i) & ~found)
        row = rows[np.argsort(ground_truth.frame[rows])[len(rows) // 2]]
        near = (
            (detections.video == ground_truth.video[row])
            & (detections.frame == ground_truth.frame[row])
            & (detections.label == ground_truth.label[row])
        )
        examples.append(
            Example(
                video,
                int(ground_truth.frame[row]),
                ground_truth.label_names[ground_truth.label[row]],
                f"found on {100 * share[i]:.0f} % of {length[i]} frames",
                ground_truth.boxes[row],
                detections.boxes[near],
            )
        )
    return examples


def picture(
    frame: Array, example: Example, scale: tuple[float, float], colours: tuple[str, str]
) -> dict[str, Any]:
    """The frame as a JPEG, and the boxes to draw on it.

    Args:
        frame: (H, W, 3) uint8 RGB.
        example: what to draw.
        scale: pixels of the frame for each of the boxes', across and down.
        colours: of the box in question, and of the others.

    Returns:
        width, height, jpeg (base64), line (the width of lines), and boxes: for each x, y, width
        and height in pixels, its colour, and whether it is dashed.
    """
    height, width = frame.shape[:2]
    done, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    boxes = np.vstack([example.wrong, example.truth]) * (*scale, *scale)
    boxes[:, 2:] -= boxes[:, :2]
    return {
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(jpeg.tobytes()).decode(),
        "line": round(max(width, height) / 160, 1),
        "boxes": [
            (box, colours[min(i, 1)], i > 0) for i, box in enumerate(boxes.round(1).tolist())
        ],
    }
