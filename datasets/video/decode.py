"""Decoding of video files: exact frame numbers, seeks where they are exact, damaged files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


# Containers without presentation times; those that the demuxer reports are invented.
_UNTIMED_FORMATS = {"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg", "av1", "obu"}
# Of these, containers without a frame rate; the bit stream may have one.
_RAW_FORMATS = _UNTIMED_FORMATS - {"avi"}
# Containers and codecs whose packets hold exactly one visible frame each, so that frames can be
# counted without decoding. VP8 has hidden reference frames; raw streams are cut by a parser.
_INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
# Containers whose edit list may hide frames that the header counts.
_EDITED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2"}
_INDEXED_CODECS = {"h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg", "ffv1", "prores", "rawvideo"}

_MAX_REORDERED_FRAMES = 16  # the limit of H.264 and HEVC


class DecodedFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: its place in the video, from 0.
        time: its presentation time in seconds.
        image: the decoder's frame.
        size: width and height of the first frame, to which all are resized.
    """

    number: int
    time: float
    image: VideoFrame
    size: tuple[int, int]


@dataclass
class _DecodeErrors:
    """What went wrong while decoding.

    Attributes:
        packets: packets that were read.
        discarded: those of them that an edit list hides.
        first_error: the first message of the demuxer or decoder.
    """

    packets: int = 0
    discarded: int = 0
    first_error: str | None = None

    def add(self, error: Exception) -> None:
        self.first_error = self.first_error or _reason(error)


class _ThreadedDecodeError(Exception):
    """A decoder with several threads met an error; it drops good frames near it."""


def iter_decoded_frames(
    path: Path, start: int, stop: int | None, threads: int
) -> Iterator[DecodedFrame]:
    """Decodes the frames from `start` until `stop`; after an error, again with one thread."""
    number = start
    try:
        for decoded in _decode_range(path, start, stop, threads, seek=start > 0):
            yield decoded
            number = decoded.number + 1
    except _ThreadedDecodeError:
        yield from _decode_range(path, number, stop, threads=1, seek=False)


def _decode_range(
    path: Path, start: int, stop: int | None, threads: int, seek: bool
) -> Iterator[DecodedFrame]:
    if stop is not None and stop <= start:
        return
    for first in (start, 0) if seek else (0,):
        with open_video(path, threads) as (container, stream):
            errors = _DecodeErrors()
            frames: Iterator[VideoFrame] | None
            if first:
                frames = _seek_exactly(path, container, stream, first, errors)
            else:
                frames = _decode(container, stream, errors)
            if frames is not None:
                yield from _number_frames(
                    path, container, stream, frames, first, start, stop, errors
                )
                return


def _number_frames(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    frames: Iterator[VideoFrame],
    number: int,
    start: int,
    stop: int | None,
    errors: _DecodeErrors,
) -> Iterator[DecodedFrame]:
    """Numbers `frames` from `number` on, and yields those from `start` until `stop`.

    Raises:
        _ThreadedDecodeError: several threads decode, and frames are missing.
        InputError: there is no frame.

    Warns:
        frames are missing at the end, or could not be decoded.
    """
    rate = mean_rate(container, stream)
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
            yield DecodedFrame(number, last, frame, size)
        number += 1
        if number == stop:
            break
    if number == 0:
        raise InputError(
            f"{path}: none of its frames can be decoded; download it again, or convert it to MP4"
        )
    if number != stop and last > -math.inf:
        # With a variable rate the last frame may last long: one second is tolerated.
        ends_early = last + 2 / rate + 1 < _listed_seconds(stream)
        lost_frames = False
        if from_first:
            ends_early |= errors.packets < _listed_packets(container, stream)
            decodable = errors.packets - errors.discarded
            lost_frames = stream.codec_context.name in _INDEXED_CODECS and number < decodable
        if (ends_early or lost_frames) and stream.thread_count != 1:
            raise _ThreadedDecodeError
        if ends_early:
            errors.first_error = errors.first_error or "it ends too early"
    if errors.first_error:
        of = f" of {stream.frames}" if stream.frames >= number else ""
        read = f"before frame {stop}" if number == stop else f"{number}{of} frames could be read"
        warnings.warn(
            f"{path}: is damaged or incomplete ({errors.first_error}); {read}", stacklevel=2
        )


def _listed_packets(container: InputContainer, stream: VideoStream) -> int:
    """The number of packets by the container; 0 where it does not say."""
    if container.format.name in _EDITED_FORMATS:
        return len(getattr(stream, "index_entries", ()))  # since PyAV 15
    return stream.frames


