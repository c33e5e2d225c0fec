"""RGB frames written as an MP4 that browsers play, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ..errors import InputError
from ..storage.files import atomic_write

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream


# In order of preference: x264 (GPL), OpenH264 (BSD), the encoders of macOS and Windows, MPEG-4.
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf", "mpeg4")
_OPTIONS = {
    # x264's macroblock tree makes other bytes of the same frames from time to time.
    "libx264": {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"},
    "mpeg4": {"qscale": "3"},
}
MAX_SIDE = 16384
"""Pixels that the longer side of an H.264 video may have."""

_BITS_PER_PIXEL = 0.2  # for encoders without constant quality
# With a variable rate, times are rounded to a thousandth of the mean frame interval.
_TICKS_PER_FRAME = 1000
_MAX_TICKS_PER_SECOND = 10**9  # FFmpeg's numbers have 32 bits
_MPEG4_MAX_TICKS_PER_SECOND = 65535  # ISO/IEC 14496-2, vop_time_increment_resolution
_LONGEST_INTERVAL = 1001  # seconds from frame to frame


@contextmanager
def raise_write_errors(path: Path) -> Iterator[None]:
    """Raises an InputError where PyAV or the system cannot write the file of this path."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}); check the free disk space, "
            "or choose another folder"
        ) from error


