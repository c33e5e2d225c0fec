"""The page of a live run: what a browser gets, and who gets nothing."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.live import page as live_page
from actiontubes.detect.inference.live.board import Board
from actiontubes.detect.inference.live.page import serve_page


def make_frame(number: int) -> np.ndarray:
    return np.full((48, 64, 3), (number, 0, 255 - number), np.uint8)


def ask(address: str, path: str, host: str | None = None) -> http.client.HTTPResponse:
    place = address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(place, timeout=20)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def parts(response: http.client.HTTPResponse) -> Iterator[np.ndarray]:
    """The frames of a multipart stream, as RGB."""
    while (line := response.readline()) == b"--frame\r\n":
        assert response.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(response.readline().split()[1])
        assert response.readline() == b"\r\n"
        jpeg = response.read(length)
        assert response.readline() == b"\r\n"
        yield cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert line == b""


def test_what_a_browser_gets() -> None:
    with serve_page(Board(["camera"]), 0) as (address, (show,)):
        page = ask(address, "/")
        assert page.status == 200 and b"/stream.mjpg" in page.read()
        show(make_frame(10), 0.0)
        stream = ask(address, "/stream.mjpg")
        assert stream.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
        shown = parts(stream)
        # One that came before is there at once; JPEG is nearly what was shown.
        assert np.abs(next(shown).astype(int) - make_frame(10)).max() < 6
        for number in (100, 200):
            show(make_frame(number), number / 1000)
            assert np.abs(next(shown).astype(int) - make_frame(number)).max() < 6
    assert list(shown) == []


@pytest.mark.parametrize(("apart", "pause"), [(0.05, 0.05), (3.0, 0.25)])
def test_frames_are_shown_at_their_intervals(
    apart: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: SimpleQueue[float] = SimpleQueue()

    def sleep(seconds: float) -> None:
        if seconds:  # none before the first frame
            pauses.put(seconds)

    monkeypatch.setattr(live_page, "time", SimpleNamespace(sleep=sleep))
    with serve_page(Board(["camera"]), 0) as (address, (show,)):
        show(make_frame(0), 0.0)
        stream = ask(address, "/stream.mjpg")
        next(parts(stream))
        for number in range(1, 6):
            show(make_frame(number), number * apart)
        found = [pauses.get(timeout=20) for _ in range(5)]
        stream.close()
    assert found == pytest.approx([pause] * 5)


def test_showing_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while the page pauses."""
    begun, go_on, ended = (threading.Event() for _ in range(3))

    def sleep(_: float) -> None:
        begun.set()
        go_on.wait(60)
        ended.set()

    monkeypatch.setattr(live_page, "time", SimpleNamespace(sleep=sleep))
    with serve_page(Board(["camera"]), 0) as (address, (show,)):
        show(make_frame(0), 0.0)
        stream = ask(address, "/stream.mjpg")
        next(parts(stream))
        show(make_frame(1), 10.0)
        assert begun.wait(20)
        for number in range(1000):
            show(make_frame(number % 256), number * 10.0)
        assert not ended.is_set()
        go_on.set()
        stream.close()


def test_a_page_that_is_closed_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with serve_page(Board(["camera"]), 0) as (address, (show,)):
        show(make_frame(0), 0.0)
        stream = ask(address, "/stream.mjpg")
        next(parts(stream))
        threads = set(threading.enumerate()) - before
        (handler,) = [thread for thread in threads if thread.name != "live page"]
        stream.close()
        for number in range(400):
            show(make_frame(1), float(number))
            handler.join(0.05)
            if not handler.is_alive():
                break
        assert not handler.is_alive()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("path", ["/", "/stream.mjpg", "/status", "/events"])
def test_other_names_of_this_machine_are_refused(path: str) -> None:
    """A foreign page whose name was made to mean this machine (DNS rebinding)."""
    with serve_page(Board(["camera"]), 0) as (address, _):
        port = address.rsplit(":", 1)[1].rstrip("/")
        assert ask(address, path, f"example.org:{port}").status == 403
        assert ask(address, "/", f"localhost:{port}").status == 200
        assert ask(address, "/etc/passwd").status == 404


