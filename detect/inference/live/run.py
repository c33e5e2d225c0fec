"""Who does what in a live video, a few frames behind it.

Memory is constant, however long it runs: what has ended is handed out and forgotten, and no tube
grows without end. A machine that is too slow gets fewer frames, at even intervals, and never lags
behind more and more.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ....datasets.tables import Tubes
from ....datasets.video.live_queue import LiveFrame
from ....datasets.video.live_source import LiveSource
from ...linking.action_stream import (
    ActionEvent,
    ActionStream,
    FramePeople,
    PersonNow,
    StreamConfig,
)
from ...visualization.frame import draw_frame, draw_status
from .board import describe_people
from .events import describe_event, epoch_of_clock, format_clock
from .models import LiveModel
from .zones import Zone

_EMIT_SECONDS = 1.0  # between two collections of tubes that have ended
_LATENCIES = 10_000  # the latest, which the summary is made of
_TRAIL_SECONDS = 1.0
_RATED = 30  # frames whose intervals tell the frame rate
_SHARE = 0.9  # of the frames that the machine could process, so that none waits for long
_SLOWEST = 0.2  # frames a second
_ZONE_COLOR = (255, 255, 255)

FrameSink = Callable[[np.ndarray, float], None]
"""Takes a drawn frame, (H, W, 3) uint8 RGB, and when the frame came, in seconds."""
TubeSink = Callable[[Tubes, np.ndarray], None]
"""Takes tubes that have ended, and when the frame of each row came, in seconds."""
EventSink = Callable[[dict[str, Any]], None]
"""Takes an event (see `describe_event`); it must not wait."""
StatusSink = Callable[[dict[str, Any]], None]
"""Takes the state after a batch: frame, seconds, clock, frames_per_second, latency, dropped, ended
and people (see `board.describe_people`)."""


@dataclass(frozen=True)
class Sinks:
    """Who gets what of a run.

    Attributes:
        frames: get every drawn frame.
        tubes: gets the tubes that have ended.
        events: get every event.
        status: gets the state after each batch.
    """

    frames: Sequence[FrameSink] = ()
    tubes: TubeSink | None = None
    events: Sequence[EventSink] = ()
    status: StatusSink | None = None


@dataclass
class LiveSummary:
    """What a run has done.

    Attributes:
        frames: frames that were processed.
        dropped: frames that came too fast.
        tubes: tubes that have ended.
        events: beginnings and ends of actions.
        latencies: seconds from a frame's coming to its showing, of the latest frames.
    """

    frames: int = 0
    dropped: int = 0
    tubes: int = 0
    events: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def latency(self, quantile: float) -> float:
        """A quantile of the latencies in seconds; 0 before the first frame."""
        return float(np.quantile(self.latencies, quantile)) if self.latencies else 0.0

    def text(self) -> str:
        """A line for people."""
        return (
            f"{self.frames} frames, {self.dropped} dropped, {self.tubes} tubes, latency "
            f"{self.latency(0.5):.2f} s (95 % below {self.latency(0.95):.2f} s)"
        )


def run_live(
    live_source: LiveSource,
    model: LiveModel,
    sinks: Sinks = Sinks(),
    *,
    name: str | None = None,
    config: StreamConfig | None = None,
    zones: Sequence[Zone] = (),
    trail: bool = False,
    max_frames: int | None = None,
    scale: int | None = None,
    progress: bool = True,
) -> LiveSummary:
    """Processes a live source until it ends, is stopped, or `max_frames` frames are processed.

    Where the frame size changes, all actions end, with a warning. Whatever ends the run, also an
    error of the source, actions that were going on end and are handed out.

    Args:
        live_source: of the frames.
        model: finds people and what they do.
        sinks: who gets what.
        name: of the source, in events; None is that of `live_source`.
        config: when an action begins and ends.
        zones: events are of people inside them alone; all zones are drawn.
        trail: draw the path of each box's center over the last second.
        max_frames: frames to process.
        scale: see `draw_frame`.
        progress: show frames a second, latency and dropped frames on stderr.

    Raises:
        InputError: the source fails.
    """
    name = name or live_source.name
    run = _Run(live_source, name, model, sinks, config or StreamConfig(), zones, trail, scale)
    bar = tqdm(desc=name, unit=" frames", disable=not progress)
    try:
        with bar:
            for batch in model.batches(islice(live_source.frames(), max_frames)):
                for frame, people in batch:
                    run.add(frame, people)
                run.end_batch(len(batch))
                bar.set_postfix_str(run.status, refresh=False)
                bar.update(len(batch))
    finally:
        live_source.stop()
        run.finish()
    return run.summary


class _Run:
    """The state of a run; see `run_live`."""

    def __init__(
        self,
        live_source: LiveSource,
        name: str,
        model: LiveModel,
        sinks: Sinks,
        config: StreamConfig,
        zones: Sequence[Zone],
        trail: bool,
        scale: int | None,
    ) -> None:
        self.summary = LiveSummary()
        self.status = ""
        self._source, self._name = live_source, name
        self._labels, self._sinks = model.labels, sinks
        self._zones, self._scale = zones, scale
        inside = {zone.name: zone.contains for zone in zones}
        self._stream = ActionStream(model.labels, config, zones=inside)
        self._trails = _Trails() if trail else None
        self._last: LiveFrame | None = None
        self._shown: deque[float] = deque(maxlen=_RATED)
        self._offset = 0.0  # from the time that frames have in the video to that of their coming
        self._epoch = epoch_of_clock()
        self._collected = time.monotonic()
        self._pace = _PaceControl(live_source)

    def add(self, frame: LiveFrame, people: FramePeople) -> None:
        """Takes the next frame: follows, draws and hands it out."""
        last = self._last
        if last is not None and frame.image.shape != last.image.shape:
            old, new = (f"{each.image.shape[1]}x{each.image.shape[0]}" for each in (last, frame))
            warnings.warn(
                f"{self._name}: the frame size changed from {old} to {new} at frame "
                f"{frame.number}; all actions end and new ones start",
                stacklevel=3,
            )
            self._hand_out(self._stream.finish())
            self._collect()
        self._last, self._offset = frame, frame.time - frame.seconds
        self._hand_out(self._stream.update(frame.number, frame.seconds, people))
        drawn = self._draw(frame)
        now = time.monotonic()
        latency = now - frame.time
        self._shown.append(now)
        summary = self.summary
        summary.latencies.append(latency)
        summary.frames += 1
        summary.dropped = self._source.dropped
        self.status = f"latency {latency:.2f} s, {summary.dropped} dropped"
        draw_status(drawn, f"{format_clock(self._epoch + frame.time)[11:19]} UTC, {self.status}")
        for sink in self._sinks.frames:
            sink(drawn, frame.time)

    def end_batch(self, num_frames: int) -> None:
        """Adapts the rate of the source, tells the state, and collects tubes now and then."""
        self._pace.end_batch(num_frames)
        self._show_state()
        if time.monotonic() - self._collected > _EMIT_SECONDS:
            self._collect()

    def finish(self) -> None:
        self._hand_out(self._stream.finish())
        self._collect()
        self._show_state(ended=True)

    def _draw(self, frame: LiveFrame) -> np.ndarray:
        now = self._stream.now
        boxes = np.array([each.box for each in now]).reshape(-1, 4)
        drawn = draw_frame(
            frame.image, boxes, [self._tag(each) for each in now],
            tubes=[each.person for each in now], scale=self._scale,
            trails=self._trails.add(frame.seconds, now) if self._trails else None,
        )  # fmt: skip
        size = np.array(drawn.shape[1::-1]) / frame.image.shape[1::-1]
        for zone in self._zones:
            corners = np.round(zone.corners * size).astype(np.int32)
            cv2.polylines(drawn, [corners], True, _ZONE_COLOR, 2, cv2.LINE_AA)
        return drawn

    def _tag(self, person: PersonNow) -> str:
        actions = (f"{self._labels[label]} {score:.2f}" for label, score, _ in person.actions[:1])
        return " ".join([str(person.person), *actions])

    def _hand_out(self, events: list[ActionEvent]) -> None:
        self.summary.events += len(events)
        for event in events:
            clock = self._epoch + self._offset
            described = describe_event(event, self._labels, self._name, clock)
            for sink in self._sinks.events:
                sink(described)

    def _collect(self) -> None:
        self._collected = time.monotonic()
        tubes, seconds = self._stream.pop_tubes()
        self.summary.tubes += len(np.unique(tubes.tube))
        if self._sinks.tubes is not None and len(tubes):
            self._sinks.tubes(tubes, seconds + self._offset)

    def _show_state(self, ended: bool = False) -> None:
        frame, sink = self._last, self._sinks.status
        if sink is None or frame is None:
            return
        seconds = self._shown[-1] - self._shown[0]
        sink(
            {
                "frame": frame.number, "seconds": round(frame.seconds, 3),
                "clock": format_clock(self._epoch + frame.time),
                "frames_per_second": round((len(self._shown) - 1) / seconds, 2) if seconds else 0.0,
                "latency": round(self.summary.latencies[-1], 3),
                "dropped": self.summary.dropped, "ended": ended,
                "people": describe_people(self._stream.now, self._labels),
            }
        )  # fmt: skip


class _PaceControl:
    """Lets a source give as many frames as the machine can process."""

    def __init__(self, source: LiveSource) -> None:
        self._source = source
        self._ended, self._waited = time.monotonic(), source.waited
        self._busy: float | None = None  # seconds a frame, lately
        self._is_first = True  # batches take longer before everything is loaded

    def end_batch(self, num_frames: int) -> None:
        now, waited = time.monotonic(), self._source.waited
        busy = (now - self._ended - (waited - self._waited)) / num_frames
        self._ended, self._waited = now, waited
        if self._is_first:
            self._is_first = False
            return
        self._busy = busy if self._busy is None else (self._busy + busy) / 2
        self._source.limit_rate(max(_SHARE / max(self._busy, 1e-6), _SLOWEST))


class _Trails:
    """The centers of people's boxes in the last second."""

    def __init__(self) -> None:
        self._centers: dict[int, deque[tuple[float, np.ndarray]]] = {}

    def add(self, seconds: float, people: Iterable[PersonNow]) -> dict[int, np.ndarray]:
        """(N, 2) by person, for `draw_frame`."""
        now = {}
        for each in people:
            centers = self._centers.get(each.person, deque())
            centers.append((seconds, (each.box[:2] + each.box[2:]) / 2))
            while seconds - centers[0][0] > _TRAIL_SECONDS:
                centers.popleft()
            now[each.person] = centers
        self._centers = now
        return {person: np.stack([c for _, c in centers]) for person, centers in now.items()}
