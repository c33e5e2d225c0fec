"""Opening of video files, and what their containers say of them: rate, frames, shape of pixels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from ..errors import InputError
from .image import MAX_PIXELS, check_size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Containers without presentation times; those that the demuxer reports are invented.
UNTIMED_FORMATS = {"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg", "av1", "obu"}
# Of these, containers without a frame rate; the bit stream may have one.
_RAW_FORMATS = UNTIMED_FORMATS - {"avi"}
# Containers whose edit list may hide frames that the header counts.
_EDITED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2"}

# PyAV 19 accepts metadata that are not UTF-8, and no longer has this option.
LENIENT_METADATA: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)

# HLS and FFmpeg's own; DASH has <MPD. One may name itself, and be read forever.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat ")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path makes one slash of two
DEFAULT_FPS = 25.0
"""Frames per second of a video whose rate is unknown."""

_HIGHEST_RATE = 1000  # frames per second; beyond, the other statement of the rate counts
_LARGEST_RATIO = 100  # of the sides of a pixel, both ways; what is beyond is damage
_LARGEST_TERM = 255  # of that ratio, which all encoders take


@contextmanager
def open_video(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a video file and its first video stream that is not a cover image.

    Raises:
        InputError: the file is missing, is not a video, has only other streams, or a codec that
            cannot be decoded, or frames of more than `MAX_PIXELS`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a video file")
    if not path.exists():
        if _ADDRESS.match(str(path)):
            raise InputError(
                f"{path}: is an address; give it to `actiontubes detect` or `actiontubes live`, or "
                "download the video first"
            )
        if path.is_symlink():
            raise InputError(f"{path}: is a link to a file that does not exist")
        raise InputError(f"{path}: file not found")
    if not path.is_file():
        raise InputError(f"{path}: is not a file; give a video file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    try:
        with path.open("rb") as file:
            start = file.read(2048)
        if start.startswith(_PLAYLISTS) or b"<MPD" in start:
            raise InputError(f"{path}: is a playlist, not a video; give the file that it names")
        # "file:" stops a colon in a name from being read as a protocol; the whitelist stops
        # playlists from opening anything but files.
        container = av.open(
            f"file:{path}", container_options={"protocol_whitelist": "file"}, **LENIENT_METADATA
        )
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({error_reason(error)}); it may be damaged or "
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
        if stream.codec_context is None:
            raise InputError(
                f"{path}: its video has a codec that cannot be decoded; convert it to H.264"
            )
        check_size(stream.width, stream.height, path)
        # So that no later frame may be larger.
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        yield container, stream


def error_reason(error: Exception) -> str:
    """The reason of an FFmpeg or system error, in words."""
    return getattr(error, "strerror", None) or str(error)


def mean_rate(container: InputContainer, stream: VideoStream) -> float:
    """Mean frames per second, NaN where unknown."""
    timestamps = _avi_timestamps(container, stream)
    if stream.time_base and len(timestamps) > 1:
        # Where frames were dropped, the header has the rate of those that are left and dropped.
        span = (timestamps[-1] - timestamps[0]) * stream.time_base
        return float((len(timestamps) - 1) / span)
    average, guessed = stream.average_rate, stream.guessed_rate
    # DV has the rate of its ticks for the average.
    is_doubtful = container.format.name in _RAW_FORMATS or (average or 0) > _HIGHEST_RATE
    rate = guessed or average if is_doubtful else average or guessed
    return float(rate) if rate else math.nan


def listed_frames(container: InputContainer, stream: VideoStream) -> int | None:
    """The number of frames by the container, or None; to be asked before packets are read."""
    return len(_avi_timestamps(container, stream)) or stream.frames or None


def listed_packets(container: InputContainer, stream: VideoStream) -> int:
    """The number of packets by the container, or 0; to be asked before packets are read."""
    if container.format.name in _EDITED_FORMATS:
        return sum(entry.size > 0 for entry in stream.index_entries)
    return listed_frames(container, stream) or 0


def _avi_timestamps(container: InputContainer, stream: VideoStream) -> list[int]:
    """The ticks of an AVI's frames without those that were dropped.

    Dropped frames are packets of no bytes. Empty where the file is no AVI, drops no frame, or its
    index is not whole.
    """
    if container.format.name != "avi" or len(stream.index_entries) >= stream.frames:
        return []
    with Path(container.name.removeprefix("file:")).open("rb") as file:
        head = file.read(8)
    if container.size < int.from_bytes(head[4:], "little"):  # cut off before its index
        return []
    return [entry.timestamp for entry in stream.index_entries if entry.size > 0]


def listed_seconds(stream: VideoStream) -> float:
    """The end of the stream in seconds by Matroska's tag, which has no frame count; otherwise 0."""
    hours, minutes, seconds = [*stream.metadata.get("DURATION", "").split(":"), "", ""][:3]
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a stored pixel over its height; 1 where the file does not say."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not 1 / _LARGEST_RATIO <= aspect <= _LARGEST_RATIO:
        return Fraction(1)
    return Fraction(aspect).limit_denominator(_LARGEST_TERM)
