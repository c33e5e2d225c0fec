"""A detector on all videos of a set, shared among processes, and its scores there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.flow.cache import read_frames_with_flow
from ...datasets.tables import Detections, Tubes
from ...datasets.video.media import read_frames
from ...datasets.video.reader import VideoInfo
from ..evaluation.evaluate import Evaluation
from ..evaluation.evaluate import evaluate as evaluate_tables
from ..evaluation.protocols import PROTOCOLS
from ..linking.greedy import ACT
from ..linking.linker import link
from ..model.detector import Detector
from ..people.proposals import ProposalSource
from .clip_geometry import Mode
from .detector_tubes import TUBE_SCORE_THRESHOLD
from .predictor import FrameDetections, concatenate_detections, predict_frames


def predict_dataset(
    detector: Detector,
    videos: DetectionSet,
    *,
    mode: Mode = "shared",
    every: int = 1,
    half: bool = False,
    people: ProposalSource | None = None,
    progress: bool = True,
) -> Detections:
    """What a detector finds in the videos of a set, in the pixels that the set's boxes mean.

    Every process takes its share of the videos; all get the whole table.

    Args:
        detector: in evaluation mode; its labels are the set's.
        mode, every: see `dense.pieces`.
        half: compute in bfloat16 where that is safe.
        people: where people are, in pixels of the set's boxes; for a detector without proposals.
        progress: show a bar with the time left.
    """
    state = PartialState()
    device = str(next(detector.parameters()).device)
    mine = range(state.process_index, len(videos), state.num_processes)
    bar = tqdm(
        mine, desc="detecting", unit=" videos", leave=False,
        disable=not progress or not state.is_main_process,
    )  # fmt: skip
    found: list[tuple[int, FrameDetections]] = []
    for number in bar:
        path, count = videos.media[number], int(videos.num_frames[number])
        if detector.settings.streams == "rgb":
            frames = read_frames(path, 0, count)
        else:
            frames = read_frames_with_flow(path, 0, count, detector.settings.flow_method)
        parts = list(
            predict_frames(
                detector,
                frames,
                people=people and people.open(video_info(videos, number)),
                mode=mode,
                every=every,
                device=device,
                half=torch.bfloat16 if half else None,
            )
        )
        if parts:
            found.append((number, concatenate_detections(parts)))
    if state.num_processes > 1:
        found = gather_object(found)
    return _table(sorted(found, key=lambda pair: pair[0]), videos)


def video_info(videos: DetectionSet, number: int) -> VideoInfo:
    """A video of a set by its name, and with the size that the set's boxes are for."""
    return VideoInfo(
        Path(videos.names[number]), int(videos.width[number]), int(videos.height[number]),
        math.nan, int(videos.num_frames[number]),
    )  # fmt: skip


def _table(found: Sequence[tuple[int, FrameDetections]], videos: DetectionSet) -> Detections:
    size = np.stack([videos.width, videos.height] * 2, axis=1).astype(np.float64)
    if not found:
        none = np.empty(0, np.int32)
        return Detections(
            none, none, none, np.empty(0), np.empty((0, 4)), videos.names, videos.labels
        )
    numbers = [np.full(len(boxes.frame), number, np.int32) for number, boxes in found]
    return Detections(
        np.concatenate(numbers),
        np.concatenate([boxes.frame for _, boxes in found]),
        np.concatenate([boxes.label for _, boxes in found]),
        np.concatenate([boxes.score for _, boxes in found]),
        np.concatenate([boxes.boxes * size[number] for number, boxes in found]),
        videos.names,
        videos.labels,
    )


def evaluate_dataset(videos: DetectionSet, detections: Detections) -> tuple[Evaluation, Tubes]:
    """Frame-mAP and video-mAP by the protocol `act`, and the tubes, linked as `detect` does."""
    tubes = link(detections, replace(ACT, min_box_score=TUBE_SCORE_THRESHOLD))
    (result,) = evaluate_tables(videos.tubes, PROTOCOLS[:1], detections, tubes)
    return result, tubes
