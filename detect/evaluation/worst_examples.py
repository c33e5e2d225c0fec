"""The worst false positives and misses, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    overlaps: FrameOverlaps, protocol: Protocol, threshold: float, videos: set[str], count: int
) -> list[WorstExample]:
    """The false positives of the highest scores, one for each video and class.

    Args:
        overlaps: from `frame_overlaps`.
        protocol: the rules.
        threshold: the IoU threshold.
        videos: names of the videos to take them from.
        count: most examples.
    """
    truth, detections = overlaps.ground_truth, overlaps.detections
    rows, kinds = false_positives(overlaps, protocol, threshold)
    examples: dict[tuple[str, str], WorstExample] = {}
    for i in np.lexsort((rows, -detections.score[rows])):
        row = rows[i]
        video = truth.video_names[detections.video[row]]
        label = truth.label_names[detections.label[row]]
        if len(examples) == count:
            break
        if video not in videos or (video, label) in examples:
            continue
        on_frame = (truth.video == detections.video[row]) & (truth.frame == detections.frame[row])
        examples[video, label] = WorstExample(
            video=video, frame=int(detections.frame[row]),
            title=f"{label} {detections.score[row]:.2f}", error=kinds[i],
            box=detections.boxes[row], other_boxes=truth.boxes[on_frame],
        )  # fmt: skip
    return list(examples.values())


def worst_misses(
    overlaps: FrameOverlaps, protocol: Protocol, threshold: float, videos: set[str], count: int
) -> list[WorstExample]:
    """The ground truth tubes detected on the smallest share of frames, each on a missed frame.

    Args:
        overlaps, protocol, threshold, videos, count: see `worst_false_positives`.
    """
    truth, detections = overlaps.ground_truth, overlaps.detections
    matched = match_frames(overlaps, protocol, threshold)
    is_hit = np.isin(np.arange(len(truth)), overlaps.truth[matched[matched >= 0]])
    tube, first, index, length = np.unique(
        truth.tube, return_index=True, return_inverse=True, return_counts=True
    )
    share = np.bincount(index, weights=is_hit, minlength=len(tube)) / length
    is_shown = np.isin(truth.video_names, list(videos))[truth.video[first]] & (share < 1)
    examples = []
    worst = np.lexsort((tube, -length, share))
    for i in worst[is_shown[worst]][:count]:
        rows = np.flatnonzero((index == i) & ~is_hit)
        row = rows[np.argsort(truth.frame[rows])[len(rows) // 2]]
        same_action = np.logical_and.reduce([
            getattr(detections, name) == getattr(truth, name)[row]
            for name in ("video", "frame", "label")
        ])  # fmt: skip
        examples.append(
            WorstExample(
                video=truth.video_names[truth.video[row]], frame=int(truth.frame[row]),
                title=truth.label_names[truth.label[row]],
                error=f"found on {100 * share[i]:.0f} % of {length[i]} frames",
                box=truth.boxes[row], other_boxes=detections.boxes[same_action],
            )
        )  # fmt: skip
    return examples
