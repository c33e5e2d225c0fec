"""AVA's seconds and fractions as frames and pixels, and back, by the videos' rates and sizes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...box_coordinates import rescale_boxes
from ...errors import InputError, some_of
from ...tables import Detections, Tubes, Videos, select_rows
from ...video_names import VideoIndex

Table = TypeVar("Table", bound=Detections | Tubes)
_CLIP_START = 900
"""AVA annotates minutes 15 to 30 of films: copies of that part alone begin at this second."""


def seconds_to_frames(table: Table, videos: Videos | None, source: Path) -> Table:
    """A table whose `frame` is a second and whose boxes are fractions, in frames and pixels.

    Second t is frame t times the video's rate, rounded. Where seconds lie behind the end of a
    video, and fit it without the 900 seconds before AVA's first, the video is that part of its
    film.

    Raises:
        InputError: the rate or the size of a video is not known, or a second is behind its end.

    Warns:
        which videos begin at second 900.
    """
    rows = _rows_of(table, videos, source)
    assert videos is not None
    fps, length = videos.fps[rows], videos.num_frames[rows]
    seconds = table.frame.astype(np.int64)
    last = np.full(len(rows), -1)
    np.maximum.at(last, table.video, seconds)
    first = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(first, table.video, seconds)
    is_late = np.rint(last * fps) >= length
    is_part = is_late & (first >= _CLIP_START) & (np.rint((last - _CLIP_START) * fps) < length)
    if (bad := is_late & ~is_part).any():
        code = int(bad.argmax())
        raise InputError(
            f"{source}: second {last[code]} of video {table.video_names[code]} is behind its end "
            f"({length[code] / fps[code]:.1f} s); correct videos.csv, or give the right videos"
        )
    if is_part.any():
        names = [name for name, part in zip(table.video_names, is_part) if part]
        warnings.warn(
            f"{source}: {len(names)} videos begin at second {_CLIP_START} of their film "
            f"({some_of(names)}), because they end before the seconds of their boxes",
            stacklevel=3,
        )
    start = np.where(is_part, _CLIP_START, 0)[table.video]
    frame = np.rint((seconds - start) * fps[table.video]).astype(np.int32)
    boxes = rescale_boxes(table.boxes, (1, 1), _sizes(table, videos, rows))
    return replace(table, frame=frame, boxes=boxes)


def frames_to_seconds(table: Table, videos: Videos | None, source: Path) -> Table:
    """The rows of a table on whole seconds, in seconds and fractions of the frame.

    Raises:
        InputError: the rate or the size of a video is not known, or no row is on a whole second.

    Warns:
        how many rows are on other frames.
    """
    rows = _rows_of(table, videos, source)
    assert videos is not None
    fps = videos.fps[rows][table.video]
    second = np.rint(table.frame / fps)
    kept = np.rint(second * fps) == table.frame
    if len(table) and not kept.any():
        raise InputError(
            f"{source}: AVA has boxes on whole seconds only, and none of {len(table)} boxes is"
        )
    if not kept.all():
        warnings.warn(
            f"{source}: AVA has boxes on whole seconds only; {int((~kept).sum())} of {len(kept)} "
            "boxes are on other frames, and are left out",
            stacklevel=3,
        )
    boxes = rescale_boxes(table.boxes, _sizes(table, videos, rows), (1, 1))
    table = replace(table, frame=second.astype(np.int32), boxes=boxes)
    return select_rows(table, kept)


def _rows_of(table: Detections | Tubes, videos: Videos | None, source: Path) -> np.ndarray:
    """(V,) the row of each video in the table of videos."""
    index = VideoIndex(videos.video if videos is not None else ())
    found = [index.find(name) for name in table.video_names]
    unknown = [name for name, row in zip(table.video_names, found) if row is None]
    if videos is None or unknown:
        raise InputError(
            f"{source}: AVA's seconds and fractions need the rate and the size of each video, and "
            f"those of {some_of(unknown)} are not known; write them into videos.csv beside it "
            "(video,num_frames,width,height,fps), or give --videos or --media"
        )
    rows = np.array([row for row in found if row is not None], np.int64)
    if (bad := ~np.isfinite(videos.fps[rows])).any():
        raise InputError(
            f"{source}: the rate (fps) of video {table.video_names[int(bad.argmax())]} is not "
            "known; write it into videos.csv"
        )
    return rows


def _sizes(table: Detections | Tubes, videos: Videos, rows: np.ndarray) -> np.ndarray:
    size = np.stack([videos.width[rows], videos.height[rows]], axis=1).astype(np.float64)
    return size[table.video]
