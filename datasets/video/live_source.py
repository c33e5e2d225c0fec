"""Frames of a camera, a stream or a file as they come; who is too slow for them loses the oldest.

A thread reads. Between it and the user stands a short queue, so that what is read lies no farther
behind than the queue is long, whatever the user does.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread

import numpy as np

from ..errors import InputError
from .reader import read_timed_video

Open = Callable[[], Iterator[np.ndarray]]
"""Connects, and gives (H, W, 3) uint8 RGB pictures until the source ends."""

_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,hls"
_LONGEST_WAIT = 30.0  # seconds between two attempts to connect
_GLANCE = 0.1  # seconds between two looks at whether to stop


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame as it came.

    Attributes:
        number: its place at the source, from 0; frames that were dropped count.
        time: of its arrival, in seconds of `time.monotonic`.
        picture: (H, W, 3) uint8 RGB.
    """

    number: int
    time: float
    picture: np.ndarray


def open_live_source(source: str, *, timeout: float, at_once: bool = False) -> Open:
    """How to read a source.

    Args:
        source: a camera's number, an address (rtsp://, http://, udp://, ...) or a video file.
        timeout: seconds after which a connection to an address is given up.
        at_once: a file as fast as it can be read, instead of at its own rate.

    Raises:
        InputError: no such file. The rest is only known when it is opened.
    """
    if source.isdigit():
        return lambda: camera_pictures(int(source))
    if "://" in source:
        return lambda: stream_pictures(source, timeout)
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"{source}: file not found; give a camera number, an address such as rtsp://..., "
            "or a video file"
        )
    return lambda: file_pictures(path, at_once)