def _listed_seconds(stream: VideoStream) -> float:
    """The end of the stream in seconds by Matroska's tag, which has no frame count; otherwise 0."""
    hours, minutes, seconds = [*stream.metadata.get("DURATION", "").split(":"), "", ""][:3]
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def _decode(
    container: InputContainer, stream: VideoStream, errors: _DecodeErrors
) -> Iterator[VideoFrame]:
    """Decodes every frame from the container's position on; errors are added to `errors`.

    Raises:
        _ThreadedDecodeError: an error while several threads decode.
    """
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            errors.add(error)
            packet = None
        try:
            frames = stream.decode(packet)
        except EOFError:
            return  # the demuxer's own last packet has flushed the decoder
        except (av.FFmpegError, ValueError) as error:
            if stream.thread_count != 1:
                raise _ThreadedDecodeError from error
            errors.add(error)
            frames = []
        yield from frames
        if packet is None:
            return
        if packet.size:
            errors.packets += 1
            errors.discarded += packet.is_discard


def _seek_exactly(
    path: Path, container: InputContainer, stream: VideoStream, start: int, errors: _DecodeErrors
) -> Iterator[VideoFrame] | None:
    """Seeks to frame `start`; None where only decoding from frame 0 gives exact numbers."""
    times = _frame_times(path)
    if times is None:
        return None
    if start >= len(times):
        return iter(())
    # Demuxers that seek by decoding time may land on the key frame after `start`.
    for target in (start, max(0, start - _MAX_REORDERED_FRAMES)):
        container.seek(int(times[target]), stream=stream)
        frames = _skip_to(start, _decode(container, stream, errors), times)
        if frames is not None:
            return frames
    return None


def _skip_to(
    start: int, frames: Iterator[VideoFrame], times: np.ndarray
) -> Iterator[VideoFrame] | None:
    """Skips to frame `start`; None where the frames do not follow each other as in `times`."""
    previous = None
    for frame in frames:
        # Interlaced H.264 may have one packet for each field.
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
    """(N,) presentation times of all frames by the packets; None where these are not reliable."""
    status = Path(path).stat()
    return _cached_frame_times(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _cached_frame_times(path: Path, modified: int, size: int) -> np.ndarray | None:
    import av

    with open_video(path, threads=1) as (container, stream):
        if (
            container.format.name not in _INDEXED_FORMATS
            or stream.codec_context.name not in _INDEXED_CODECS
            or (container.format.name in _UNTIMED_FORMATS and stream.codec_context.has_b_frames)
        ):
            return None
        try:
            packets = [
                (packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt)
                for packet in container.demux(stream)
                if packet.size
            ]
        except av.FFmpegError:
            return None
        num_listed = _listed_packets(container, stream)
    if not packets or len(packets) < num_listed:
        return None
    if any(pts is None or corrupt for pts, _, _, corrupt in packets):
        return None
    first_pts, first_is_key, _, _ = packets[0]
    times = np.sort(np.array([pts for pts, _, _, _ in packets], np.int64))
    if not first_is_key or times[0] != first_pts or (np.diff(times) == 0).any():
        return None
    return np.sort(np.array([pts for pts, _, discard, _ in packets if not discard], np.int64))


def mean_rate(container: InputContainer, stream: VideoStream) -> float:
    """Mean frames per second, NaN where unknown."""
    raw = container.format.name in _RAW_FORMATS
    rate = (stream.guessed_rate if raw else None) or stream.average_rate or stream.guessed_rate
    return float(rate) if rate else math.nan


@contextmanager
def open_video(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a video file and its first video stream that is not a cover image.

    Raises:
        InputError: the file is missing, is not a video, or has only other streams.
    """
    import av

    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a video file")
    if not path.exists():
        raise InputError(f"{path}: file not found")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    # PyAV 19 accepts metadata that are not UTF-8, and no longer has this option.
    lenient: Any = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        # "file:" stops a colon in a name from being read as a protocol; the whitelist stops
        # playlists from opening anything but files.
        container = av.open(
            f"file:{path}", container_options={"protocol_whitelist": "file"}, **lenient
        )
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({_reason(error)}); it may be damaged or "
            "not a video"
        ) from error
    with container:
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams or container.format.name == "tty":  # FFmpeg renders text files
            raise InputError(f"{path}: contains no video, only other streams")
        stream = streams[0]
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        yield container, stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
