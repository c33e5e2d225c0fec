"""A video as inference takes it: a file, a folder of frames, an array, or frames that come."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError
from ...datasets.video.media import probe_video, read_frames
from ...datasets.video.reader import VideoInfo, read_frame_spans, read_video
from ...datasets.video_names import utf8_name

VideoLike = str | Path | np.ndarray | Iterable[np.ndarray]


@dataclass(frozen=True)
class VideoInput:
    """A video to run a model on.

    Attributes:
        name: what the tables call it.
        info: its size and rate; the number of frames may be unknown.
        frames: reads its frames, (H, W, 3) uint8 RGB, from a frame number on.
        timed_frames: reads all frames, each after its time and how long it is shown, in seconds;
            None where the rate alone says when frames are shown.
    """

    name: str
    info: VideoInfo
    frames: Callable[[int], Iterator[np.ndarray]]
    timed_frames: Callable[[], Iterator[tuple[float, float, np.ndarray]]] | None = None


class FrameTimes:
    """When the frames of a video are shown, noted while they are read; 8 bytes a frame."""

    def __init__(self) -> None:
        self._starts = array("d")
        self._end = 0.0

    def __len__(self) -> int:
        return len(self._starts)

    def read(self, video: VideoInput) -> Iterator[np.ndarray]:
        """All frames of the video, as they come."""
        for time, duration, frame in (video.timed_frames or _at_rate(video))():
            self._starts.append(time)
            self._end = time + duration
            yield frame

    def seconds(self, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """When frames begin, (N,), and when others end, to the microsecond.

        A frame ends when the next one begins. NaN where the rate is unknown.
        """
        bounds = np.append(self._starts, self._end).round(6)
        return bounds[first], bounds[last + 1]


def _at_rate(video: VideoInput) -> Callable[[], Iterator[tuple[float, float, np.ndarray]]]:
    fps = video.info.fps
    return lambda: ((number / fps, 1 / fps, frame) for number, frame in enumerate(video.frames(0)))


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
    return VideoInput(
        name or utf8_name(path.stem), info, lambda start: read_video(path, start),
        lambda: read_frame_spans(path),
    )  # fmt: skip


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
        if fps is not None:
            opened = replace(opened, info=replace(opened.info, fps=fps), timed_frames=None)
        return opened
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
