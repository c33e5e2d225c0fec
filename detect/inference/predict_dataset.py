"""A predictor on all videos of a data set, shared among processes, and its scores there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.flow.cache import read_frames_with_flow
from ...datasets.tables import Detections, Tubes, concatenate_rows, select_rows
from ...datasets.video.media import read_frames
from ...datasets.video.reader import VideoInfo
from ..evaluation.evaluate import Evaluation, evaluate_tables
from ..evaluation.protocols import PROTOCOLS
from ..linking.interface import Calibration
from ..linking.linker import link
from ..people.proposals import ProposalSource
from .clip_geometry import ClipGeometry
from .predictor import Predictor, predict_frames

Table = TypeVar("Table", Detections, Tubes)


def predict_dataset(
    predictor: Predictor,
    videos: DetectionSet,
    *,
    source: ProposalSource | None = None,
    progress: bool = True,
    predictor_of: Callable[[int], Predictor] | None = None,
) -> Detections:
    """The detections in all videos of a set, in the pixels of the set's boxes.

    Every process runs a share of the videos; each returns the whole table.

    Args:
        predictor: its labels are those of the set.
        videos: the set.
        source: where people are, for external proposals; it opens videos by their name in the set.
        progress: show a bar with the time left.
        predictor_of: what predicts one video, by its row in the set; None is `predictor` for all.

    Frames of a video far from those that were annotated are passed over.
    """
    state, config = PartialState(), predictor.config
    mine = range(state.process_index, len(videos), state.num_processes)
    bar = tqdm(
        mine, desc="detecting", unit=" videos", leave=False,
        disable=not progress or not state.is_main_process,
    )  # fmt: skip
    by_video: list[tuple[int, Detections]] = []
    for number in bar:
        path, count = videos.media[number], int(videos.num_frames[number])
        if videos.annotated_frames is not None and source is None and predictor_of is None:
            by_video += [(number, part) for part in _predict_spans(predictor, videos, number)]
            continue
        if config.streams == "rgb":
            frames = read_frames(path, 0, count)
        else:
            frames = read_frames_with_flow(path, 0, count, config.flow_method)
        opened = source.open(video_info(videos, number)) if source else None
        chosen = predictor_of(number) if predictor_of else predictor
        if parts := list(predict_frames(chosen, frames, source=opened)):
            by_video.append((number, concatenate_rows(parts)))
    if state.num_processes > 1:
        by_video = gather_object(by_video)
    return _make_table(sorted(by_video, key=lambda pair: pair[0]), videos)


def _predict_spans(predictor: Predictor, videos: DetectionSet, number: int) -> Iterator[Detections]:
    """The detections of a video from the first to the last annotated frame of each span of them.

    Frames farther away than a clip's context are not read. Spans begin on whole steps of the
    feature map, as the clips of a whole video do.
    """
    assert videos.annotated_frames is not None
    video, frame = videos.annotated_frames.T
    wanted = np.unique(frame[video == number])
    geometry, config = ClipGeometry(predictor.config), predictor.config
    before, after = geometry.context("shared")
    path, count = videos.media[number], int(videos.num_frames[number])
    gaps = np.flatnonzero(np.diff(wanted) > before + after) + 1
    for frames in np.split(wanted, gaps) if len(wanted) else ():
        first, last = int(frames[0]), int(frames[-1])
        start = max(0, first - before) // geometry.round_up(1) * geometry.round_up(1)
        stop = min(count, last + after + 1)
        if config.streams == "rgb":
            clip = read_frames(path, start, stop)
        else:
            clip = read_frames_with_flow(path, start, stop, config.flow_method)
        if parts := list(predict_frames(predictor, clip)):
            rows = concatenate_rows(parts)
            rows = replace(rows, frame=rows.frame + np.int32(start))
            yield select_rows(rows, (rows.frame >= first) & (rows.frame <= last))


def video_info(videos: DetectionSet, number: int) -> VideoInfo:
    """A video of a set by its name, with the size that the set's boxes are for."""
    return VideoInfo(
        path=Path(videos.names[number]), width=int(videos.width[number]),
        height=int(videos.height[number]), fps=math.nan, num_frames=int(videos.num_frames[number]),
    )  # fmt: skip


def _make_table(by_video: Sequence[tuple[int, Detections]], videos: DetectionSet) -> Detections:
    size = np.stack([videos.width, videos.height] * 2, axis=1).astype(np.float64)
    none = np.empty(0, np.int32)
    empty = Detections(
        video=none, frame=none, label=none, score=np.empty(0), boxes=np.empty((0, 4)),
        video_names=videos.names, label_names=videos.labels,
    )  # fmt: skip
    rows = concatenate_rows([empty, *(part for _, part in by_video)])
    counts = [len(part) for _, part in by_video]
    video = np.repeat(np.array([number for number, _ in by_video], np.int32), counts)
    return replace(rows, video=video, boxes=rows.boxes * size[video])


def evaluate_dataset(
    videos: DetectionSet, detections: Detections, calibration: Calibration | None = None
) -> tuple[Evaluation, Tubes]:
    """Frame-mAP and video-mAP by the protocol `act`, and all tubes, linked as `detect` does.

    Only annotated frames count.
    """
    tubes = link(detections, "persons", calibration=calibration)
    counted, counted_tubes = _on_annotated(detections, videos), _on_annotated(tubes, videos)
    (result,) = evaluate_tables(videos.tubes, PROTOCOLS[:1], counted, counted_tubes)
    return result, tubes


def _on_annotated(table: Table, videos: DetectionSet) -> Table:
    """The rows of a table, whose videos are those of the set, on annotated frames."""
    if videos.annotated_frames is None:
        return table
    most = int(max(videos.num_frames.max(), table.frame.max(initial=0) + 1))
    known = videos.annotated_frames[:, 0] * most + videos.annotated_frames[:, 1]
    return select_rows(table, np.isin(table.video.astype(np.int64) * most + table.frame, known))
