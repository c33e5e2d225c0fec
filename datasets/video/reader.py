"""Video files read as RGB frames, by exact frame index, in constant memory.

Frame k is the k-th frame that the decoder shows, in presentation order, counted from 0, whatever
the timestamps say. Pictures are turned as the file's rotation flag asks; pixels are not resampled
to square ones, alpha is dropped and deeper samples are cut to 8 bits. Of several video streams the
first that is no cover picture is read. A picture whose size differs from the stream's first one is
resized to it, with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .decode import DecodedFrame, iter_decoded_frames, mean_rate, open_video

# Wanted frames farther apart than this are reached by a seek, not by decoding what lies between.
_LONG_GAP = 200


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        path: the file.
        width, height: pixels as shown, after the rotation flag.
        fps: mean frames per second; NaN where unknown.
        num_frames: as the container says, or None where it does not; `count_frames` makes sure.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int | None


def probe(path: Path) -> VideoInfo:
    """Opens a video and decodes its first frame.

    Raises:
        InputError: there is no such file, or no frame in it can be decoded.
    """
    first = next(iter_decoded_frames(path, 0, 1, threads=1))
    width, height = first.size
    if first.picture.rotation % 180:
        width, height = height, width
    with open_video(path, threads=1) as (container, stream):
        fps = mean_rate(container, stream)
        return VideoInfo(Path(path), width, height, fps, stream.frames or None)


def count_frames(path: Path) -> int:
    """The exact number of frames, by decoding them all.

    Raises:
        InputError: as `probe`.
    """
    return sum(1 for _ in iter_decoded_frames(path, 0, None, threads=0))


def read_video(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[np.ndarray]:
    """Yields the frames start, start + 1, ... before stop as (H, W, 3) uint8 RGB arrays.

    A `start` past the end yields nothing. The file is sought to a key frame before `start` where
    its packets tell the exact frame number, and decoded from the beginning elsewhere. (One case is
    out of reach: a packet so damaged that it gives no frame is counted when a seek passes over it.)

    Args:
        path: a video file.
        start: the first frame, counted from 0.
        stop: the frame to stop before; None reads to the end.
        threads: decoder threads; 0 takes one for each core.

    Raises:
        InputError: as `probe`. Of a damaged file all that can be decoded is yielded, and a warning
            says how many frames that were.
    """
    for _, frame in read_timed_video(path, start, stop, threads=threads):
        yield frame


def read_timed_video(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[tuple[float, np.ndarray]]:
    """Like `read_video`, each frame with its presentation time in seconds; times always grow.

    In a container without times, such as AVI, frame k is shown at k / fps.
    """
    to_rgb = _rgb_converter(path)
    for shown in iter_decoded_frames(path, start, stop, threads):
        yield shown.time, to_rgb(shown)


def read_frames_at(path: Path, frames: Sequence[int], *, threads: int = 1) -> np.ndarray:
    """Reads some frames of a video, in any order and repeated at will.

    Args:
        path: a video file.
        frames: T frame numbers, counted from 0.
        threads: decoder threads; 0 takes one for each core. One is right for a training loader,
            which reads many clips at a time.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: as `probe`, or a frame is negative or past the end.
    """
    wanted = sorted(set(frames))
    if not wanted:
        raise InputError(f"{path}: an empty list of frames was requested")
    if wanted[0] < 0:
        raise InputError(f"{path}: frame {wanted[0]} was requested; frames count from 0")
    to_rgb = _rgb_converter(path)
    pictures = {}
    for run in _runs(wanted):
        members = set(run)
        for shown in iter_decoded_frames(path, run[0], run[-1] + 1, threads):
            if shown.number in members:
                pictures[shown.number] = to_rgb(shown)
    missing = [frame for frame in wanted if frame not in pictures]
    if missing:
        raise InputError(f"{path}: frame {missing[0]} was requested, but the video ends before it")
    return np.stack([pictures[frame] for frame in frames])


def _runs(frames: list[int]) -> list[list[int]]:
    """Sorted numbers, split at long gaps."""
    runs = [frames[:1]]
    for frame in frames[1:]:
        if frame - runs[-1][-1] > _LONG_GAP:
            runs.append([])
        runs[-1].append(frame)
    return runs


def _rgb_converter(path: Path) -> Callable[[DecodedFrame], np.ndarray]:
    """A function from decoded pictures to RGB arrays as shown; warns once of a change of size."""
    from av.video.reformatter import Colorspace, VideoReformatter

    reformatter = VideoReformatter()
    warned = False

    def to_rgb(shown: DecodedFrame) -> np.ndarray:
        nonlocal warned
        picture, (width, height) = shown.picture, shown.size
        if (picture.width, picture.height) != (width, height) and not warned:
            warned = True
            warnings.warn(
                f"{path}: frame {shown.number} is {picture.width}x{picture.height}, while the "
                f"video starts with {width}x{height}; such frames are resized",
                stacklevel=2,
            )
        # Before PyAV 17 a picture's own matrix is heeded only where another one is asked for; RGB
        # itself has none.
        rgb = reformatter.reformat(
            picture, width, height, "rgb24", dst_colorspace=Colorspace.ITU601
        )
        # The angle is that of a counter-clockwise turn, as rot90's.
        turned = np.rot90(rgb.to_ndarray(), round(picture.rotation / 90))
        return np.ascontiguousarray(turned)

    return to_rgb