class VideoWriter:
    """Writes an MP4 frame by frame, all of the same size; `open_video_writer` opens it."""

    def __init__(
        self,
        temporary: Path,
        path: Path,
        fps: float,
        encoders: Sequence[str],
        pixel_aspect: Fraction,
    ) -> None:
        self._temporary = temporary
        self._path = path
        rate = Fraction(fps).limit_denominator(1001)
        self._rate = max(rate, Fraction(1, _LONGEST_INTERVAL))
        self._encoders = encoders
        self._pixel_aspect = pixel_aspect
        self._container: OutputContainer | None = None
        self._shape: tuple[int, ...] = ()
        self._first_time = 0.0
        self._pts = -1
        self._last_packet: Packet | None = None
        self._first_dts = 0
        self.num_frames = 0

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Appends a frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of the same size every time.
            time: its presentation time in seconds, increasing; the first frame's time becomes 0.
                None: frame k is at k / fps. Either all frames have a time or none has.

        Raises:
            InputError: the encoder fails, or the disk is full.
            ValueError: the frame has another shape or type.
        """
        import av
        from av.video.reformatter import Colorspace, VideoReformatter

        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(
                f"frames must be (H, W, 3) uint8 arrays, not {frame.shape} {frame.dtype}"
            )
        with raise_write_errors(self._path):
            if self._container is None:
                self._shape = frame.shape
                self._first_time = time or 0.0
                self._container = self._open_container(frame.shape[1], frame.shape[0])
                self._reformatter = VideoReformatter()  # a new one for each frame takes longer
            if frame.shape != self._shape:
                raise ValueError(
                    f"all frames must have the same size: this one is {frame.shape}, the first "
                    f"{self._shape}"
                )
            # H.264 in 4:2:0 needs even sizes.
            frame = np.pad(
                frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge"
            )
            image = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(frame)),
                format="yuv420p", dst_colorspace=Colorspace.ITU709,
            )  # fmt: skip
            seconds = self.num_frames / self._rate if time is None else time - self._first_time
            self._pts = max(round(seconds / self._tick), self._pts + 1)
            image.pts = self._pts
            image.time_base = self._tick
            self._mux(self._container, self._stream.encode(image))
        self.num_frames += 1

    def close(self) -> None:
        """Writes the encoder's remaining frames and the file's index."""
        if self._container is None:
            raise InputError(f"{self._path}: not written, because there were no frames")
        with raise_write_errors(self._path):
            self._mux(self._container, self._stream.encode(None))
            if (last := self._last_packet) is not None:
                # The muxer takes other durations from the packets that follow.
                end = self._pts + round(1 / self._rate / self._tick)
                last.duration = end - ((last.dts or 0) - self._first_dts)
                self._container.mux(last)
            self._container.close()

    def _mux(self, container: OutputContainer, packets: Iterable[Packet]) -> None:
        """Writes packets, except the last one so far."""
        for packet in packets:
            if self._last_packet is None:
                self._first_dts = packet.dts or 0
            else:
                container.mux(self._last_packet)
            self._last_packet = packet

    def discard(self) -> None:
        """Closes the file after an error; its content does not matter."""
        import av

        if self._container is not None:
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                self._container.close()

    def _open_container(self, width: int, height: int) -> OutputContainer:
        """Opens the first encoder that is available and accepts this size."""
        import av

        if max(width, height) > MAX_SIDE:
            raise InputError(
                f"{self._path}: a video of {width}x{height} pixels cannot be written: H.264 takes "
                f"at most {MAX_SIDE} a side; shrink the video first"
            )
        reasons = []
        for name in self._encoders:
            container = av.open(
                f"file:{self._temporary}", "w", format="mp4", options={"movflags": "faststart"}
            )
            try:
                self._stream = self._add_stream(container, name, width, height)
                self._stream.codec_context.open()
            except (av.FFmpegError, ValueError) as error:
                reasons.append(f"{name}: {error}")
                container.close()
                continue
            if name == "mpeg4":
                warnings.warn(
                    f"{self._path}: this PyAV has no H.264 encoder; MPEG-4 Part 2 is used, "
                    "which browsers do not play. `pip install av` brings H.264",
                    stacklevel=4,
                )
            return container
        raise InputError(
            f"{self._path}: no video encoder works ({'; '.join(reasons)}); reinstall av"
        )

    def _add_stream(
        self, container: OutputContainer, name: str, width: int, height: int
    ) -> VideoStream:
        options = _OPTIONS.get(name, {})
        stream = cast("VideoStream", container.add_stream(name, rate=self._rate, options=options))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        limit = _MPEG4_MAX_TICKS_PER_SECOND if name == "mpeg4" else _MAX_TICKS_PER_SECOND
        ticks = max(1, min(_TICKS_PER_FRAME, limit // self._rate.numerator))
        self._tick = 1 / (self._rate * ticks)
        context = stream.codec_context
        context.time_base = self._tick
        context.sample_aspect_ratio = self._pixel_aspect
        if name not in _OPTIONS:
            context.bit_rate = int(_BITS_PER_PIXEL * stream.width * stream.height * self._rate)
        # BT.709, limited range: written explicitly, because players guess it by the frame size.
        context.color_primaries = context.color_trc = context.colorspace = 1
        context.color_range = 1
        return stream


@contextmanager
def open_video_writer(
    path: Path,
    fps: float,
    *,
    pixel_aspect: Fraction = Fraction(1),
    encoders: Sequence[str] = _ENCODERS,
) -> Iterator[VideoWriter]:
    """Opens an MP4 for writing: H.264, 4:2:0, index in front, so that browsers can stream it.

    An odd width or height grows by one pixel, a copy of the edge. `path` is written when the block
    ends without an error, and keeps its old content otherwise.

    Args:
        path: the file, ending in .mp4.
        fps: mean frames per second; kept as a fraction such as 30000/1001.
        pixel_aspect: width of a pixel over its height, for players.
        encoders: FFmpeg's encoders in order of preference.

    Raises:
        InputError: another extension, no frame was written, the encoder fails, or the disk is
            full.

    Warns:
        only MPEG-4 Part 2 is available, which browsers do not play.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path}: the name of a drawn video must end in .mp4")
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"{path}: cannot be written at {fps} frames per second")
    with atomic_write(path) as temporary:
        writer = VideoWriter(temporary, path, fps, encoders, pixel_aspect)
        try:
            yield writer
            writer.close()
        finally:
            writer.discard()
