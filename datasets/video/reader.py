"""Video files read as RGB frames, by exact frame index, in constant memory.

Frame k is the k-th decoded frame in presentation order, counted from 0, whatever the timestamps
say. Frames are turned and mirrored as the file's display matrix says; pixels are not resampled to
square ones, alpha is dropped and deeper samples are reduced to 8 bits. Of several video streams the
first that is not a cover image is read. A frame whose size differs from that of the first is
resized to it, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .container import DEFAULT_FPS, error_reason, listed_frames, mean_rate, open_video, pixel_aspect
from .decode import DecodedFrame, iter_decoded_frames
from .orientation import Orientation, frame_orientation

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

_SEEK_GAP = 200  # frames; a longer gap between requested frames is crossed by a seek


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video file.

    Attributes:
        path: the file.
        width, height: pixels as shown, after the display matrix.
        fps: mean frames per second; NaN where unknown.
        num_frames: by the container, or None where it does not say; `count_frames` is exact.
        pixel_aspect: width of a pixel over its height, as shown.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int | None
    pixel_aspect: Fraction = Fraction(1)

    @property
    def shown_fps(self) -> float:
        """The rate at which a copy is shown, also where the video's is unknown."""
        return self.fps if self.fps > 0 else DEFAULT_FPS


def probe(path: Path) -> VideoInfo:
    """Reads the properties of a video, and decodes its first frame.

    Raises:
        InputError: there is no such file, or no frame in it can be decoded.
    """
    first = next(iter_decoded_frames(path, 0, 1, threads=1))
    width, height = first.size
    with open_video(path, threads=1) as (container, stream):
        count, fps = listed_frames(container, stream), mean_rate(container, stream)
        aspect = pixel_aspect(stream)
    if frame_orientation(first.image).transpose:
        width, height, aspect = height, width, 1 / aspect
    return VideoInfo(Path(path), width, height, fps, count, aspect)


def count_frames(path: Path) -> int:
    """Counts the frames exactly, by decoding them all.

    Raises:
        InputError: as `probe`.
    """
    return sum(1 for _ in iter_decoded_frames(path, 0, None, threads=0))


def read_video(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[np.ndarray]:
    """Yields the frames start, start + 1, ... before stop as (H, W, 3) uint8 RGB arrays.

    A `start` past the end yields nothing. Where the packets tell the exact frame number, the reader
    seeks to a key frame before `start`; otherwise it decodes from the beginning. (Limitation: a
    packet that is so damaged that it gives no frame is counted when a seek passes over it.)

    Args:
        path: a video file.
        start: the first frame, counted from 0.
        stop: the frame to stop before; None reads to the end.
        threads: decoder threads; 0 is one for each core.

    Raises:
        InputError: as `probe`.

    Warns:
        the file is damaged, and how many frames could be decoded.
    """
    for _, frame in read_timed_video(path, start, stop, threads=threads):
        yield frame


def read_timed_video(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[tuple[float, np.ndarray]]:
    """Like `read_video`, with each frame's presentation time in seconds; times always increase.

    In a container without times, such as a raw stream, the time of frame k is k / fps.
    """
    for time, _, frame in read_frame_spans(path, start, stop, threads=threads):
        yield time, frame


def read_frame_spans(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Like `read_timed_video`; each frame's time is followed by how long it is shown, in seconds.

    It is what the container says of this frame, which need not be the time to the next one.
    """
    to_rgb = _rgb_converter(path)
    for decoded in iter_decoded_frames(path, start, stop, threads):
        yield decoded.time, decoded.duration, to_rgb(decoded)


def read_frames_at(path: Path, frames: Sequence[int], *, threads: int = 1) -> np.ndarray:
    """Reads some frames of a video, in any order; frames may be repeated.

    Args:
        path: a video file.
        frames: T frame numbers, counted from 0.
        threads: decoder threads; 0 is one for each core. One is right for a training loader, which
            reads many clips at a time.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: as `probe`, or a frame is negative or past the end.
    """
    numbers = sorted(set(frames))
    if not numbers:
        raise InputError(f"{path}: an empty list of frames was requested")
    if numbers[0] < 0:
        raise InputError(f"{path}: frame {numbers[0]} was requested; frames count from 0")
    to_rgb = _rgb_converter(path)
    images = {}
    for run in _split_at_gaps(numbers):
        members = set(run)
        for decoded in iter_decoded_frames(path, run[0], run[-1] + 1, threads):
            if decoded.number in members:
                images[decoded.number] = to_rgb(decoded)
    missing = [frame for frame in numbers if frame not in images]
    if missing:
        raise InputError(f"{path}: frame {missing[0]} was requested, but the video ends before it")
    return np.stack([images[frame] for frame in frames])


def _split_at_gaps(frames: list[int]) -> list[list[int]]:
    """Sorted numbers, split at long gaps."""
    runs = [frames[:1]]
    for frame in frames[1:]:
        if frame - runs[-1][-1] > _SEEK_GAP:
            runs.append([])
        runs[-1].append(frame)
    return runs


def _rgb_converter(path: Path) -> Callable[[DecodedFrame], np.ndarray]:
    """Makes a function from decoded frames to (H, W, 3) uint8 RGB arrays, turned as shown.

    It warns once where the size of the frames changes.
    """
    import av
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    orientation: Orientation | None = None
    warned = False

    def to_rgb(decoded: DecodedFrame) -> np.ndarray:
        nonlocal orientation, warned
        if orientation is None:
            # Not that of every frame: H.264 and HEVC may say it with the first one only.
            is_first = decoded.number == 0
            orientation = frame_orientation(decoded.image) if is_first else _orientation(path)
        image, (width, height) = decoded.image, decoded.size
        if (image.width, image.height) != (width, height) and not warned:
            warned = True
            warnings.warn(
                f"{path}: frame {decoded.number} is {image.width}x{image.height}, while the "
                f"video starts with {width}x{height}; such frames are resized",
                stacklevel=2,
            )
        try:
            return image_to_rgb(image, reformatter, orientation, width, height)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(
                f"{path}: frame {decoded.number} has colors that cannot be converted "
                f"({error_reason(error)}); convert the video to H.264 in 4:2:0"
            ) from error

    return to_rgb


def _orientation(path: Path) -> Orientation:
    status = Path(path).stat()
    return _cached_orientation(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _cached_orientation(path: Path, modified: int, size: int) -> Orientation:
    return frame_orientation(next(iter_decoded_frames(path, 0, 1, threads=1)).image)


def image_to_rgb(
    image: VideoFrame,
    reformatter: VideoReformatter,
    orientation: Orientation,
    width: int | None = None,
    height: int | None = None,
) -> np.ndarray:
    """The decoder's image as (H, W, 3) uint8 RGB, resized and then turned as it is shown."""
    from av.video.reformatter import Colorspace

    # Before PyAV 17 the frame's own color matrix is used only where a different one is requested;
    # RGB itself has none.
    rgb = reformatter.reformat(image, width, height, "rgb24", dst_colorspace=Colorspace.ITU601)
    return np.ascontiguousarray(orientation.apply(rgb.to_ndarray()))
