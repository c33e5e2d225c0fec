"""Events of a live run as lines of JSON, sent without ever holding up the picture."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from ....datasets.errors import InputError
from ...linking.action_stream import ActionEvent

MAX_WAITING = 1000
"""Events that wait for a slow receiver; then the oldest are dropped."""
_TIMEOUT = 5.0  # seconds for one event to be received, and for those that wait at the end
Send = Callable[[str], None]
"""Sends a line; raises OSError where that fails."""


def describe_event(
    event: ActionEvent, labels: tuple[str, ...], source: str, clock: float
) -> dict[str, Any]:
    """An event as plain JSON.

    Args:
        event: what happened.
        labels: names of the actions.
        source: name of the video.
        clock: seconds since 1970 at 0 s of the video.

    Returns:
        event ("begin" or "end"), time (seconds of the video), clock (the same as a date with
        time), source, person, label, score, box (x1 y1 x2 y2 in pixels), and where there are zones
        zone.
    """
    described = {
        "event": event.kind, "time": round(event.seconds, 3),
        "clock": format_clock(clock + event.seconds), "source": source, "person": event.person,
        "label": labels[event.label], "score": round(event.score, 4),
        "box": [round(side, 1) for side in event.box],
    }  # fmt: skip
    return described | ({"zone": event.zone} if event.zone else {})


def format_clock(seconds: float) -> str:
    """Seconds since 1970 as a date with time in ISO 8601, UTC."""
    return datetime.fromtimestamp(round(seconds, 3), timezone.utc).isoformat(
        timespec="milliseconds"
    )


class EventQueue:
    """Events on their way to a receiver; a thread sends them, and the oldest are dropped.

    Args:
        send: see `Send`.
        size: events that wait at most.

    Attributes:
        num_sent, num_dropped: how many were received, and how many were not: dropped because too
            many waited, or refused.
        error: of the last event that was refused.
    """

    def __init__(self, send: Send, size: int = MAX_WAITING) -> None:
        self.num_sent = self.num_dropped = 0
        self.error = ""
        self._send, self._size = send, size
        self._waiting: deque[dict[str, Any]] = deque()
        self._changed = Condition()
        self._closed = self._is_sending = False

    def put(self, event: dict[str, Any]) -> None:
        """Never waits."""
        with self._changed:
            if len(self._waiting) == self._size:
                self._waiting.popleft()
                self.num_dropped += 1
            self._waiting.append(event)
            self._changed.notify_all()

    def state(self) -> dict[str, Any]:
        """How many events were sent, wait and were dropped, and the last error, as plain JSON."""
        with self._changed:
            waiting = len(self._waiting) + self._is_sending
            return {
                "sent": self.num_sent, "waiting": waiting, "dropped": self.num_dropped,
                "error": self.error,
            }  # fmt: skip

    def text(self) -> str:
        """A line for people."""
        error = f" ({self.error})" if self.error else ""
        return f"{self.num_sent} events sent, {self.num_dropped} dropped{error}"

    def run(self) -> None:
        """Sends until the queue is closed and empty; in the thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                event, self._is_sending = self._waiting.popleft(), True
            try:
                self._send(json.dumps(event))
                failed = ""
            except (OSError, ValueError) as error:
                failed = str(error) or type(error).__name__
            with self._changed:
                if not self._is_sending:  # counted as dropped by `close`
                    return
                self._is_sending = False
                self.num_sent += not failed
                self.num_dropped += bool(failed)
                self.error = failed or self.error
                self._changed.notify_all()

    def close(self, seconds: float = _TIMEOUT) -> None:
        """Waits so long for what waits; the rest counts as dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._is_sending, seconds)
            self.num_dropped += len(self._waiting) + self._is_sending
            self._is_sending = False
            self._waiting.clear()
            self._changed.notify_all()


@contextmanager
def open_events(target: str, size: int = MAX_WAITING) -> Iterator[EventQueue]:
    """A queue of events to --events: - (standard output), an http(s) address, or a file.

    A file is appended to. To an address each event is a POST of its own.

    Args:
        target: see above.
        size: events that wait at most.

    Raises:
        InputError: the file cannot be opened, or the address is of another kind.
    """
    with _open_target(target) as send:
        queue = EventQueue(send, size)
        thread = Thread(target=queue.run, name="live events", daemon=True)
        thread.start()
        try:
            yield queue
        finally:
            queue.close()


@contextmanager
def _open_target(target: str) -> Iterator[Send]:
    if target == "-":
        yield lambda line: print(line, flush=True, file=sys.stdout)
    elif target.startswith(("http://", "https://")):
        opener = build_opener(ProxyHandler())
        yield lambda line: _post(opener.open, target, line)
    elif "://" in target:
        raise InputError(f"--events {target}: must be -, a file, or an http:// address")
    else:
        path = Path(target)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"--events {target}: cannot be written ({error.strerror}); choose another file"
            ) from error
        with file:
            yield lambda line: print(line, flush=True, file=file)


def _post(open_request: Callable[..., Any], address: str, line: str) -> None:
    request = Request(address, line.encode(), {"Content-Type": "application/json"})
    try:
        with open_request(request, timeout=_TIMEOUT):
            pass
    except URLError as error:
        raise OSError(str(error)) from error


def epoch_of_clock() -> float:
    """Seconds since 1970 at 0 of `time.monotonic`."""
    return time.time() - time.monotonic()
