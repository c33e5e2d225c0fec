"""Live sources: dropped frames are the oldest, stalls end in a line or a new connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video import live_queue, live_source
from actiontubes.datasets.video.live_source import (
    LiveSource,
    open_live_source,
    read_file,
    read_stream,
    repeat_source,
)


def numbered_pictures(number: int) -> Iterator[np.ndarray]:
    for each in range(number):
        yield np.full((4, 6, 3), each, np.uint8)


class Clock:
    """Stands for the module `time`: it goes on by sleeping, and by `step` at every look at it."""

    def __init__(self) -> None:
        self.now = self.step = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live_source, "time", clock)
    return clock


class Camera:
    """A source that gives a picture when it is told to."""

    def __init__(self) -> None:
        self.opened = 0
        self._given = threading.Semaphore(0)
        self._taken = threading.Semaphore(0)

    def __call__(self) -> Iterator[np.ndarray]:
        self.opened += 1
        for number in count():
            self._given.acquire()
            yield np.full((4, 6, 3), number % 256, np.uint8)
            self._taken.release()

    def give(self, pictures: int) -> None:
        """Returns when all but the last are in the queue, and the last soon is."""
        for _ in range(pictures):
            self._given.release()
        for _ in range(pictures):
            assert self._taken.acquire(timeout=20)


def test_the_oldest_are_dropped() -> None:
    camera = Camera()
    source = LiveSource(camera, "camera", queue_size=3)
    frames = source.frames()
    giver = threading.Thread(target=camera.give, args=(1,))
    giver.start()
    assert next(frames).number == 0
    giver.join()
    camera.give(10)  # nobody looks meanwhile
    assert source.dropped == 7
    assert [next(frames).number for _ in range(3)] == [8, 9, 10]
    threading.Thread(target=camera.give, args=(1,)).start()
    frame = next(frames)
    assert (frame.number, frame.image[0, 0, 0]) == (11, 11)
    assert source.dropped == 7
    source.stop()
    assert list(frames) == []


def test_without_dropping_the_source_waits() -> None:
    ahead = threading.Event()

    def pictures() -> Iterator[np.ndarray]:
        for number, picture in enumerate(numbered_pictures(50)):
            if number == 3:  # one is with the user, and two wait
                ahead.set()
            yield picture

    source = LiveSource(pictures, "file", queue_size=2, drop=False)
    seen = []
    for frame in source.frames():
        assert ahead.wait(20)
        seen.append((frame.number, frame.image[0, 0, 0]))
    assert seen == [(number, number) for number in range(50)] and source.dropped == 0


def test_times_are_those_of_arrival() -> None:
    begin = time.monotonic()
    times = [frame.time for frame in LiveSource(lambda: numbered_pictures(9), "file").frames()]
    times = [begin, *times, time.monotonic()]
    assert len(times) == 11 and times == sorted(times)


def test_what_stalls_ends_in_one_line(clock: Clock) -> None:
    camera = Camera()
    source = LiveSource(camera, "rtsp://me:secret@host/cam", timeout=0.3)
    frames = source.frames()
    threading.Thread(target=camera.give, args=(2,)).start()
    assert [next(frames).number for _ in range(2)] == [0, 1]
    clock.step = 0.2
    with pytest.raises(InputError) as error:
        next(frames)
    assert str(error.value) == "rtsp://host/cam: no frame for 0.3 s"


def test_what_stalls_is_connected_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers go on; each connection that gives frames starts the count of attempts anew."""
    opened, lines = [], []
    over = threading.Event()

    def warn(line: str, stacklevel: int) -> None:
        lines.append(line)
        clock.step = 0

    def unsteady() -> Iterator[np.ndarray]:
        opened.append(1)
        yield from numbered_pictures(2)
        if len(opened) < 3:
            clock.step = 0.2
            over.wait(20)
        yield from numbered_pictures(1)

    source = LiveSource(unsteady, "camera 0", timeout=0.3, retries=1)
    monkeypatch.setattr(live_source, "warnings", SimpleNamespace(warn=warn))
    frames = source.frames()
    numbers = [next(frames).number for _ in range(7)]
    source.stop()
    over.set()
    assert numbers == list(range(7)) and len(opened) == 3
    assert lines == ["camera 0: no frame for 0.3 s; reconnecting (attempt 1 of 1)"] * 2


def test_what_cannot_be_connected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_source, "_MAX_RETRY_WAIT", 0.01)
    opened = []

    def broken() -> Iterator[np.ndarray]:
        opened.append(1)
        if len(opened) > 1:
            raise InputError("camera 0: gone")
        yield from numbered_pictures(1)

    source = LiveSource(broken, "camera 0", retries=3)
    with pytest.warns(UserWarning) as told, pytest.raises(InputError, match=r"camera 0: gone$"):
        list(source.frames())
    assert len(opened) == 4
    assert [str(each.message) for each in told] == [
        "camera 0: the stream ended; reconnecting (attempt 1 of 3)",
        "camera 0: gone; reconnecting (attempt 2 of 3)",
        "camera 0: gone; reconnecting (attempt 3 of 3)",
    ]


