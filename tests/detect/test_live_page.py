"""The page of a live run: what a browser gets, and who gets nothing."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from actiontubes.datasets.files import InputError
from actiontubes.detect.live_page import serve_page


def picture(number: int) -> np.ndarray:
    return np.full((48, 64, 3), (number, 0, 255 - number), np.uint8)


def ask(address: str, path: str, host: str | None = None) -> http.client.HTTPResponse:
    place = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(place, timeout=20)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def parts(response: http.client.HTTPResponse) -> Iterator[np.ndarray]:
    """The pictures of a multipart stream, as RGB."""
    while (line := response.readline()) == b"--picture\r\n":
        assert response.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(response.readline().split()[1])
        assert response.readline() == b"\r\n"
        jpeg = response.read(length)
        assert response.readline() == b"\r\n"
        yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert line == b""


def test_what_a_browser_gets() -> None:
    with serve_page(0) as (address, show):
        page = ask(address, "/")
        assert page.status == 200 and b'src="/stream.mjpg"' in page.read()
        show(picture(10), 0.0)
        stream = ask(address, "/stream.mjpg")
        assert stream.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=picture"
        shown = parts(stream)
        # One that came before is there at once; JPEG is nearly what was shown.
        assert np.abs(next(shown).astype(int) - picture(10)).max() < 6
        for number in (100, 200):
            show(picture(number), number / 1000)
            assert np.abs(next(shown).astype(int) - picture(number)).max() < 6
    assert list(shown) == []


def test_pictures_come_as_far_apart_as_their_frames() -> None:
    with serve_page(0) as (address, show):
        show(picture(0), 0.0)
        shown = parts(ask(address, "/stream.mjpg"))
        next(shown)
        for number in range(1, 6):
            show(picture(number), number * 0.05)
        begin = time.monotonic()
        for _ in range(5):
            next(shown)
        assert time.monotonic() - begin > 0.15


def test_showing_never_waits() -> None:
    with serve_page(0) as (_, show):
        begin = time.monotonic()
        for number in range(1000):
            show(picture(number % 256), number * 10.0)
        assert time.monotonic() - begin < 5


def test_a_page_that_is_closed_leaves_no_thread() -> None:
    before = threading.active_count()
    with serve_page(0) as (address, show):
        show(picture(0), 0.0)
        stream = ask(address, "/stream.mjpg")
        next(parts(stream))
        stream.close()
        deadline = time.monotonic() + 20
        while threading.active_count() > before + 2 and time.monotonic() < deadline:
            show(picture(1), time.monotonic())
            time.sleep(0.05)
        assert threading.active_count() <= before + 2
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == before


@pytest.mark.parametrize("path", ["/", "/stream.mjpg"])
def test_other_names_of_this_machine_are_refused(path: str) -> None:
    """A foreign page whose name was made to mean this machine (DNS rebinding)."""
    with serve_page(0) as (address, _):
        port = address.rsplit(":", 1)[1].rstrip("/")
        assert ask(address, path, f"example.org:{port}").status == 403
        assert ask(address, "/", f"localhost:{port}").status == 200
        assert ask(address, "/etc/passwd").status == 404


def test_ports_that_are_taken() -> None:
    with serve_page(0) as (address, _):
        port = int(address.rsplit(":", 1)[1].rstrip("/"))
        with pytest.raises(InputError, match=rf"--port {port}: cannot be used"), serve_page(port):
            pass
    with pytest.raises(InputError, match="--port 99999: cannot be used"), serve_page(99999):
        pass
