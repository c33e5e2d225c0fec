"""Which frames of a video somebody annotated, and so which ones count."""

from __future__ import annotations

import warnings
from typing import Literal, TypeVar

import numpy as np

from ...datasets.errors import InputError
from ...datasets.formats.annotation_format import GroundTruth
from ...datasets.tables import Detections, PersonRows, Tubes, select_rows
from ..boxes.joins import pack_keys

AnnotatedFrames = Literal["all", "boxed"]
"""Every frame, so that one without a box shows nobody; or only the frames with a box."""
# Someone who is hidden for a while leaves a gap or two in a long tube; frames that nobody annotated
# leave one at every second to fifth box.
_MANY_GAPS = 0.2
_FEW_STEPS = 3  # a video with fewer says nothing about tubes of single boxes
Table = TypeVar("Table", Detections, Tubes, PersonRows)


def frames_to_evaluate(truth: GroundTruth, chosen: AnnotatedFrames | None) -> np.ndarray | None:
    """The frames that count.

    Args:
        truth: the ground truth of the videos to evaluate.
        chosen: what the user says; None leaves it to the format, or to the ground truth itself.

    Returns:
        (F, 2) index into `video_names` and frame; None where all frames count.

    Raises:
        InputError: a tube has many gaps, and neither the user nor the format says whether the
            frames without a box were annotated.
    """
    tubes = truth.tubes
    if chosen == "all":
        return None
    if chosen == "boxed":
        return np.unique(np.stack([tubes.video, tubes.frame], axis=1), axis=0)
    if truth.annotated_frames is not None:
        return truth.annotated_frames
    if truth.frame_unit == "second":
        return None
    step = _sparse_video(tubes)
    if step is not None:
        video, step_length = step
        raise InputError(
            f"{truth.path}: boxes of video {tubes.video_names[video]} stand {step_length} frames "
            "apart; give --annotated-frames boxed if only frames with boxes were annotated, "
            "or all if nobody is on the others"
        )
    return None


def on_frames(table: Table, frames: np.ndarray, source: str) -> Table:
    """The rows of a table on some frames.

    Args:
        table: with the names of the ground truth.
        frames: (F, 2) index into `video_names` and frame.
        source: the file, for messages.

    Warns:
        how many rows are left out.
    """
    num_frames = int(max(table.frame.max(initial=0), frames[:, 1].max(initial=0))) + 1
    num_videos = len(table.video_names)
    keys = pack_keys((table.video, num_videos), (table.frame, num_frames))
    wanted = pack_keys((frames[:, 0], num_videos), (frames[:, 1], num_frames))
    kept = np.isin(keys, wanted)
    if not kept.all():
        warnings.warn(
            f"{source}: {int((~kept).sum())} of {len(kept)} rows are on frames that nobody "
            "annotated, and do not count",
            stacklevel=3,
        )
    return select_rows(table, kept)


def warn_of_gaps(tubes: Tubes) -> None:
    """Says how many detected tubes have gaps."""
    tube, step = _steps(tubes.tube, tubes.frame)
    with_gaps = np.unique(tube[step > 1])
    if len(with_gaps):
        warnings.warn(
            f"{len(with_gaps)} tubes have gaps (the first is tube {with_gaps[0]}); frames without "
            "a box count as not detected",
            stacklevel=3,
        )


def _steps(group: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) the group, and the number of frames from one of its boxes to the next."""
    changes, step = np.diff(group), np.diff(frame)
    if (changes < 0).any() or (step[changes == 0] < 0).any():
        order = np.lexsort((frame, group))
        group, frame = group[order], frame[order]
        changes, step = np.diff(group), np.diff(frame)
    same = (changes == 0) & (step > 0)
    return group[1:][same], step[same]


def _sparse_video(tubes: Tubes) -> tuple[int, int] | None:
    """A video in which many boxes are more than a frame apart, and their usual distance.

    Either within one tube, or, where a tube may be a single box, from one frame with boxes to the
    next.
    """
    numbers, first = np.unique(tubes.tube, return_index=True)
    tube, tube_step = _steps(tubes.tube, tubes.frame)
    index = np.searchsorted(numbers, tube)
    for group, step, videos, few in (
        (index, tube_step, tubes.video[first], 1),
        (*_steps(tubes.video, tubes.frame), np.arange(len(tubes.video_names)), _FEW_STEPS),
    ):
        counts = np.bincount(group, minlength=len(videos))
        apart = np.bincount(group[step > 1], minlength=len(videos))
        sparse = np.flatnonzero((apart > counts * _MANY_GAPS) & (counts >= few))
        if len(sparse):
            distances = step[(group == sparse[0]) & (step > 1)]
            return int(videos[sparse[0]]), int(np.median(distances))
    return None
