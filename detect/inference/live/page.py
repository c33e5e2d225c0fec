"""A page that shows pictures as they come, on this machine alone: Motion JPEG, for any browser."""

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
_WAITING = 32  # pictures that wait to be shown
_SMOOTH_BELOW = 24  # with more waiting, they are shown faster than they came
_LONGEST_PAUSE = 0.25  # seconds between two pictures
_PATIENCE = 5.0  # seconds after which a page without pictures gets the last one again
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>actiontubes live</title>
<style>body{margin:0;background:#222;display:grid;place-items:center;min-height:100vh}
img{max-width:100vw;max-height:100vh}</style><img src="/stream.mjpg" alt="live video"></html>"""


class _FrameBuffer:
    """The picture that is shown now, as a JPEG, and those that wait to be."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.jpeg, self.number, self.watchers, self.closed = b"", 0, 0, False
        self._waiting: deque[tuple[np.ndarray, float]] = deque(maxlen=_WAITING)

    def put(self, picture: np.ndarray, when: float) -> None:
        with self.changed:
            self._waiting.append((picture, when))
            self.changed.notify_all()

    def run(self) -> None:
        """Shows the pictures as far apart as they came, though they come several at a time."""
        import cv2

        before = 0.0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._waiting or self.closed)
                if self.closed:
                    return
                picture, when = self._waiting.popleft()
                behind = len(self._waiting)
                # Always one, so that a page that is opened later has something to show.
                wanted = self.watchers > 0 or not self.jpeg
            if behind < _SMOOTH_BELOW and self.watchers:
                time.sleep(min(_LONGEST_PAUSE, max(0.0, when - before)))
            before = when
            if wanted:
                quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
                jpeg = cv2.imencode(".jpg", picture[..., ::-1], quality)[1].tobytes()
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

    Nobody else's machine reaches it; nor does a web page that this machine's browser shows, since
    requests by another name than this machine's own are refused.

    Args:
        port: of this machine; 0 takes a free one.

    Yields:
        the page's address, and a function that shows a picture: (H, W, 3) uint8 RGB, and when its
        frame came, in seconds. It never waits: pictures that come too fast are left out.

    Raises:
        InputError: the port is taken.
    """
    shown = _FrameBuffer()
    try:
        server = ThreadingHTTPServer((_HOST, port), _handler(shown))
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: cannot be used ({error}); choose another port") from error
    port = server.server_address[1]
    server.daemon_threads = True
    threads = [
        Thread(target=work, name="live page", daemon=True)
        for work in (shown.run, server.serve_forever)
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{_HOST}:{port}/", shown.put
    finally:
        shown.close()
        server.shutdown()
        server.server_close()


def _handler(shown: _FrameBuffer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers.get("Host", "").rpartition(":")[0]
            if name not in (_HOST, "localhost"):
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/":
                self._begin("text/html; charset=utf-8", len(_PAGE))
                self.wfile.write(_PAGE)
            elif self.path == "/stream.mjpg":
                self._begin("multipart/x-mixed-replace; boundary=picture")
                self._pictures()
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _begin(self, kind: str, length: int | None = None) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def _pictures(self) -> None:
            number = 0
            with shown.changed:
                shown.watchers += 1
            try:
                while True:
                    with shown.changed:
                        while shown.number == number and not shown.closed:
                            if not shown.changed.wait(_PATIENCE):
                                break
                        if shown.closed:
                            return
                        jpeg, number = shown.jpeg, shown.number
                    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    if jpeg:
                        self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
            except OSError:
                return  # the page was closed
            finally:
                with shown.changed:
                    shown.watchers -= 1

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the terminal shows the run."""

    return Handler
