"""Live runs: what is found, told, drawn and kept, and that neither memory nor latency grows."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.live_queue import LiveFrame
from actiontubes.datasets.video.live_source import LiveSource, read_file
from actiontubes.datasets.video.reader import probe
from actiontubes.datasets.video.writer import open_video_writer
from actiontubes.detect.inference.clip_batches import ClipBatch
from actiontubes.detect.inference.live import run as live_run
from actiontubes.detect.inference.live.board import Board
from actiontubes.detect.inference.live.events import EventQueue
from actiontubes.detect.inference.live.models import Batch, DetectorModel
from actiontubes.detect.inference.live.run import Sinks, run_live
from actiontubes.detect.inference.live.sources import name_sources, run_together
from actiontubes.detect.inference.live.writers import TubeCsvWriter, VideoPartWriter
from actiontubes.detect.inference.live.zones import parse_zones
from actiontubes.detect.inference.predictor import KeyFramePrediction
from actiontubes.detect.linking.action_stream import FramePeople
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource
from torch import Tensor

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = DetectorConfig(labels=("walk", "run"), frames=8, size=(24, 32))


def make_frame(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), number % 256, np.uint8)


def timed(numbers: range, rate: float = 25.0) -> Iterator[tuple[float, np.ndarray]]:
    """Frames like those of a file."""
    for number in numbers:
        yield number / rate, make_frame(number)


class Walker:
    """A detector that sees one person walk to the right and back, and what its clips hold.

    The person is at a place that follows from the key frame's brightness, which is its number;
    `scores` makes the probabilities of the two labels from it.
    """

    proposals, device = "own", "cpu"

    def __init__(self, config: DetectorConfig = CONFIG, scores: Any = None) -> None:
        self.config = config
        self.scores = scores or (lambda brightness: (0.9, 0.6))
        self.clips: list[Tensor] = []

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        self.clips.append(batch.clips[0, :, 0, 0, 0])
        predictions = []
        for frame, index, position in zip(
            batch.frame_numbers.tolist(), batch.clip_index, batch.key_frame_positions.long()
        ):
            number = batch.clips[index, position, 0, 0, 0].item()
            left = abs(number % 64 - 32) / 4
            predictions.append(
                KeyFramePrediction(
                    frame=frame, boxes=torch.tensor([[[left, 4, left + 12, 20]]]),
                    probabilities=torch.tensor([self.scores(number)]),
                    actionness=torch.tensor([0.9]),
                )
            )  # fmt: skip
        return predictions


class ExternalWalker(Walker):
    proposals = "external"


def everywhere(frames: np.ndarray, first: int) -> list[np.ndarray]:
    return [np.array([[0, 0, 32, 24, 1.0]], np.float32) for _ in frames]


@pytest.mark.parametrize("own_proposals", [True, False])
def test_a_run(own_proposals: bool) -> None:
    source = LiveSource(lambda: timed(range(100)), "camera 0", drop=False)
    model = (
        DetectorModel(Walker()) if own_proposals  # type: ignore[arg-type]
        else DetectorModel(ExternalWalker(), FunctionSource(everywhere))  # type: ignore[arg-type]
    )  # fmt: skip
    kept: list[Tubes] = []
    shown: list[float] = []
    board = Board(["camera 0"])

    def show(drawn: np.ndarray, when: float) -> None:
        assert drawn.shape == (96, 128, 3) and drawn.dtype == np.uint8
        shown.append(when)

    sinks = Sinks([show], lambda tubes, _: kept.append(tubes), [board.add_event],
                  lambda state: board.show(0, state))  # fmt: skip
    summary = run_live(source, model, sinks, progress=False)
    assert (summary.frames, summary.dropped, summary.tubes) == (100, 0, 2)
    assert len(shown) == 100 and shown == sorted(shown)
    (tubes,) = kept
    assert set(tubes.frame) == set(range(100)) and set(tubes.person.tolist()) == {1}
    assert tubes.score is not None
    for label, score in ((0, 0.9), (1, 0.6)):
        rows = tubes.label == label
        left = np.abs(tubes.frame[rows] % 64 - 32) / 4
        np.testing.assert_allclose(tubes.boxes[rows, 0], left, atol=1e-6)
        np.testing.assert_allclose(tubes.score[rows], score, atol=1e-6)
    assert 0 < summary.latency(0.5) <= summary.latency(0.95) < 60
    # All that happened was told.
    told = [(each["event"], each["label"], each["time"]) for each in reversed(board.events())]
    assert sorted(told) == [
        ("begin", "run", 0.0), ("begin", "walk", 0.0), ("end", "run", 4.0), ("end", "walk", 4.0),
    ]  # fmt: skip
    (state,) = board.status()["sources"]
    assert (state["frame"], state["seconds"], state["ended"]) == (99, 3.96, True)
    assert state["people"] == []


def write_stretches(path: Path, stretches: list[tuple[int, int, int]], count: int) -> Path:
    """A video at 20 frames a second, dark but for stretches (first, end, brightness)."""
    level = np.full(count, 20)
    for first, end, brightness in stretches:
        level[first:end] = brightness
    with open_video_writer(path, 20) as writer:
        for value in level.tolist():
            writer.write(np.full((48, 64, 3), value, np.uint8))
    return path


def test_three_stretches_are_three_beginnings_and_ends(tmp_path: Path) -> None:
    """Of a file read as fast as it goes, though frames were coded and scores are not certain."""
    stretches = [(30, 70, 230), (100, 150, 130), (160, 220, 230)]
    path = write_stretches(tmp_path / "v.mp4", stretches, 260)
    rng = np.random.default_rng(0)

    def scores(brightness: float) -> tuple[float, float]:
        walk = 0.75 if brightness > 200 else 0.15
        run = 0.7 if 90 < brightness <= 200 else 0.1
        first, second = np.clip(rng.normal((walk, run), 0.08), 0, 1).tolist()
        return first, second

    events: list[dict[str, Any]] = []
    source = LiveSource(lambda: read_file(path, at_once=True), "v.mp4", drop=False)
    model = DetectorModel(Walker(scores=scores))  # type: ignore[arg-type]
    run_live(source, model, Sinks(events=[events.append]), progress=False)
    assert [(each["event"], each["label"]) for each in events] == [
        ("begin", "walk"), ("end", "walk"), ("begin", "run"), ("end", "run"), ("begin", "walk"),
        ("end", "walk"),
    ]  # fmt: skip
    expected = [frame / 20 for first, end, _ in stretches for frame in (first, end)]
    np.testing.assert_allclose([each["time"] for each in events], expected, atol=0.2)
    assert {each["person"] for each in events} == {1}


def test_zones_limit_events_and_are_drawn() -> None:
    """The walker is in the right half of the picture half of the time."""
    events: list[dict[str, Any]] = []
    drawn: list[np.ndarray] = []
    source = LiveSource(lambda: timed(range(128)), "camera 0", drop=False)
    sinks = Sinks([lambda frame, _: drawn.append(frame)], events=[events.append])
    model = DetectorModel(Walker())  # type: ignore[arg-type]
    (zone,) = parse_zones(["right=10,0,32,24"])
    run_live(source, model, sinks, zones=[zone], progress=False)
    walks = [(each["event"], each["zone"]) for each in events if each["label"] == "walk"]
    # 32 frames of 64 are on each side of the middle; it starts and ends there.
    assert walks == [("begin", "right"), ("end", "right")] * 3
    # A white line at x = 10, of 32, four times as large.
    assert (drawn[0][40:80, 38:43].max(axis=(1, 2)) > 200).all()


def test_the_end_of_a_run() -> None:
    """So many frames; an error of the source after what was found is kept; wrong detectors."""

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield make_frame(3)

    source = LiveSource(endless, "0", drop=False)
    model = DetectorModel(Walker())  # type: ignore[arg-type]
    assert run_live(source, model, max_frames=30, progress=False).frames == 30

    def unplugged() -> Iterator[tuple[float, np.ndarray]]:
        yield from timed(range(60))
        raise InputError("camera 0: gone")

    kept: list[Tubes] = []
    events: list[dict[str, Any]] = []
    sinks = Sinks(tubes=lambda tubes, _: kept.append(tubes), events=[events.append])
    with pytest.raises(InputError, match="camera 0: gone"):
        run_live(LiveSource(unplugged, "0", drop=False), model, sinks, progress=False)
    assert sum(map(len, kept)) >= 2 * 16
    assert [each["event"] for each in events] == ["begin", "begin", "end", "end"]
    with pytest.raises(InputError, match="does not find people itself; give --proposals"):
        DetectorModel(ExternalWalker())  # type: ignore[arg-type]
    flow = DetectorConfig(labels=("walk",), streams="flow", proposals="external")
    with pytest.raises(InputError, match="RGB detectors only"):
        DetectorModel(Walker(flow))  # type: ignore[arg-type]


def test_a_change_of_size(tmp_path: Path) -> None:
    def changing() -> Iterator[tuple[float, np.ndarray]]:
        yield from timed(range(36))
        yield from ((number / 25, make_frame(number, 48, 64)) for number in range(36, 70))

    kept: list[Tubes] = []
    source = LiveSource(changing, "camera 0", drop=False)
    model = DetectorModel(Walker())  # type: ignore[arg-type]
    with VideoPartWriter(tmp_path) as parts, pytest.warns(UserWarning) as warned:
        sinks = Sinks([parts.write], lambda tubes, _: kept.append(tubes))
        run_live(source, model, sinks, scale=2, progress=False)
    (line,) = [str(each.message) for each in warned]
    assert line == (
        "camera 0: the frame size changed from 32x24 to 64x48 at frame 36; all "
        "actions end and new ones start"
    )
    first, second = kept
    assert set(first.frame) == set(range(36)) and set(second.frame) == set(range(36, 70))
    assert first.boxes.max() <= 32 < second.boxes.max()
    infos = [probe(path) for path in sorted(tmp_path.iterdir())]
    assert [(i.path.name, i.width, i.height, i.num_frames) for i in infos] == [
        ("live-0001.mp4", 64, 48, 36), ("live-0002.mp4", 128, 96, 34),
    ]  # fmt: skip


class Blinker:
    """A model whose person does something every other second."""

    labels = ("blink",)

    def batches(self, frames: Iterable[LiveFrame]) -> Iterator[Batch]:
        for frame in frames:
            score = 0.9 if int(frame.seconds) % 2 else 0.0
            one, zero = np.zeros(1, int), np.zeros(1, int)
            box = np.array([[4.0, 4, 20, 20]])
            yield [(frame, FramePeople(box, np.ones(1), one, zero, np.array([score])))]


def test_a_receiver_that_never_answers_holds_no_frame_up() -> None:
    """All frames are processed while the receiver still holds the first event."""
    held = threading.Event()
    queue = EventQueue(lambda line: held.wait(60) and None, size=5)
    threading.Thread(target=queue.run, daemon=True).start()
    source = LiveSource(lambda: timed(range(1000)), "camera 0", drop=False)
    sinks = Sinks(events=[queue.put])
    summary = run_live(source, Blinker(), sinks, scale=1, progress=False)
    assert (summary.frames, summary.events) == (1000, 40)
    assert queue.num_sent == 0 and queue.state()["waiting"] <= 6
    held.set()
    queue.close(20)
    assert queue.num_sent + queue.num_dropped == 40


def test_a_slow_machine_gets_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a frame takes half a second, the source gives nine in five seconds; and so on."""
    rates: list[float] = []
    source = SimpleNamespace(waited=0.0, limit_rate=rates.append)
    now = [100.0]
    monkeypatch.setattr(live_run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pace = live_run._PaceControl(source)  # type: ignore[arg-type]
    for busy, waited in ((20.0, 0.0), (4.0, 3.0), (4.0, 0.0), (0.08, 0.3), (0.08, 0.3)):
        now[0] += busy + waited
        source.waited += waited
        pace.end_batch(8)
    # The first batch loads what is needed; waiting is no work; the machine may recover.
    np.testing.assert_allclose(rates, [1.8, 1.8, 0.9 / 0.255, 0.9 / 0.1325], rtol=1e-6)


def test_names_of_sources(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    sources = ["0", f"{tmp_path}/a/door.mp4", f"{tmp_path}/b/door.mp4",
               "rtsp://user:secret@10.0.0.3:554/cam/1?x=y", "hall.avi"]  # fmt: skip
    assert name_sources(sources) == [
        "camera-0", "a/door.mp4", "b/door.mp4", "10.0.0.3_554_cam_1", "hall",
    ]  # fmt: skip
    with pytest.raises(InputError, match="00: would have the name of 0, camera-0"):
        name_sources(["0", "00"])


def test_one_source_fails_and_the_others_go_on() -> None:
    def broken() -> Any:
        raise InputError("camera 0: gone")

    def fine() -> Any:
        source = LiveSource(lambda: timed(range(30)), "camera 1", drop=False)
        return run_live(source, DetectorModel(Walker()), progress=False)  # type: ignore[arg-type]

    error, summary, other = run_together([broken, fine, fine])
    assert isinstance(error, InputError)
    assert not isinstance(summary, Exception) and summary.frames == 30
    assert not isinstance(other, Exception) and other.frames == 30


class Crowd:
    """People who come and go every few seconds, one who never leaves, and some noise."""

    labels = ("walk", "run")

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.begin = self.rng.integers(0, 200, 6)

    def batches(self, frames: Iterable[LiveFrame]) -> Iterator[Batch]:
        for frame in frames:
            loop = frame.number % 300
            there = np.array([True, *((loop - self.begin) % 200 < 120)])
            left = np.array([0, *(self.begin % 25)]) + loop % 5 * 0.2
            boxes = np.stack([left, left * 0 + 2, left + 6, left * 0 + 20], axis=1)[there]
            noise = self.rng.uniform(0, 10, (3, 4)) + np.array([0, 0, 10, 10])
            boxes = np.concatenate([boxes, noise])
            rows = np.arange(len(boxes))
            # Each changes what they do every two seconds.
            label = (rows + frame.number // 50) % 2
            score = self.rng.uniform(0.6, 0.9, len(rows))
            yield [(frame, FramePeople(boxes, np.full(len(rows), 0.6), rows, label, score))]


def test_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd through tracker, decoding, drawing and table, for ever.

    A day: ACTIONTUBES_LIVE_FRAMES=500000.
    """
    monkeypatch.setattr("actiontubes.detect.linking.action_stream._LONGEST", 3.0)
    count = int(os.environ.get("ACTIONTUBES_LIVE_FRAMES", 300))
    file = TubeCsvWriter(tmp_path / "tubes.csv")
    sizes: list[float] = []  # in megabytes
    seen = [0]

    def measure(drawn: np.ndarray, when: float) -> None:
        seen[0] += 1
        if seen[0] % (count // 10) == 0:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] / 1e6)

    source = LiveSource(lambda: timed(range(count)), "camera 0", drop=False)
    tracemalloc.start()
    summary = run_live(source, Crowd(), Sinks([measure], file.append), trail=True, scale=1,
                       progress=False)  # fmt: skip
    tracemalloc.stop()
    print(f"{count} frames, {summary.tubes} tubes, MB: {[round(size, 1) for size in sizes]}")
    assert summary.tubes > count / 50
    # Open tubes are there after the first tenths.
    assert max(sizes[5:]) < max(sizes[:5]) + 0.1, sizes