def camera_pictures(number: int) -> Iterator[np.ndarray]:
    """Pictures of a camera of this machine.

    Raises:
        InputError: there is none of that number.
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
            came, picture = camera.read()
            if not came:
                return
            yield np.ascontiguousarray(picture[..., ::-1])
    finally:
        camera.release()


def stream_pictures(address: str, timeout: float) -> Iterator[np.ndarray]:
    """Pictures of a stream, each of its own size; damaged ones are left out.

    Playlists open network addresses only, never files.

    Raises:
        InputError: it cannot be reached, holds no video, or gives no packet for `timeout` seconds.
    """
    import av
    from av.video.reformatter import Colorspace, VideoReformatter

    options = {"rtsp_transport": "tcp", "protocol_whitelist": _PROTOCOLS}
    shown = _without_password(address)
    try:
        with av.open(address, container_options=options, timeout=timeout) as container:
            if not container.streams.video:
                raise InputError(f"{shown}: contains no video; give the address of a video stream")
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # threads by frames would hold some of them back
            reformatter = VideoReformatter()
            for packet in container.demux(stream):
                try:
                    pictures = stream.decode(packet)
                except av.error.InvalidDataError:
                    continue
                for picture in pictures:
                    # See `video.read_frames` on the colour space.
                    rgb = reformatter.reformat(
                        picture, format="rgb24", dst_colorspace=Colorspace.ITU601
                    )
                    turned = np.rot90(rgb.to_ndarray(), round(picture.rotation / 90))
                    yield np.ascontiguousarray(turned)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, av.error.ExitError):
            reason = f"nothing for {timeout:g} s"
        raise InputError(
            f"{shown}: cannot be read ({reason}); check that the stream is running"
        ) from error


def _without_password(address: str) -> str:
    """The address as messages show it."""
    scheme, divider, rest = address.partition("://")
    if not divider:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def file_pictures(path: Path, at_once: bool = False) -> Iterator[np.ndarray]:
    """Pictures of a video file, each when it is due, or as fast as they can be read."""
    begin = first = None
    for shown, picture in read_timed_video(path):
        if not at_once:
            if begin is None or first is None:
                begin, first = time.monotonic(), shown
            time.sleep(max(0.0, begin + shown - first - time.monotonic()))
        yield picture


def repeat_source(open_once: Open) -> Open:
    """A source that begins anew whenever it ends."""

    def pictures() -> Iterator[np.ndarray]:
        while True:
            yield from open_once()

    return pictures


class LiveSource:
    """A source with its thread.

    Args:
        open_pictures: connects; called again to connect anew.
        name: what messages call it.
        longest: frames that wait at most.
        timeout: seconds without a frame after which the source has stalled.
        retries: how often in a row it is connected anew after it has stalled or ended.
        drop: drop the oldest frame where one too many waits; else the source waits.
    """

    def __init__(
        self,
        open_pictures: Open,
        name: str,
        *,
        longest: int = 16,
        timeout: float = 10.0,
        retries: int = 0,
        drop: bool = True,
    ) -> None:
        self.name, self.timeout, self.retries = _without_password(name), timeout, retries
        self._open, self._longest, self._drop = open_pictures, longest, drop
        self._stopped = False
        self._queue = _Queue(longest, drop, 0, 0)

    @property
    def dropped(self) -> int:
        """Frames that came and that nobody has seen."""
        return self._queue.dropped

    def stop(self) -> None:
        """Lets `frames` end; may be called from a signal handler or another thread."""
        self._stopped = True

    def frames(self) -> Iterator[LiveFrame]:
        """The frames in their order, until the source ends for good or `stop` is called.

        Raises:
            InputError: it cannot be opened at first, or has failed, stalled or ended once more
                than it is connected anew.
        """
        failed, ever = 0, False
        while not self._stopped:
            queue = _Queue(self._longest, self._drop, self._queue.number, self._queue.dropped)
            self._queue = queue
            Thread(target=queue.fill, args=(self._open,), name=self.name, daemon=True).start()
            try:
                while (frame := self._next_of(queue)) is not None:
                    ever, failed = True, 0
                    yield frame
            finally:
                # A thread that hangs in a read is left to itself; it fills no queue any more.
                queue.close()
            if self._stopped or (self.retries == 0 and queue.done and queue.error is None):
                return
            error = queue.error or InputError(
                f"{self.name}: "
                f"{'the stream ended' if queue.done else f'no frame for {self.timeout:g} s'}"
            )
            known = isinstance(error, InputError | OSError)
            if failed == self.retries or not ever or not known:
                raise error
            failed += 1
            warnings.warn(
                f"{error}; reconnecting (attempt {failed} of {self.retries})", stacklevel=2
            )
            self._sleep(min(_LONGEST_WAIT, 2.0 ** (failed - 1)) if failed > 1 else 0.0)

    def _next_of(self, queue: _Queue) -> LiveFrame | None:
        """The next frame; None where the queue has ended, has stalled or is not wanted any more."""
        patience = time.monotonic() + self.timeout
        while not self._stopped:
            frame = queue.get(_GLANCE)
            if frame is not None or queue.done or time.monotonic() > patience:
                return frame
        return None

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < end:
            time.sleep(_GLANCE)


class _Queue:
    """Frames of one connection that wait to be looked at."""

    def __init__(self, longest: int, drop: bool, number: int, dropped: int) -> None:
        self.number, self.dropped = number, dropped
        self.error: BaseException | None = None
        self._frames: deque[LiveFrame] = deque()
        self._longest, self._drop = longest, drop
        self._ended = self._closed = False
        self._changed = Condition()

    @property
    def done(self) -> bool:
        """Nothing waits, and nothing more will come."""
        with self._changed:
            return self._ended and not self._frames

    def fill(self, open_pictures: Open) -> None:
        """What the thread does."""
        error: BaseException | None = None
        try:
            for picture in open_pictures():
                if not self._put(picture):
                    break
        except BaseException as caught:
            error = caught
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()

    def _put(self, picture: np.ndarray) -> bool:
        """Appends a picture; False where nobody wants it any more."""
        now = time.monotonic()
        with self._changed:
            while not self._drop and len(self._frames) == self._longest and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            if len(self._frames) == self._longest:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(LiveFrame(self.number, now, picture))
            self.number += 1
            self._changed.notify_all()
        return True

    def get(self, seconds: float) -> LiveFrame | None:
        """The oldest frame, or None where none comes within this time."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended, seconds)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Lets the thread end."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
