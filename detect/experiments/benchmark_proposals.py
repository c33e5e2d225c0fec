"""Recall and time of proposals: which source, how many of its boxes, on how many key frames."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from ...datasets.box_coordinates import rescale_boxes
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.errors import InputError
from ...datasets.video.media import read_frames
from ..boxes.carrying import carry_among, detected_frames
from ..boxes.iou import pairwise_iou
from ..inference.clip_batches import prefetch_clip_batches
from ..inference.predict_dataset import video_info
from ..inference.predictor import TorchPredictor, key_frame_slices
from ..inference.proposal_frames import PROPOSAL_FRAMES
from ..people.proposals import ProposalSource
from .timing import synchronized_time

STEPS = (1, 2, 4, 8, 16)
"""Values of --proposal-step that are compared."""
COUNTS = (10, 20, 30, 50, 100)
"""Numbers of an RPN's proposals that are compared."""
IOUS = (0.3, 0.5, 0.7)


class Recall:
    """Counts which ground truth boxes are covered by a box of their frame."""

    def __init__(self) -> None:
        self.hits = np.zeros(len(IOUS), np.int64)
        self.num_truth = self.num_boxes = self.num_frames = 0

    def add(self, boxes: np.ndarray, truth: np.ndarray) -> None:
        """Adds a frame: (P, 4) boxes and (G, 4) ground truth, in the same pixels."""
        best = pairwise_iou(truth, boxes).max(axis=1, initial=0)
        self.hits += (best[:, None] >= IOUS).sum(axis=0)
        self.num_truth += len(truth)
        self.num_boxes += len(boxes)
        self.num_frames += 1

    def figures(self) -> dict[str, Any]:
        """Recall by IoU in 0..1, and boxes a frame."""
        shares = (self.hits / max(self.num_truth, 1)).tolist()
        return {
            "recall": {str(iou): share for iou, share in zip(IOUS, shares)},
            "boxes_per_frame": self.num_boxes / max(self.num_frames, 1),
        }


def benchmark_source(videos: DetectionSet, source: ProposalSource) -> list[dict[str, Any]]:
    """Recall and time of a proposal source that is asked on every n-th frame.

    Every frame is a key frame. The source runs once on all frames; the time of a step is that of
    the frames that it would see, and of carrying the boxes.

    Args:
        videos: with ground truth; recall counts all of its boxes.
        source: where people are.

    Returns:
        for each of `STEPS` its step, recall by IoU, boxes_per_frame and ms_per_frame.
    """
    recalls, seconds = [Recall() for _ in STEPS], np.zeros(len(STEPS))
    num_frames = 0
    for video in tqdm(range(len(videos)), "videos", unit=" videos", leave=False):
        detected, spent = _detect(videos, video, source)
        truth, count = _truth_by_frame(videos, video), len(detected)
        num_frames += count
        for row, step in enumerate(STEPS):
            chosen = detected_frames(count, step)
            start = time.perf_counter()
            carried = carry_among([detected[frame] for frame in chosen], chosen)
            seconds[row] += time.perf_counter() - start + spent * len(chosen) / count
            for frame, boxes in truth.items():
                recalls[row].add(carried[frame], boxes)
    return [
        {"step": step, **recall.figures(), "ms_per_frame": 1000 * spent / num_frames}
        for step, recall, spent in zip(STEPS, recalls, seconds.tolist())
    ]


