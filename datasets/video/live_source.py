"""Frames of a camera, a stream or a file as they arrive; a slow consumer loses the oldest ones.

A thread reads the source into a short queue, so that the delay never exceeds the length of the
queue, however slow the consumer is. `LiveSource.limit_rate` lets a slow consumer have fewer frames
at even intervals.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np

from ..errors import InputError
from .container import LENIENT_METADATA
from .live_queue import Clock, FrameQueue, LiveFrame, OpenSource, Pace, SourceFrame
from .orientation import Orientation, frame_orientation
from .reader import image_to_rgb, read_timed_video

_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,hls"
_MAX_RETRY_WAIT = 30.0  # seconds between two attempts to connect
_POLL_SECONDS = 0.1  # between two checks whether to stop


def open_live_source(source: str, *, timeout: float, at_once: bool = False) -> OpenSource:
    """Makes a function that connects to a source.

    Args:
        source: a camera's number, an address (rtsp://, http://, udp://, ...) or a video file.
        timeout: seconds after which a connection to an address fails.
        at_once: read a file as fast as possible, instead of at its own rate.

    Raises:
        InputError: no such file. Other errors occur when the function is called.
    """
    if source.isdigit():
        return lambda: read_camera(int(source))
    if "://" in source:
        return lambda: read_stream(source, timeout)
    path = Path(source)
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "file not found"
        raise InputError(
            f"{source}: {reason}; give a camera number, an address such as rtsp://..., "
            "or a video file"
        )
    return lambda: read_file(path, at_once)


def read_camera(number: int) -> Iterator[np.ndarray]:
    """Yields the frames of a camera of this machine.

    Raises:
        InputError: there is no such camera.
    """
    import cv2

    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            where = f" (/dev/video{number})" if sys.platform == "linux" else ""
            raise InputError(
                f"camera {number}{where}: cannot be opened; check that it is plugged in and not "
                "in use by another program"
            )
        while True:
            succeeded, bgr = camera.read()
            if not succeeded:
                return
            yield np.ascontiguousarray(bgr[..., ::-1])
    finally:
        camera.release()


def read_stream(address: str, timeout: float) -> Iterator[np.ndarray]:
    """Yields the frames of a stream, each of its own size; damaged ones are skipped.

    Playlists can open only network addresses, never files.

    Raises:
        InputError: it cannot be reached, contains no video, or sends nothing for `timeout` seconds.
    """
    import av
    from av.video.reformatter import VideoReformatter

    options = {"rtsp_transport": "tcp", "protocol_whitelist": _PROTOCOLS}
    shown = _without_password(address)
    try:
        with av.open(
            address, container_options=options, timeout=timeout, **LENIENT_METADATA
        ) as container:
            if not container.streams.video:
                raise InputError(f"{shown}: contains no video; give the address of a video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(f"{shown}: its video has a codec that cannot be decoded")
            stream.thread_type = "SLICE"  # frame threads would delay some frames
            reformatter = VideoReformatter()
            orientation: Orientation | None = None
            for packet in container.demux(stream):
                try:
                    images = stream.decode(packet)
                except av.error.InvalidDataError:
                    continue
                for image in images:
                    orientation = orientation or frame_orientation(image)
                    yield image_to_rgb(image, reformatter, orientation)
    except IndexError:
        return  # PyAV's end of a stream to which another was added
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ExitError):
            reason = f"nothing for {timeout:g} s"
        raise InputError(
            f"{shown}: cannot be read ({reason}); check that the stream is running"
        ) from error


def _without_password(address: str) -> str:
    """The address for messages."""
    scheme, divider, rest = address.partition("://")
    if not divider:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def read_file(path: Path, at_once: bool = False) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the timed frames of a video file as they are due, or as fast as possible."""
    offset: float | None = None
    for seconds, frame in read_timed_video(path):
        if not at_once:
            if offset is None:
                offset = time.monotonic() - seconds
            time.sleep(max(0.0, offset + seconds - time.monotonic()))
        yield seconds, frame


def repeat_source(open_once: OpenSource) -> OpenSource:
    """A source that starts again whenever it ends."""

    def frames() -> Iterator[SourceFrame]:
        while True:
            yield from open_once()

    return frames


class LiveSource:
    """A source that a thread reads into a queue.

    Args:
        open_source: connects; called again to reconnect.
        name: what messages call the source.
        queue_size: the largest number of waiting frames.
        timeout: seconds without a frame after which the source counts as stalled.
        retries: reconnections in a row after the source has stalled or ended.
        drop: whether a full queue drops its oldest frame; otherwise the source waits.

    Attributes:
        waited: seconds that the consumer has waited for frames.
    """

    def __init__(
        self,
        open_source: OpenSource,
        name: str,
        *,
        queue_size: int = 16,
        timeout: float = 10.0,
        retries: int = 0,
        drop: bool = True,
    ) -> None:
        self.name, self.timeout, self.retries = _without_password(name), timeout, retries
        self._open, self._queue_size, self._drop = open_source, queue_size, drop
        self._stopped = False
        self._clock, self._pace = Clock(), Pace()
        self._queue = self._new_queue(0, 0)
        self.waited = 0.0

    @property
    def dropped(self) -> int:
        """Number of frames that were read but never consumed."""
        return self._queue.num_dropped

    def stop(self) -> None:
        """Ends `frames`; may be called from a signal handler or another thread."""
        self._stopped = True

    def limit_rate(self, rate: float) -> None:
        """Keeps at most `rate` frames a second from now on, at even intervals.

        The others count as dropped. Where frames are not to be dropped, this changes nothing.
        """
        if self._drop:
            self._pace.rate = rate

    def _new_queue(self, num_read: int, num_dropped: int) -> FrameQueue:
        return FrameQueue(
            self._queue_size, self._drop, num_read, num_dropped, self._clock, self._pace
        )

    def frames(self) -> Iterator[LiveFrame]:
        """Yields the frames until the source ends for good or `stop` is called.

        Raises:
            InputError: the source cannot be opened at first, or has failed, stalled or ended more
                often than `retries`.
        """
        failures, has_started = 0, False
        while not self._stopped:
            queue = self._new_queue(self._queue.num_read, self._queue.num_dropped)
            self._queue = queue
            Thread(target=queue.fill, args=(self._open,), name=self.name, daemon=True).start()
            try:
                while (frame := self._wait_for_frame(queue)) is not None:
                    has_started, failures = True, 0
                    yield frame
            finally:
                # A thread that hangs in a read is abandoned; it cannot fill this queue any more.
                queue.close()
            if self._stopped or (self.retries == 0 and queue.done and queue.error is None):
                return
            error = queue.error or InputError(
                f"{self.name}: "
                f"{'the stream ended' if queue.done else f'no frame for {self.timeout:g} s'}"
            )
            is_expected = isinstance(error, InputError | OSError)
            if failures == self.retries or not has_started or not is_expected:
                raise error
            failures += 1
            warnings.warn(
                f"{error}; reconnecting (attempt {failures} of {self.retries})", stacklevel=2
            )
            self._sleep(min(_MAX_RETRY_WAIT, 2.0 ** (failures - 1)) if failures > 1 else 0.0)

    def _wait_for_frame(self, queue: FrameQueue) -> LiveFrame | None:
        """The next frame; None where the source has ended or stalled, or `stop` was called."""
        begin = time.monotonic()
        while not self._stopped:
            frame = queue.get(_POLL_SECONDS)
            waited = time.monotonic() - begin
            if frame is not None or queue.done or waited > self.timeout:
                self.waited += waited
                return frame
        return None

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
