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

# MPEG-4: the user data that name the encoder, by which decoders choose how they read. JPEG: the
# tables of quantization and of Huffman codes.
_HEADERS = {
    "mpeg4": re.compile(rb"\x00\x00\x01\xb2(?:(?!\x00\x00\x01).)*", re.DOTALL),
    "mjpeg": re.compile(rb"\xff[\xdb\xc4]"),
}
_HEADER_BYTES = 2048


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
        except (av.FFmpegError, IndexError):
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


def needs_first_packet(path: Path) -> bool:
    """Whether a decoder must have seen the first packet before one that is sought.

    It has a header that a later key frame lacks, or the parameter sets that the container lacks.
    """
    status = Path(path).stat()
    return _cached_needs_first_packet(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _cached_needs_first_packet(path: Path, modified: int, size: int) -> bool:
    with open_video(path, threads=1) as (container, stream):
        name, headers = stream.codec_context.name, stream.codec_context.extradata or b""
        if name == "h264":
            # ISO/IEC 14496-15: the number of sequence parameter sets in the container.
            return headers[:1] != b"\1" or len(headers) < 6 or not headers[5] & 31
        if name not in _HEADERS:
            return name == "hevc"
        first: set[bytes] | None = None
        for packet in container.demux(stream):
            if packet.size and packet.is_keyframe:
                present = set(_HEADERS[name].findall(memoryview(packet)[:_HEADER_BYTES]))
                first = present if first is None else first
                if first - present:
                    return True
    return False


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