def benchmark_rpn(videos: DetectionSet, predictor: TorchPredictor) -> list[dict[str, Any]]:
    """Recall and time of a detector's own proposals, by their number and by step.

    Every frame is a key frame, in shared clips.

    Args:
        videos: see `benchmark_source`.
        predictor: of a detector with its own proposals, whose number it changes.

    Returns:
        for each of `COUNTS` with step 1, and of `STEPS` with the number of the detector's config:
        count, step, recall by IoU, boxes_per_frame, ms_per_frame (of making proposals) and
        head_ms_per_frame (of scoring them).
    """
    network, config = predictor.detector.proposals, predictor.config
    if network is None:
        raise InputError(
            "--checkpoint: this detector makes no proposals itself; give their source alone, as "
            "--proposals"
        )
    own = config.proposal_count
    settings = sorted({*((count, 1) for count in COUNTS), *((own, step) for step in STEPS)})
    recalls = [Recall() for _ in settings]
    seconds = np.zeros((len(settings), 2))
    num_frames = 0
    for video in tqdm(range(len(videos)), "videos", unit=" videos", leave=False):
        truth = _truth_by_frame(videos, video)
        size = int(videos.width[video]), int(videos.height[video])
        frames = read_frames(videos.media[video], 0, int(videos.num_frames[video]))
        with (
            prefetch_clip_batches(config, frames, device=predictor.device) as batches,
            predictor.inference_mode(),
        ):
            for batch in batches:
                features = predictor.extract_features(batch)
                num_frames += len(batch.frame_numbers)
                for row, (count, step) in enumerate(settings):
                    network.limit(count)
                    sparse = replace(batch, proposal_step=step)
                    for rows in key_frame_slices(batch):
                        start = synchronized_time(predictor.device)
                        proposals = predictor.propose(features, sparse, rows)
                        middle = synchronized_time(predictor.device)
                        predictor.detect(features, proposals, batch, rows)
                        end = synchronized_time(predictor.device)
                        seconds[row] += middle - start, end - middle
                        for frame, boxes in zip(batch.frame_numbers[rows].tolist(), proposals):
                            if frame in truth:
                                scaled = rescale_boxes(
                                    boxes.float().cpu().numpy(), config.size[::-1], size
                                )
                                recalls[row].add(scaled, truth[frame])
    network.limit(own)
    return [
        {
            "count": count, "step": step, **recall.figures(),
            "ms_per_frame": 1000 * propose / num_frames,
            "head_ms_per_frame": 1000 * head / num_frames,
        }
        for (count, step), recall, (propose, head) in zip(settings, recalls, seconds.tolist())
    ]  # fmt: skip


def benchmark_table(rows: Sequence[dict[str, Any]]) -> str:
    """The result of `benchmark_source` or `benchmark_rpn` as text."""
    by_iou = "".join(f"  recall@{iou}" for iou in IOUS)
    has_count = "count" in rows[0]
    columns = f"step  boxes/frame{by_iou}  ms/frame"
    lines = [f"proposals  {columns}  head" if has_count else columns]
    for row in rows:
        recall = "".join(f"{row['recall'][str(iou)]:>12.3f}" for iou in IOUS)
        count = f"{row['count']:>9}  " if has_count else ""
        head = f"{row['head_ms_per_frame']:>6.1f}" if has_count else ""
        lines.append(
            f"{count}{row['step']:>4}{row['boxes_per_frame']:>13.1f}{recall}"
            f"{row['ms_per_frame']:>10.1f}{head}"
        )
    return "\n".join(lines)


def _detect(
    videos: DetectionSet, video: int, source: ProposalSource
) -> tuple[list[np.ndarray], float]:
    """The (P, 4) boxes of all frames in the ground truth's pixels, and the source's seconds."""
    opened = source.open(video_info(videos, video))
    size = int(videos.width[video]), int(videos.height[video])
    boxes: list[np.ndarray] = []
    seconds = 0.0
    for batch in _batches(read_frames(videos.media[video], 0, int(videos.num_frames[video]))):
        start = time.perf_counter()
        people = opened.propose(batch, len(boxes))
        seconds += time.perf_counter() - start
        from_size = batch.shape[2:0:-1]
        boxes += [rescale_boxes(each.boxes, from_size, size) for each in people]
    return boxes, seconds


def _batches(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while batch := list(islice(frames, PROPOSAL_FRAMES)):
        yield np.stack(batch)


def _truth_by_frame(videos: DetectionSet, video: int) -> dict[int, np.ndarray]:
    """(G, 4) boxes by frame, of the frames with some."""
    tubes = videos.tubes
    rows = np.flatnonzero(tubes.video == video)
    rows = rows[np.argsort(tubes.frame[rows], kind="stable")]
    frames, starts = np.unique(tubes.frame[rows], return_index=True)
    return dict(zip(frames.tolist(), np.split(tubes.boxes[rows], starts[1:])))
