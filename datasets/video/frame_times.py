"""Which frame of a video file is which, by its packets alone, so that any can be sought."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from .container import UNTIMED_FORMATS, listed_packets, open_video

# Containers and codecs whose packets hold exactly one visible frame each, so that frames can be
# counted without decoding. VP8 has hidden reference frames; raw streams are cut by a parser.
_INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"}
INDEXED_CODECS = {"h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg", "ffv1", "prores", "rawvideo"}

# A smaller packet of these codecs repeats the frame before it, and decoders give none for it.
_PLACEHOLDER_CODECS = {"h264", "hevc", "mpeg4"}
_PLACEHOLDER_BYTES = 8

# Before this build, x264 wrote 4:4:4 with an error that decoders repeat where they know the build.
# It stands in the first packet, and FFmpeg loses it in a seek and with several threads.
_FIRST_RIGHT_X264 = 151
_FULL_CHROMA = ("yuv444", "yuvj444", "gbr")
_X264_BUILD = re.compile(rb"x264 - core (\d+)")


def frame_times(path: Path) -> np.ndarray | None:
    """(N,) presentation times of all frames by the packets; None where these are not reliable."""
    status = Path(path).stat()
    return _cached_frame_times(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _cached_frame_times(path: Path, modified: int, size: int) -> np.ndarray | None:
    if must_read_from_start(path):
        return None
    with open_video(path, threads=1) as (container, stream):
        codec = stream.codec_context
        if (
            container.format.name not in _INDEXED_FORMATS
            or codec.name not in INDEXED_CODECS
            or (container.format.name in UNTIMED_FORMATS and codec.has_b_frames)
            or codec.pix_fmt == "pal8"  # the palette may change with any packet
        ):
            return None
        name, num_listed = codec.name, listed_packets(container, stream)
        try:
            packets = [
                (packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt, packet.size)
                for packet in container.demux(stream)
                if packet.size
            ]
        except av.FFmpegError:
            return None
    if not packets or len(packets) < num_listed:
        return None
    if any(pts is None or corrupt for pts, _, _, corrupt, _ in packets):
        return None
    if any(is_placeholder(name, packet_size) for *_, packet_size in packets):
        return None
    first_pts, first_is_key, *_ = packets[0]
    times = np.sort(np.array([pts for pts, *_ in packets], np.int64))
    if not first_is_key or times[0] != first_pts or (np.diff(times) == 0).any():
        return None
    return np.sort(np.array([pts for pts, _, discard, *_ in packets if not discard], np.int64))


def is_placeholder(codec: str, size: int) -> bool:
    """Whether a packet of this codec and so many bytes only says that the frame stays."""
    return codec in _PLACEHOLDER_CODECS and size <= _PLACEHOLDER_BYTES


def must_read_from_start(path: Path) -> bool:
    """Whether a file's frames are right only if one thread decodes it from its first packet."""
    status = Path(path).stat()
    return _cached_must_read_from_start(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _cached_must_read_from_start(path: Path, modified: int, size: int) -> bool:
    with open_video(path, threads=1) as (container, stream):
        codec = stream.codec_context
        if codec.name != "h264" or not (codec.pix_fmt or "").startswith(_FULL_CHROMA):
            return False
        try:
            packet = next(container.demux(stream))
        except (av.FFmpegError, StopIteration):
            return True
        build = _X264_BUILD.search(bytes(packet))
    return build is None or int(build[1]) < _FIRST_RIGHT_X264
