"""Video files read as RGB frames, by exact frame index, in constant memory.

Frame k is the k-th frame that the decoder shows, in presentation order, counted from 0, whatever
the timestamps say. Pictures are turned as the file's rotation flag asks; pixels are not resampled
to square ones, alpha is dropped and deeper samples are cut to 8 bits. Of several video streams the
first that is no cover picture is read. A picture whose size differs from the stream's first one is
resized to it, with a warning.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .files import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers that store no presentation times: those that the demuxer reports are made up.
_UNTIMED_FORMATS = {"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg", "av1", "obu"}
# Of these, containers that store no frame rate either; the bit stream may.
_RAW_FORMATS = _UNTIMED_FORMATS - {"avi"}
# Where a packet holds exactly one shown frame, packets count frames without decoding them. Not so
# for VP8 (hidden reference frames), nor for streams that a parser cuts into packets.
_INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
_INDEXED_CODECS = {"h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg", "ffv1", "prores", "rawvideo"}
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
    with _opened(path, threads=1) as (container, stream):
        width, height = stream.width, stream.height
        frame = next(_decode(container, stream, _Damage()), None)
        if frame is None:
            raise _undecodable(path)
        if not (width and height):
            width, height = frame.width, frame.height
        if frame.rotation % 180:
            width, height = height, width
        fps = _mean_rate(container, stream)
        return VideoInfo(Path(path), width, height, fps, stream.frames or None)


def count_frames(path: Path) -> int:
    """The exact number of frames, by decoding them all.

    Raises:
        InputError: as `probe`.
    """
    return sum(1 for _ in _shown(path, 0, None, threads=0))


def read_frames(
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
    for _, frame in read_timed_frames(path, start, stop, threads=threads):
        yield frame


def read_timed_frames(
    path: Path, start: int = 0, stop: int | None = None, *, threads: int = 0
) -> Iterator[tuple[float, np.ndarray]]:
    """Like `read_frames`, each frame with its presentation time in seconds; times always grow.

    In a container without times, such as AVI, frame k is shown at k / fps.
    """
    to_rgb = _rgb_converter(path)
    for shown in _shown(path, start, stop, threads):
        yield shown.time, to_rgb(shown)


def read_clip(path: Path, frames: Sequence[int], *, threads: int = 1) -> np.ndarray:
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
        raise InputError(f"{path}: a clip of no frames was asked for")
    if wanted[0] < 0:
        raise InputError(f"{path}: frame {wanted[0]} was asked for; frames count from 0")
    to_rgb = _rgb_converter(path)
    pictures = {}
    for run in _runs(wanted):
        members = set(run)
        for shown in _shown(path, run[0], run[-1] + 1, threads):
            if shown.number in members:
                pictures[shown.number] = to_rgb(shown)
    missing = [frame for frame in wanted if frame not in pictures]
    if missing:
        raise InputError(f"{path}: frame {missing[0]} was asked for, which is past its last frame")
    return np.stack([pictures[frame] for frame in frames])


def _runs(frames: list[int]) -> list[list[int]]:
    """Sorted numbers, split at long gaps."""
    runs = [frames[:1]]
    for frame in frames[1:]:
        if frame - runs[-1][-1] > _LONG_GAP:
            runs.append([])
        runs[-1].append(frame)
    return runs


class _Shown(NamedTuple):
    """A decoded picture with its place in the video, and the size that all pictures take."""

    number: int
    time: float
    picture: VideoFrame
    size: tuple[int, int]


@dataclass
class _Damage:
    """What went wrong while decoding.

    Attributes:
        packets: how many packets were read.
        first_error: the first message of the demuxer or decoder.
    """

    packets: int = 0
    first_error: str | None = None

    def note(self, error: Exception) -> None:
        self.first_error = self.first_error or _reason(error)


class _ThreadsLoseFrames(Exception):
    """A decoder of several threads met an error, and drops good frames near it."""


def _shown(path: Path, start: int, stop: int | None, threads: int) -> Iterator[_Shown]:
    """The decoded frames from `start` until `stop`; again by one thread after an error."""
    number = start
    try:
        for shown in _attempt(path, start, stop, threads, seek=start > 0):
            yield shown
            number = shown.number + 1
    except _ThreadsLoseFrames:
        yield from _attempt(path, number, stop, threads=1, seek=False)


def _attempt(
    path: Path, start: int, stop: int | None, threads: int, seek: bool
) -> Iterator[_Shown]:
    if stop is not None and stop <= start:
        return
    if seek:
        with _opened(path, threads) as (container, stream):
            damage = _Damage()
            frames = _sought(path, container, stream, start, damage)
            if frames is not None:
                yield from _numbered(path, container, stream, frames, start, start, stop, damage)
                return
    with _opened(path, threads) as (container, stream):
        damage = _Damage()
        frames = _decode(container, stream, damage)
        yield from _numbered(path, container, stream, frames, 0, start, stop, damage)


def _numbered(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    frames: Iterator[VideoFrame],
    number: int,
    start: int,
    stop: int | None,
    damage: _Damage,
) -> Iterator[_Shown]:
    """Numbers `frames` from `number` on, and yields those from `start` until `stop`."""
    rate = _mean_rate(container, stream)
    rate = 25.0 if math.isnan(rate) else rate
    untimed = container.format.name in _UNTIMED_FORMATS
    size = stream.width, stream.height
    from_first = number == 0
    last = -math.inf
    for frame in frames:
        if not all(size):
            size = frame.width, frame.height
        if untimed or frame.pts is None or stream.time_base is None:
            time = number / rate
        else:
            time = float(frame.pts * stream.time_base)
        last = time if time > last else last + 1 / rate
        if number >= start:
            yield _Shown(number, last, frame, size)
        number += 1
        if number == stop:
            break
    if number == 0:
        raise _undecodable(path)
    # The last frame of a video of variable rate may be held for long: one second of leeway.
    ends_early = damage.packets < stream.frames or last + 2 / rate + 1 < _stated_end(stream)
    if from_first and number != stop and ends_early:
        if stream.thread_count != 1:
            raise _ThreadsLoseFrames
        damage.first_error = damage.first_error or "it ends too early"
    if damage.first_error:
        of = f" of {stream.frames}" if stream.frames >= number else ""
        warnings.warn(
            f"{path}: damaged or cut short ({damage.first_error}); {number}{of} frames could be "
            "read",
            stacklevel=2,
        )


def _stated_end(stream: VideoStream) -> float:
    """Seconds until the end of the stream by Matroska's tag, which counts no frames; else 0."""
    hours, minutes, seconds = [*stream.metadata.get("DURATION", "").split(":"), "", ""][:3]
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def _decode(
    container: InputContainer, stream: VideoStream, damage: _Damage
) -> Iterator[VideoFrame]:
    """Every frame that can be decoded from where the container stands; errors go to `damage`."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            damage.note(error)
            packet = None
        try:
            frames = stream.decode(packet)
        except EOFError:
            return  # the demuxer's own last packet has flushed the decoder
        except (av.FFmpegError, ValueError) as error:
            if stream.thread_count != 1:
                raise _ThreadsLoseFrames from error
            damage.note(error)
            frames = []
        yield from frames
        if packet is None:
            return
        damage.packets += packet.dts is not None or packet.size > 0


def _sought(
    path: Path, container: InputContainer, stream: VideoStream, start: int, damage: _Damage
) -> Iterator[VideoFrame] | None:
    """The frames from exactly `start` on, or None where only decoding from 0 is exact."""
    times = _frame_times(path)
    if times is None:
        return None
    if start >= len(times):
        return iter(())
    container.seek(int(times[start]), stream=stream)
    frames = _decode(container, stream, damage)
    previous = None
    for frame in frames:
        # Interlaced H.264 may come as one packet a field.
        if frame.pts is None or frame.interlaced_frame:
            return None
        number = int(np.searchsorted(times, frame.pts))
        in_step = previous is None or number == previous + 1
        if not in_step or number > start or times[number] != frame.pts:
            return None
        if number == start:
            return chain([frame], frames)
        previous = number
    return None


def _frame_times(path: Path) -> np.ndarray | None:
    """(N,) presentation times of all frames, read from the packets; None where they do not tell."""
    status = Path(path).stat()
    return _cached_frame_times(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _cached_frame_times(path: Path, modified: int, size: int) -> np.ndarray | None:
    import av

    with _opened(path, threads=1) as (container, stream):
        if (
            container.format.name not in _INDEXED_FORMATS
            or stream.codec_context.name not in _INDEXED_CODECS
            or (container.format.name in _UNTIMED_FORMATS and stream.codec_context.has_b_frames)
        ):
            return None
        try:
            packets = [_times_of(packet) for packet in container.demux(stream) if packet.size]
        except av.FFmpegError:
            return None
        promised = stream.frames or len(packets)
    if not packets or len(packets) < promised:
        return None
    if any(pts is None or corrupt for pts, _, _, corrupt in packets):
        return None
    first_pts, first_is_key, _, _ = packets[0]
    times = np.sort(np.array([pts for pts, _, _, _ in packets], np.int64))
    if not first_is_key or times[0] != first_pts or (np.diff(times) == 0).any():
        return None
    return np.sort(np.array([pts for pts, _, discard, _ in packets if not discard], np.int64))


def _times_of(packet: Packet) -> tuple[int | None, bool, bool, bool]:
    return packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt


def _rgb_converter(path: Path) -> Callable[[_Shown], np.ndarray]:
    """A function from decoded pictures to RGB arrays as shown; warns once of a change of size."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    warned = False

    def to_rgb(shown: _Shown) -> np.ndarray:
        nonlocal warned
        picture, (width, height) = shown.picture, shown.size
        if (picture.width, picture.height) != (width, height) and not warned:
            warned = True
            warnings.warn(
                f"{path}: frame {shown.number} is {picture.width}x{picture.height} where the video "
                f"began as {width}x{height}; such frames are resized",
                stacklevel=2,
            )
        rgb = reformatter.reformat(picture, width=width, height=height, format="rgb24")
        # The angle is that of a counter-clockwise turn, as rot90's.
        turned = np.rot90(rgb.to_ndarray(), round(picture.rotation / 90))
        return np.ascontiguousarray(turned)

    return to_rgb


def _mean_rate(container: InputContainer, stream: VideoStream) -> float:
    raw = container.format.name in _RAW_FORMATS
    rate = (stream.guessed_rate if raw else None) or stream.average_rate or stream.guessed_rate
    return float(rate) if rate else math.nan


@contextmanager
def _opened(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and the video stream to read of it."""
    import av

    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a video file")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; get it again")
    try:
        # "file:" keeps a colon in a name from being taken for a protocol, and the whitelist keeps
        # playlists in disguise from opening anything but files.
        container = av.open(
            f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"}
        )
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({_reason(error)}); give a video file, or get it "
            "again if it was cut short"
        ) from error
    with container:
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams or container.format.name == "tty":  # FFmpeg paints text files
            raise InputError(f"{path}: has no video stream; give a file with pictures")
        stream = streams[0]
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        yield container, stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _undecodable(path: Path) -> InputError:
    return InputError(f"{path}: no frame in it can be decoded; get it again or convert it to MP4")
