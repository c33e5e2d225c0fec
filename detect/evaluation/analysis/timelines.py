"""Ground truth and tubes of each video as spans of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....datasets.tables import Tubes, Videos
from ..protocols import Protocol
from ..video_map import TubeIndex, match_tubes, rank_tubes, tube_overlaps


@dataclass(frozen=True)
class Span:
    """One tube.

    Attributes:
        label: its class.
        first_frame, last_frame: from 0, both in it.
        score: of a detected tube; None of ground truth.
        is_match: whether a tube matches ground truth, or is matched.
    """

    label: str
    first_frame: int
    last_frame: int
    score: float | None
    is_match: bool


@dataclass(frozen=True)
class Timeline:
    """One video.

    Attributes:
        video: its name.
        num_frames: its length, or where it is not known, that of its tubes.
        truth, tubes: the ground truth, and what was detected.
    """

    video: str
    num_frames: int
    truth: Sequence[Span]
    tubes: Sequence[Span]

    @property
    def num_errors(self) -> int:
        """Tubes and ground truth without a match."""
        return sum(not each.is_match for each in (*self.truth, *self.tubes))


def timelines(
    ground_truth: Tubes,
    tubes: Tubes,
    protocol: Protocol,
    iou: float,
    threshold: float,
    videos: Videos | None = None,
) -> list[Timeline]:
    """A timeline of each video with ground truth or tubes, those with the most errors first.

    Args:
        ground_truth, tubes: aligned.
        protocol: the rules of a match.
        iou: mean spatial IoU x temporal IoU of a match.
        threshold: least score of a tube.
        videos: their lengths, if known.
    """
    overlaps = tube_overlaps(tubes, ground_truth, [protocol.tube_extent])
    ranked = rank_tubes(tubes, overlaps, protocol)
    matched = match_tubes(ranked, protocol, iou)
    index, truth_index = overlaps.index, overlaps.other_index
    assert index.score is not None
    counts = index.score[ranked.order] >= threshold
    order, matched = ranked.order[counts], matched[counts]
    found: dict[int, list[Span]] = {}
    spans = _spans(tubes, index)
    for tube, target in zip(order.tolist(), matched.tolist()):
        (first, last), label = spans[tube].tolist(), tubes.label_names[index.label[tube]]
        span = Span(label, first, last, float(index.score[tube]), target >= 0)
        found.setdefault(int(index.video[tube]), []).append(span)
    is_hit = np.isin(np.arange(len(truth_index)), matched)
    truth: dict[int, list[Span]] = {}
    for tube, (first, last) in enumerate(_spans(ground_truth, truth_index).tolist()):
        label = ground_truth.label_names[truth_index.label[tube]]
        span = Span(label, first, last, None, bool(is_hit[tube]))
        truth.setdefault(int(truth_index.video[tube]), []).append(span)
    lengths = {} if videos is None else dict(zip(videos.video, videos.num_frames.tolist()))
    result = []
    for code in sorted(truth.keys() | found.keys()):
        name, both = ground_truth.video_names[code], (truth.get(code, []), found.get(code, []))
        last = 1 + max(each.last_frame for each in (*both[0], *both[1]))
        result.append(Timeline(name, max(last, lengths.get(name, 0)), *both))
    return sorted(result, key=lambda each: -each.num_errors)


def _spans(tubes: Tubes, index: TubeIndex) -> np.ndarray:
    """(T, 2) first and last frame of each tube."""
    spans = np.stack([np.full(len(index), np.iinfo(np.int64).max), np.full(len(index), -1)], axis=1)
    np.minimum.at(spans[:, 0], index.row_tube, tubes.frame)
    np.maximum.at(spans[:, 1], index.row_tube, tubes.frame)
    return spans
