"""The frames of a live source that wait for a slow consumer, in a queue that a thread fills."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition

import numpy as np

SourceFrame = np.ndarray | tuple[float, np.ndarray]
"""A frame, (H, W, 3) uint8 RGB; one of a file after its time in the video in seconds."""
OpenSource = Callable[[], Iterator[SourceFrame]]
"""Connects to a source and yields frames until it ends."""


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of a live source.

    Attributes:
        number: its place in the source, from 0, counting dropped frames.
        time: its arrival, in seconds of `time.monotonic`.
        image: (H, W, 3) uint8 RGB.
        seconds: when it is shown: in a file, by the video's timestamps (a repeated one goes on);
            else since the first frame arrived.
    """

    number: int
    time: float
    image: np.ndarray
    seconds: float


class Clock:
    """When frames are shown; see `LiveFrame.seconds`."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._last = self._offset = self._interval = 0.0

    def seconds(self, now: float, listed: float | None) -> float:
        """Of a frame that arrived at `now`, and is at `listed` seconds of its file."""
        if self._start is None:
            self._start = now
            return 0.0 if listed is None else self._keep(listed)
        if listed is None:
            return now - self._start
        if listed + self._offset <= self._last:  # a file begins again
            self._offset = self._last + self._interval - listed
        return self._keep(listed + self._offset)

    def _keep(self, seconds: float) -> float:
        self._interval, self._last = seconds - self._last, seconds
        return seconds


class Pace:
    """Which frames are kept so that there are at most `rate` a second."""

    def __init__(self) -> None:
        self.rate = float("inf")
        self._credit, self._last = 1.0, 0.0

    def accepts(self, now: float) -> bool:
        if self.rate == float("inf"):
            return True
        self._credit = min(self._credit + self.rate * (now - self._last), 1.5)
        self._last = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class FrameQueue:
    """The waiting frames of one connection."""

    def __init__(
        self,
        size: int,
        drop: bool,
        num_read: int,
        num_dropped: int,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.num_read, self.num_dropped = num_read, num_dropped
        self._clock, self._pace = clock, pace
        self.error: BaseException | None = None
        self._frames: deque[LiveFrame] = deque()
        self._size, self._drop = size, drop
        self._ended = self._closed = False
        self._changed = Condition()

    @property
    def done(self) -> bool:
        """Whether no frame waits and none will follow."""
        with self._changed:
            return self._ended and not self._frames

    def fill(self, open_source: OpenSource) -> None:
        """Reads the source until it ends or the queue is closed; runs in the thread."""
        error: BaseException | None = None
        try:
            for frame in open_source():
                if not self._put(*frame if isinstance(frame, tuple) else (None, frame)):
                    break
        except BaseException as caught:
            error = caught
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()

    def _put(self, listed: float | None, image: np.ndarray) -> bool:
        """Appends a frame; False where the queue is closed."""
        now = time.monotonic()
        seconds = self._clock.seconds(now, listed)
        with self._changed:
            while not self._drop and len(self._frames) == self._size and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            number, self.num_read = self.num_read, self.num_read + 1
            if not self._pace.accepts(now):
                self.num_dropped += 1
                return True
            if len(self._frames) == self._size:
                self._frames.popleft()
                self.num_dropped += 1
            self._frames.append(LiveFrame(number, now, image, seconds))
            self._changed.notify_all()
        return True

    def get(self, seconds: float) -> LiveFrame | None:
        """The oldest frame, or None where none arrives within this time."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended, seconds)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