@pytest.mark.parametrize("error", [InputError("no such camera"), ZeroDivisionError("a mistake")])
def test_errors_at_first_come_through_at_once(error: Exception) -> None:
    def broken() -> Iterator[np.ndarray]:
        raise error
        yield

    with pytest.raises(type(error), match=str(error)):
        list(LiveSource(broken, "camera", retries=5).frames())


def test_stopping_lets_the_thread_end() -> None:
    source = LiveSource(repeat_source(lambda: numbered_pictures(3)), "to be stopped", drop=False)
    for frame in source.frames():
        if frame.number == 10:
            (thread,) = [each for each in threading.enumerate() if each.name == "to be stopped"]
        if frame.number == 20:
            source.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_files(numbered, tmp_path: Path, clock: Clock) -> None:
    """At once, and at their own rate: 10 frames at 25 a second take 9 intervals of 40 ms."""
    path = numbered.write(tmp_path / "v.mp4", 10)
    read = open_live_source(str(path), timeout=1, at_once=True)

    def numbers(frames: Iterator[tuple[float, np.ndarray]]) -> list[int]:
        seconds, images = zip(*frames)
        assert seconds == pytest.approx([number % 10 / 25 for number in range(len(seconds))])
        return numbered.numbers(images)

    assert numbers(read()) == list(range(10))
    assert clock.now == 0
    assert numbers(read_file(path)) == list(range(10))
    assert clock.now == pytest.approx(9 * 0.04)
    assert numbers(islice(repeat_source(read)(), 25)) == [n % 10 for n in range(25)]
    # The time of a file that is repeated goes on.
    again = LiveSource(repeat_source(read), "v.mp4", drop=False)
    found = [frame.seconds for frame in islice(again.frames(), 25)]
    assert found == pytest.approx([number / 25 for number in range(25)])


def test_streams(numbered, tmp_path: Path, serve: Callable[[bytes], str]) -> None:
    path = numbered.write(tmp_path / "v.ts", 30)
    address = serve(path.read_bytes())
    assert numbered.numbers(list(read_stream(address, 10))) == list(range(30))


def test_streams_that_hang(numbered, tmp_path: Path, serve: Callable[..., str]) -> None:
    path = numbered.write(tmp_path / "v.ts", 200, options={"preset": "ultrafast"})
    address = serve(path.read_bytes(), hang=True)
    with pytest.raises(InputError, match=r"^http://127.0.0.1:\d+/v: cannot be read \(nothing for"):
        list(read_stream(address, 0.5))


def test_streams_that_are_none(serve: Callable[[bytes], str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        list(read_stream("http://127.0.0.1:9/v", 1))
    # A playlist that points at a file of this machine.
    secret = tmp_path / "secret.ts"
    secret.write_bytes(b"x")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    with pytest.raises(InputError, match=r"cannot be read|contains no video"):
        list(read_stream(serve(playlist.encode()) + ".m3u8", 5))


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves bytes by HTTP on this machine; `hang` keeps the connection open behind them."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    servers = []
    over = threading.Event()

    def start(content: bytes, hang: bool = False) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                if not hang:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                if hang:
                    self.wfile.flush()
                    over.wait(20)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/v"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_sources_that_are_none() -> None:
    with pytest.raises(InputError, match=r"absent.mp4: file not found; give a camera number"):
        open_live_source("absent.mp4", timeout=1)
    with pytest.raises(InputError, match=r"camera 99.*cannot be opened"):
        list(open_live_source("99", timeout=1)())


def test_fewer_frames_at_even_intervals() -> None:
    """Of 25 frames a second at most 10; of more than come, all."""
    pace, clock = live_queue.Pace(), live_queue.Clock()
    arrivals = [100 + number / 25 for number in range(100)]
    assert [clock.seconds(now, None) for now in arrivals] == pytest.approx(
        [number / 25 for number in range(100)]
    )
    assert all(map(pace.accepts, arrivals))
    pace.rate = 10.0
    kept = [now for now in np.add(arrivals, 4).tolist() if pace.accepts(now)]
    assert len(kept) == pytest.approx(40, abs=1)
    assert np.diff(kept)[1:].max() < 0.13
    pace.rate = 26.0
    assert all(map(pace.accepts, np.add(arrivals, 8)))


def test_a_limited_source_counts_what_it_drops(clock: Clock) -> None:
    """Numbers count dropped frames, so that the time between two frames is known."""
    source = LiveSource(lambda: numbered_pictures(50), "camera", queue_size=50)
    source.limit_rate(0.0)
    (first,) = source.frames()
    assert (first.number, source.dropped) == (0, 49)
