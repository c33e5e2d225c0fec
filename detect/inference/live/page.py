"""A web page for this machine alone that shows frames as they come, as Motion JPEG."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread

import numpy as np

from ....datasets.errors import InputError

_HOST = "127.0.0.1"
_QUALITY = 80
_MAX_WAITING = 32  # frames that wait to be shown
_SMOOTH_BELOW = 24  # with more waiting, they are shown faster than they came
_MAX_PAUSE = 0.25  # seconds between two frames
_REPEAT_AFTER = 5.0  # seconds without a new frame after which a page gets the last one again
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>actiontubes live</title>
<style>body{margin:0;background:#222;display:grid;place-items:center;min-height:100vh}
img{max-width:100vw;max-height:100vh}</style><img src="/stream.mjpg" alt="live video"></html>"""


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
def serve_page(port: int = 8000) -> Iterator[tuple[str, Callable[[np.ndarray, float], None]]]:
    """Serves a page until the block ends.

    Other machines cannot reach it. Other web pages in this machine's browser cannot either, since
    only requests for this machine's own name are answered.

    Args:
        port: 0 takes a free one.

    Yields:
        the page's address, and a function that shows a frame: (H, W, 3) uint8 RGB, and when it
        came, in seconds. It never waits: frames that come too fast are left out.

    Raises:
        InputError: the port is taken.
    """
    buffer = _FrameBuffer()
    try:
        server = ThreadingHTTPServer((_HOST, port), _make_handler(buffer))
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: cannot be used ({error}); choose another port") from error
    port = server.server_address[1]
    server.daemon_threads = True
    threads = [
        Thread(target=work, name="live page", daemon=True)
        for work in (buffer.run, server.serve_forever)
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{_HOST}:{port}/", buffer.add
    finally:
        buffer.close()
        server.shutdown()
        server.server_close()


def _make_handler(buffer: _FrameBuffer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers.get("Host", "").rpartition(":")[0]
            if name not in (_HOST, "localhost"):
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                self._send_head("text/html; charset=utf-8", len(_PAGE))
                self.wfile.write(_PAGE)
            elif self.path == "/stream.mjpg":
                self._send_head("multipart/x-mixed-replace; boundary=frame")
                self._send_frames()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send_head(self, kind: str, length: int | None = None) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def _send_frames(self) -> None:
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
