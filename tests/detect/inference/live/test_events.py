"""Events on their way: every line arrives, or is counted, and nobody waits for a receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.live.events import (
    EventQueue,
    describe_event,
    format_clock,
    open_events,
)
from actiontubes.detect.linking.action_stream import ActionEvent


def test_an_event_as_json() -> None:
    event = ActionEvent("begin", 1.23456, 3, 1, 0.87654, (1.04, 2.0, 30.0, 40.0), "door")
    described = describe_event(event, ("walk", "run"), "camera-0", 1_000_000_000.0)
    assert json.loads(json.dumps(described)) == {
        "event": "begin", "time": 1.235, "clock": "2001-09-09T01:46:41.235+00:00",
        "source": "camera-0", "person": 3, "label": "run", "score": 0.8765,
        "box": [1.0, 2.0, 30.0, 40.0], "zone": "door",
    }  # fmt: skip
    assert "zone" not in describe_event(
        ActionEvent("end", 1.0, 3, 1, 0.5, (0, 0, 1, 1)), ("walk", "run"), "a", 0.0
    )
    assert format_clock(0.5) == "1970-01-01T00:00:00.500+00:00"


def test_to_a_file(tmp_path: Path) -> None:
    """Lines are appended, also by a second run."""
    path = tmp_path / "new" / "events.jsonl"
    for first in (0, 3):
        with open_events(str(path)) as queue:
            for number in range(first, first + 3):
                queue.put({"number": number})
        assert (queue.num_sent, queue.num_dropped) == (3, 0)
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == list(range(6))


def test_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with open_events("-") as queue:
        queue.put({"number": 1})
    assert capsys.readouterr().out == '{"number": 1}\n'


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict], threading.Event]]:
    """An address, what came there, and an event without which it answers nothing."""
    received: list[dict] = []
    may_answer = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            may_answer.wait(60)
            received.append(json.loads(body))
            self.send_response(204 if self.path == "/ok" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", received, may_answer
    may_answer.set()
    server.shutdown()
    server.server_close()


def test_to_an_address(receiver: tuple[str, list[dict], threading.Event]) -> None:
    address, received, may_answer = receiver
    may_answer.set()
    with open_events(f"{address}/ok") as queue:
        for number in range(5):
            queue.put({"number": number})
    assert (queue.num_sent, queue.num_dropped, queue.error) == (5, 0, "")
    assert [each["number"] for each in received] == list(range(5))
    with open_events(f"{address}/broken") as queue:
        queue.put({"number": 5})
    assert (queue.num_sent, queue.num_dropped) == (0, 1) and "500" in queue.error


def test_a_receiver_that_never_answers_delays_nobody(
    receiver: tuple[str, list[dict], threading.Event],
) -> None:
    """Putting returns while the receiver holds the first event; the oldest others are dropped."""
    address, received, may_answer = receiver
    with open_events(f"{address}/ok", size=20) as queue:
        for number in range(3000):
            queue.put({"number": number})
        assert not received and not may_answer.is_set()
        state = queue.state()
        assert state["sent"] == 0 and state["waiting"] <= 21
        assert state["waiting"] + state["dropped"] == 3000
        may_answer.set()
    assert queue.num_sent + queue.num_dropped == 3000
    assert received[-1] == {"number": 2999}


def test_what_waits_at_the_end_is_counted() -> None:
    held = threading.Event()
    queue = EventQueue(lambda line: held.wait(60) and None, size=10)
    thread = threading.Thread(target=queue.run, daemon=True)
    thread.start()
    for number in range(4):
        queue.put({"number": number})
    queue.close(seconds=0.01)
    assert (queue.num_sent, queue.num_dropped) == (0, 4)
    held.set()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("target", ["ftp://host/x", "file:///etc/passwd", "rtsp://host"])
def test_other_addresses(target: str) -> None:
    refused = pytest.raises(InputError, match="must be -, a file, or an http:// address")
    with refused, open_events(target):
        pass


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), open_events(str(tmp_path)):
        pass
