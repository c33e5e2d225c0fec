"""What to look at: the worst false positives and misses, with their pictures for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tubes
from .error_analysis import false_positives
from .frame_map import FrameOverlaps, match_frames
from .protocols import Protocol


@dataclass(frozen=True)
class WorstExample:
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
    wrong: np.ndarray
    truth: np.ndarray


def worst_false_positives(
    ground_truth: Tubes,
    protocol: Protocol,
    threshold: float,
    overlaps: FrameOverlaps,
    videos: set[str],
    count: int,
) -> list[WorstExample]:
    """The false positives of highest score, one a video and class.

    Args:
        ground_truth: what `overlaps` was made with.
        protocol: the rules.
        threshold: the IoU threshold.
        overlaps: from `frame_overlaps`.
        videos: only of these.
        count: at most so many.
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
) -> list[WorstExample]:
    """The ground truth tubes of which the fewest frames were found, each on a frame missed.

    Args as of `worst_false_positives`.
    """
    detections = overlaps.detections
    found = np.zeros(len(ground_truth), bool)
    hits = match_frames(overlaps, protocol, threshold)
    found[overlaps.truth[hits[hits >= 0]]] = True
    tube, first, place, length = np.unique(
        ground_truth.tube, return_index=True, return_inverse=True, return_counts=True
    )
    share = np.bincount(place, weights=found, minlength=len(tube)) / length
    examples: list[WorstExample] = []
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
            WorstExample(
                video,
                int(ground_truth.frame[row]),
                ground_truth.label_names[ground_truth.label[row]],
                f"found on {100 * share[i]:.0f} % of {length[i]} frames",
                ground_truth.boxes[row],
                detections.boxes[near],
            )
        )
    return examples
