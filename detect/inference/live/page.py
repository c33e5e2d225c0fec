"""A web page for this machine alone: frames as they come, as Motion JPEG, and who does what.

/status and /events answer in JSON what the page shows (see `board.Board`).
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ....datasets.errors import InputError
from .board import Board

_HOST = "127.0.0.1"
_QUALITY = 80
_MAX_WAITING = 32  # frames that wait to be shown
_SMOOTH_BELOW = 24  # with more waiting, they are shown faster than they came
_MAX_PAUSE = 0.25  # seconds between two frames
_REPEAT_AFTER = 5.0  # seconds without a new frame after which a page gets the last one again
_PAGE = Path(__file__).with_name("page.html")

ShowFrame = Callable[[np.ndarray, float], None]
"""Takes a frame, (H, W, 3) uint8 RGB, and when it came, in seconds. It never waits: frames that
come too fast are left out."""


class _FrameBuffer:
    """The frame that is shown now, as a JPEG, and those that wait to be shown."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.jpeg, self.number, self.watchers, self.closed = b"", 0, 0, False
        self._waiting: deque[tuple[np.ndarray, float]] = deque(maxlen=_MAX_WAITING)

    def add(self, frame: np.ndarray, time_: float) -> None:
        with self.changed:
            self._waiting.append((frame, time_))
            self.changed.notify_all()

    def run(self) -> None:
        """Shows the frames at the intervals in which the camera took them, although they come in
        batches."""
        import cv2

        previous = 0.0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._waiting or self.closed)
                if self.closed:
                    return
                frame, time_ = self._waiting.popleft()
                num_waiting = len(self._waiting)
                # The first one always, so that a page that is opened later has something to show.
                is_needed = self.watchers > 0 or not self.jpeg
            pause = min(_MAX_PAUSE, time_ - previous)
            if num_waiting < _SMOOTH_BELOW and self.watchers and pause > 0:
                time.sleep(pause)
            previous = time_
            if is_needed:
                quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
                jpeg = cv2.imencode(".jpg", frame[..., ::-1], quality)[1].tobytes()
                with self.changed:
                    self.jpeg, self.number = jpeg, self.number + 1
                    self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


@contextmanager
def serve_page(board: Board, port: int = 8000) -> Iterator[tuple[str, Sequence[ShowFrame]]]:
    """Serves a page until the block ends.

    Other machines cannot reach it. Other web pages in this machine's browser cannot either, since
    only requests for this machine's own name are answered.

    Args:
        board: what the page says.
        port: 0 takes a free one.

    Yields:
        the page's address, and a function that shows a frame for each source.

    Raises:
        InputError: the port is taken.
    """
    buffers = [_FrameBuffer() for _ in board.status()["sources"]]
    try:
        server = ThreadingHTTPServer((_HOST, port), _make_handler(board, buffers))
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: cannot be used ({error}); choose another port") from error
    port = server.server_address[1]
    server.daemon_threads = True
    threads = [
        Thread(target=work, name="live page", daemon=True)
        for work in (*(buffer.run for buffer in buffers), server.serve_forever)
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{_HOST}:{port}/", [buffer.add for buffer in buffers]
    finally:
        for buffer in buffers:
            buffer.close()
        server.shutdown()
        server.server_close()


def _make_handler(board: Board, buffers: Sequence[_FrameBuffer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers.get("Host", "").rpartition(":")[0]
            address = urlsplit(self.path)
            if name not in (_HOST, "localhost"):
                self.send_error(HTTPStatus.FORBIDDEN)
            elif address.path == "/":
                self._send("text/html; charset=utf-8", _PAGE.read_bytes())
            elif address.path in ("/status", "/events"):
                answer = board.status() if address.path == "/status" else board.events()
                self._send("application/json", json.dumps(answer).encode())
            elif address.path == "/stream.mjpg":
                index = parse_qs(address.query).get("source", ["0"])[0]
                if not index.isdecimal() or int(index) >= len(buffers):
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                self._send_head("multipart/x-mixed-replace; boundary=frame")
                self._send_frames(buffers[int(index)])
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send(self, kind: str, content: bytes) -> None:
            self._send_head(kind, len(content))
            self.wfile.write(content)

        def _send_head(self, kind: str, length: int | None = None) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def _send_frames(self, buffer: _FrameBuffer) -> None:
            number = 0
            with buffer.changed:
                buffer.watchers += 1
            try:
                while True:
                    with buffer.changed:
                        while buffer.number == number and not buffer.closed:
                            if not buffer.changed.wait(_REPEAT_AFTER):
                                break
                        if buffer.closed:
                            return
                        jpeg, number = buffer.jpeg, buffer.number
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    if jpeg:
                        self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
            except OSError:
                return  # the page was closed
            finally:
                with buffer.changed:
                    buffer.watchers -= 1

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the terminal shows the run."""

    return Handler