def test_ports_that_are_taken() -> None:
    with serve_page(Board(["camera"]), 0) as (address, _):
        port = int(address.rsplit(":", 1)[1].rstrip("/"))
        taken = pytest.raises(InputError, match=rf"--port {port}: cannot be used")
        with taken, serve_page(Board(["camera"]), port):
            pass
    none = pytest.raises(InputError, match="--port 99999: cannot be used")
    with none, serve_page(Board(["camera"]), 99999):
        pass


EVIL = "<img src=x onerror=\"document.title='x'\">"
STATE = {
    "frame": 30, "seconds": 1.2, "clock": "2026-01-02T03:04:05.000+00:00",
    "frames_per_second": 12.34, "latency": 0.567, "dropped": 7, "ended": False,
    "people": [
        {"person": 3, "box": [1.0, 2.0, 3.0, 4.0],
         "actions": [{"label": EVIL, "score": 0.876, "since": 0.4}]},
        {"person": 4, "box": [1.0, 2.0, 3.0, 4.0], "actions": []},
    ],
}  # fmt: skip
EVENT = {
    "event": "begin", "time": 0.4, "clock": "2026-01-02T03:04:04.200+00:00", "source": "door",
    "person": 3, "label": EVIL, "score": 0.9, "box": [1.0, 2.0, 3.0, 4.0], "zone": "left",
}  # fmt: skip


def full_board() -> Board:
    board = Board(["door", EVIL])
    board.show(0, STATE)
    board.add_event({**EVENT, "event": "end"})
    board.add_event(EVENT)
    board.delivery = lambda: {"sent": 5, "waiting": 2, "dropped": 1, "error": "refused"}
    return board


def test_status_and_events_are_json() -> None:
    board = full_board()
    with serve_page(board, 0) as (address, shows):
        assert len(shows) == 2
        status = json.load(ask(address, "/status"))
        assert status == {
            "sources": [{"name": "door", **STATE}, {"name": EVIL, "people": []}],
            "events": {"sent": 5, "waiting": 2, "dropped": 1, "error": "refused"},
        }
        events = json.load(ask(address, "/events"))
        assert events == [EVENT, {**EVENT, "event": "end"}]
        shows[1](make_frame(100), 0.0)
        shown = parts(ask(address, "/stream.mjpg?source=1"))
        assert np.abs(next(shown).astype(int) - make_frame(100)).max() < 6
        for source in ("2", "-1", "x", ""):
            assert ask(address, f"/stream.mjpg?source={source}").status == (
                200 if source == "" else 404
            )


def test_what_the_page_says(browser: Any) -> None:
    """Who does what now, the latest events and what was dropped; names stay text."""
    board = full_board()
    with serve_page(board, 0) as (address, shows):
        shows[0](make_frame(100), 0.0)
        browser.open(address, wait=False)

        def wait(condition: str) -> None:
            browser.run(
                "new Promise((resolve) => { const check = () => "
                f"({condition}) ? resolve(true) : setTimeout(check, 20); check(); }})"
            )

        wait("document.querySelectorAll('#events tr').length === 2")
        rows = browser.run(
            "[...document.querySelectorAll('section.source')].map((section) =>"
            " [...section.querySelectorAll('tr')].map((row) =>"
            " [...row.cells].map((cell) => cell.textContent)))"
        )
        assert rows == [
            [["person 3", EVIL, "0.88", "since 0.4 s"], ["person 4", "", "", ""]], [],
        ]  # fmt: skip
        facts = browser.run("document.querySelector('.facts').textContent")
        assert facts.endswith("1.2 s, 12.3 frames/s, latency 0.57 s, 7 frames dropped")
        delivery = browser.run("document.getElementById('delivery').textContent")
        assert delivery == "5 sent, 2 waiting, 1 dropped (refused)"
        event = browser.run("[...document.querySelector('#events tr').cells].map((cell) =>"
                            " cell.textContent).slice(1)")  # fmt: skip
        assert event == ["door", "3", "begin", EVIL, "0.90", "left"]
        assert browser.run("document.title") == "actiontubes live"
        wait("document.querySelector('img').naturalWidth === 64")
        board.show(0, {**STATE, "people": [], "ended": True})
        wait("document.querySelector('section.source').textContent.includes('nobody')")
        assert browser.errors() == []
    wait("!document.getElementById('lost').hidden")
