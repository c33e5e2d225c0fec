"""A video as inference takes it: a file, a folder of frames, an array, or frames that come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError
from ...datasets.video.media import probe_video, read_frames
from ...datasets.video.reader import VideoInfo, read_video
from ...datasets.video_names import utf8_name

VideoLike = str | Path | np.ndarray | Iterable[np.ndarray]


@dataclass(frozen=True)
class VideoInput:
    """A video to run a model on.

    Attributes:
        name: what the tables call it.
        info: its size and rate; the number of frames may be unknown.
        frames: reads its frames, (H, W, 3) uint8 RGB, from a frame number on.
    """

    name: str
    info: VideoInfo
    frames: Callable[[int], Iterator[np.ndarray]]


def open_video_file(path: Path, name: str | None = None) -> VideoInput:
    """A video file, or a folder of numbered frames; by default its stem is its name.

    Raises:
        InputError: there is no such file, or no frame in it can be decoded.
    """
    info = probe_video(path)
    if path.is_dir():
        return VideoInput(
            name or utf8_name(path.name), info, lambda start: read_frames(path, start)
        )
    return VideoInput(name or utf8_name(path.stem), info, lambda start: read_video(path, start))


def open_video(video: VideoLike, fps: float | None = None) -> VideoInput:
    """Any video that the API takes.

    Args:
        video: a path; or an array (T, H, W, 3) or an iterable of (H, W, 3) frames, uint8 RGB, which
            are called "video".
        fps: frames per second where no file says it.

    Raises:
        InputError: the file cannot be read, or there is no frame.
        ValueError: the frames have another shape or type.
    """
    if isinstance(video, str | Path):
        opened = open_video_file(Path(video))
        return opened if fps is None else replace(opened, info=replace(opened.info, fps=fps))
    if isinstance(video, np.ndarray):
        first, count = next(iter(video), None), len(video)
    else:
        iterator = iter(video)
        first, count = next(iterator, None), None
    if first is None:
        raise InputError("video: contains no frame")
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8:
        raise ValueError(
            f"frames are {first.dtype} of shape {first.shape}; they must be uint8 of shape "
            "(height, width, 3)"
        )

    unread = [first]

    def frames(start: int) -> Iterator[np.ndarray]:
        if isinstance(video, np.ndarray):
            return iter(video[start:])
        if start or not unread:
            raise InputError(
                "video: its frames came from an iterator, which cannot be read twice; give a file "
                "or an array"
            )
        return chain([unread.pop()], iterator)

    info = VideoInfo(Path("video"), first.shape[1], first.shape[0], fps or math.nan, count)
    return VideoInput("video", info, frames)
