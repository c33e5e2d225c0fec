"""The worst false positives and misses, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes
from .error_analysis import false_positives
from .frame_map import FrameOverlaps, match_frames
from .protocols import Protocol


@dataclass(frozen=True)
class WorstExample:
    """One error on one frame.

    Attributes:
        video: its name.
        frame: from 0.
        title: the class, and the score of a false positive.
        error: the kind of error, or on how many frames the ground truth was detected.
        box: (4,) the false positive, or the ground truth that was missed.
        other_boxes: (N, 4) ground truth on that frame, or for a miss the detections of its class.
    """

    video: str
    frame: int
    title: str
    error: str
    box: np.ndarray
    other_boxes: np.ndarray


def worst_false_positives(
    ground_truth: Tubes,
    protocol: Protocol,
    threshold: float,
    overlaps: FrameOverlaps,
    videos: set[str],
    count: int,
) -> list[WorstExample]:
    """The false positives of the highest scores, one for each video and class.

    Args:
        ground_truth: the one that `overlaps` was computed with.
        protocol: the rules.
        threshold: the IoU threshold.
        overlaps: from `frame_overlaps`.
        videos: names of the videos to take them from.
        count: most examples.
    """
    rows, kinds = false_positives(ground_truth, protocol, threshold, overlaps)
    detections = overlaps.detections
    examples: dict[tuple[str, str], WorstExample] = {}
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
        examples[video, label] = WorstExample(
            video=video, frame=int(detections.frame[row]),
            title=f"{label} {detections.score[row]:.2f}", error=kinds[i],
            box=detections.boxes[row], other_boxes=ground_truth.boxes[on_frame],
        )  # fmt: skip
    return list(examples.values())


def worst_misses(
    ground_truth: Tubes,
    protocol: Protocol,
    threshold: float,
    overlaps: FrameOverlaps,
    videos: set[str],
    count: int,
) -> list[WorstExample]:
    """The ground truth tubes detected on the smallest share of frames, each on a missed frame.

    Args:
        ground_truth, protocol, threshold, overlaps, videos, count: see `worst_false_positives`.
    """
    detections = overlaps.detections
    is_hit = np.zeros(len(ground_truth), bool)
    hits = match_frames(overlaps, protocol, threshold)
    is_hit[overlaps.truth[hits[hits >= 0]]] = True
    tube, first, index, length = np.unique(
        ground_truth.tube, return_index=True, return_inverse=True, return_counts=True
    )
    share = np.bincount(index, weights=is_hit, minlength=len(tube)) / length
    examples: list[WorstExample] = []
    for i in np.lexsort((tube, -length, share)):
        video = ground_truth.video_names[ground_truth.video[first[i]]]
        if len(examples) == count or share[i] == 1:
            break
        if video not in videos:
            continue
        rows = np.flatnonzero((index == i) & ~is_hit)
        row = rows[np.argsort(ground_truth.frame[rows])[len(rows) // 2]]
        same = (
            (detections.video == ground_truth.video[row])
            & (detections.frame == ground_truth.frame[row])
            & (detections.label == ground_truth.label[row])
        )
        examples.append(
            WorstExample(
                video=video, frame=int(ground_truth.frame[row]),
                title=ground_truth.label_names[ground_truth.label[row]],
                error=f"found on {100 * share[i]:.0f} % of {length[i]} frames",
                box=ground_truth.boxes[row], other_boxes=detections.boxes[same],
            )
        )  # fmt: skip
    return examples
