"""Decoding of video files: exact frame numbers, seeks where they are exact, damaged files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from .container import (
    DEFAULT_FPS,
    UNTIMED_FORMATS,
    error_reason,
    listed_packets,
    listed_seconds,
    mean_rate,
    open_video,
)
from .frame_times import (
    INDEXED_CODECS,
    frame_times,
    is_placeholder,
    must_read_from_start,
    needs_first_packet,
)

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MAX_REORDERED_FRAMES = 16  # the limit of H.264 and HEVC


class DecodedFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        number: its place in the video, from 0.
        time: its presentation time in seconds.
        duration: how long it is shown by the container, in seconds; where that does not say it,
            one over the mean rate.
        image: the decoder's frame.
        size: width and height of the first frame, to which all are resized.
    """

    number: int
    time: float
    duration: float
    image: VideoFrame
    size: tuple[int, int]


@dataclass
class _DecodeErrors:
    """What went wrong while decoding.

    Attributes:
        packets: packets that were read.
        hidden: those of them for which the decoder gives no frame: an edit list hides it, or it is
            the one before.
        first_error: the first message of the demuxer or decoder.
    """

    packets: int = 0
    hidden: int = 0
    first_error: str | None = None

    def add(self, error: Exception) -> None:
        self.first_error = self.first_error or error_reason(error)


class _Clock:
    """Presentation times of consecutive frames in seconds, by the container; always increasing."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        rate = mean_rate(container, stream)
        self.rate = DEFAULT_FPS if math.isnan(rate) else rate
        self.last = -math.inf
        self._format, self._tick = container.format.name, stream.time_base
        # The decoder gives frames of an AVI with B-frames after a later packet.
        self._is_late = self._format == "avi" and stream.codec_context.has_b_frames
        self._late_by = 0.0

    def time(self, frame: VideoFrame, number: int) -> float:
        """The time of the next frame."""
        time = self._listed_time(frame)
        if self._is_late and number == 0 and time is not None:
            self._late_by = time
        if time is not None:
            time -= self._late_by
        elif self.last == -math.inf:
            time = number / self.rate
        if time is None or time <= self.last:
            time = self.last + 1 / self.rate
        self.last = time
        return time

    def duration(self, frame: VideoFrame) -> float:
        """How long a frame is shown."""
        if self._format in UNTIMED_FORMATS or self._tick is None or frame.duration <= 0:
            return 1 / self.rate
        return float(frame.duration * self._tick)

    def _listed_time(self, frame: VideoFrame) -> float | None:
        if self._format == "avi":
            # The place of the packet that completed the frame, which counts dropped frames.
            ticks = frame.dts
        else:
            ticks = None if self._format in UNTIMED_FORMATS else frame.pts
        return None if ticks is None or self._tick is None else float(ticks * self._tick)


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
            if threads != 1 and must_read_from_start(path):
                stream.thread_count = 1
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
    clock, from_first = _Clock(container, stream), number == 0
    num_listed = listed_packets(container, stream) if from_first else 0
    size = stream.width, stream.height
    for frame in frames:
        if not all(size):
            size = frame.width, frame.height
        time = clock.time(frame, number)
        if number >= start:
            yield DecodedFrame(number, time, clock.duration(frame), frame, size)
        number += 1
        if number == stop:
            break
    if number == 0:
        raise InputError(
            f"{path}: none of its frames can be decoded; download it again, or convert it to MP4"
        )
    if number != stop and clock.last > -math.inf:
        # With a variable rate the last frame may last long: one second is tolerated.
        ends_early = clock.last + 2 / clock.rate + 1 < listed_seconds(stream)
        lost_frames = False
        if from_first:
            ends_early |= errors.packets < num_listed
            decodable = errors.packets - errors.hidden
            lost_frames = stream.codec_context.name in INDEXED_CODECS and number < decodable
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
        except IndexError:
            packet = None  # PyAV's end of a file in which a stream began after its first seconds
        except (av.FFmpegError, OSError) as error:
            errors.add(error)
            packet = None
        if packet is not None and not packet.size and packet.dts is not None:
            continue  # a dropped frame; the demuxer's last packet has no bytes and no time
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
            codec = stream.codec_context.name
            errors.hidden += packet.is_discard or is_placeholder(codec, packet.size)


def _seek_exactly(
    path: Path, container: InputContainer, stream: VideoStream, start: int, errors: _DecodeErrors
) -> Iterator[VideoFrame] | None:
    """Seeks to frame `start`; None where only decoding from frame 0 gives exact numbers."""
    import av

    times = frame_times(path)
    if times is None:
        return None
    if start >= len(times):
        return iter(())
    try:
        if needs_first_packet(path):
            for packet in islice(container.demux(stream), 1):
                stream.decode(packet)
        # Demuxers that seek by decoding time may land on the key frame after `start`.
        for target in (start, max(0, start - _MAX_REORDERED_FRAMES)):
            container.seek(int(times[target]), stream=stream)
            frames = _skip_to(start, _decode(container, stream, errors), times)
            if frames is not None:
                return frames
    except av.FFmpegError:
        pass  # reading from the start says what is damaged
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
