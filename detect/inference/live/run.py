"""Action tubes of a live video: found a few frames behind it, linked and drawn as they grow.

Memory is constant, however long it runs: what has ended is handed on and forgotten, and no tube
grows for ever.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tqdm import tqdm

from ....datasets.errors import InputError
from ....datasets.tables import Tubes
from ....datasets.video.live_source import LiveFrame, LiveSource
from ....datasets.video.resize import resize
from ...boxes.nms import nms_across_classes
from ...linking.greedy import SINGH, GreedyConfig, OnlineGreedyLinker
from ...model.config import DetectorConfig
from ...people.proposals import OpenSource
from ...visualization.frame import draw_frame, draw_status
from ..clip_batches import ClipBatch
from ..clip_geometry import MARGIN, TIME_STRIDE, round_up
from ..detector_tubes import TUBE_SCORE_THRESHOLD
from ..predictor import Detects, predict_batch

MAX_TUBE_SECONDS = 120.0
"""Seconds after which a tube is closed although it goes on, and another one begins."""
LIVE_LINKING = replace(SINGH, gap=15)
"""Of linking. Frames that were dropped count in the gap, which is half a second at 30 a second."""
_TRAIL = 1.0  # seconds of a box's way that are drawn
_CLOSED_EVERY = 1.0  # seconds between two collections of tubes that have ended
_LATENCIES = 10_000  # that the summary is made of, the latest

FrameSink = Callable[[np.ndarray, float], None]
"""Takes a drawn picture, (H, W, 3) uint8 RGB, and when its frame came, in seconds."""
TubeSink = Callable[[Tubes, np.ndarray], None]
"""Takes tubes that have ended, and when the frame of each row came, in seconds."""


def iter_live_batches(
    frames: Iterable[LiveFrame],
    settings: DetectorConfig,
    *,
    step: int = 8,
    look_ahead: int | None = None,
    people: OpenSource | None = None,
) -> Iterator[tuple[ClipBatch, list[LiveFrame]]]:
    """Cuts what comes into shared clips, each with the next `step` frames as key frames.

    A clip holds, before its key frames, as many frames as `dense.pieces` gives it; behind them
    those that `look_ahead` waits for, and then the last one again and again. All clips are of one
    length.

    Args:
        frames: as they come; between two of them there may be a jump.
        settings: of the detector.
        step: frames that share a pass; a multiple of the trunk's stride in time (4) is taken.
            A key frame waits for up to `step` - 1 others.
        look_ahead: frames that a clip waits for behind its last key frame; None takes as many as
            the detector was trained with.
        people: where people are.

    Yields:
        the clip, whose `frames` count from 0, and the frames that its key frames are.
    """
    unit = TIME_STRIDE * settings.frame_step
    reach = settings.frames // 2 * settings.frame_step
    behind = settings.frames * settings.frame_step - reach
    before, after = (round_up(each + MARGIN, unit) for each in (reach, behind))
    step = round_up(step, unit)
    ahead = min(after, behind if look_ahead is None else look_ahead)
    size = np.array([settings.width_pixels, settings.height])
    past: deque[np.ndarray] = deque(maxlen=before)
    waiting: list[tuple[LiveFrame, np.ndarray, np.ndarray | None]] = []

    def cut() -> tuple[ClipBatch, list[LiveFrame]]:
        small = [each for _, each, _ in waiting]
        padded = [*past, *small, *[small[-1]] * (step + after - len(small))]
        keys = waiting[:step]
        numbers = np.arange(len(keys))
        found = [boxes for _, _, boxes in keys]
        piece = ClipBatch(
            torch.from_numpy(np.stack(padded[:: settings.frame_step]))[None],
            torch.zeros(len(keys), dtype=torch.int64),
            torch.from_numpy((numbers + before) / settings.frame_step),
            numbers,
            None if people is None else [torch.from_numpy(np.asarray(b)).float() for b in found],
        )
        past.extend(small[:step])
        del waiting[:step]
        return piece, [frame for frame, _, _ in keys]

    for frame in frames:
        picture = frame.picture
        small = resize(picture, settings.height, settings.width_pixels)
        boxes = None
        if people is not None:
            scale = np.tile(size / picture.shape[1::-1], 2)
            boxes = people.propose(picture[None], frame.number)[0].boxes * scale
        if not past:
            past.extend([small] * before)
        waiting.append((frame, small, boxes))
        if len(waiting) == step + ahead:
            yield cut()
    while waiting:
        yield cut()


@dataclass
class _Growing:
    """A tube as it is drawn: its scores so far, and where it was in the last second."""

    first: LiveFrame
    last: int
    boxes: int = 0
    total: float = 0.0
    way: deque[tuple[float, np.ndarray]] = field(default_factory=deque)


class LiveTubeTracker:
    """Links what is found, frame by frame, and draws the tubes that grow.

    Args:
        labels: the detector's classes.
        rules: of linking.
        longest: see `LONGEST`.
        trail: draw the way of each box's centre over the last second.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        rules: GreedyConfig = LIVE_LINKING,
        *,
        longest: float = MAX_TUBE_SECONDS,
        trail: bool = False,
    ) -> None:
        self.labels, self.rules, self.longest, self.trail = labels, rules, longest, trail
        self._linker = OnlineGreedyLinker(labels, rules)
        self._growing: dict[int, _Growing] = {}
        self._times: deque[tuple[int, float]] = deque()
        self._given = 0

    def add(
        self,
        frame: LiveFrame,
        label: np.ndarray,
        score: np.ndarray,
        boxes: np.ndarray,
        scale: int | None = None,
    ) -> np.ndarray:
        """Takes the boxes of the next frame.

        Args:
            frame: its number and time are above those of the last call.
            label, score: (N,), see `OnlineGreedyLinker.update`.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the frame.
            scale: see `draw_frame`.

        Returns:
            the frame, enlarged by `scale`, with the boxes of tubes that are long enough to count;
            one label a person.
        """
        number = self._linker.update(frame.number, label, score, boxes)
        self._times.append((frame.number, frame.time))
        for row in np.flatnonzero(number >= 0):
            tube = self._growing.setdefault(int(number[row]), _Growing(_bare(frame), frame.number))
            tube.last = frame.number
            tube.boxes += 1
            tube.total += float(score[row])
            tube.way.append((frame.time, (boxes[row, :2] + boxes[row, 2:]) / 2))
            while frame.time - tube.way[0][0] > _TRAIL:
                tube.way.popleft()
        rows = [
            row for row, tube in enumerate(number.tolist())
            if tube >= 0 and self._growing[tube].boxes >= self.rules.min_length
        ]  # fmt: skip
        drawn = self._drawn(frame, label[rows], boxes[rows], number[rows], scale)
        long = [
            each for each, its in self._growing.items()
            if frame.time - its.first.time >= self.longest
        ]  # fmt: skip
        if long:
            self._linker.close(np.array(long))
            for each in long:
                del self._growing[each]
        return drawn

    def _drawn(
        self,
        frame: LiveFrame,
        label: np.ndarray,
        boxes: np.ndarray,
        number: np.ndarray,
        scale: int | None,
    ) -> np.ndarray:
        means = [self._growing[tube].total / self._growing[tube].boxes for tube in number.tolist()]
        score = np.array(means, np.float64)
        same = np.zeros(len(number), np.int32)
        now = nms_across_classes(
            Tubes(same, same, label, boxes, number, ("live",), self.labels, score, score)
        )
        trails = None
        if self.trail:
            trails = {
                tube: np.stack([centre for _, centre in self._growing[tube].way])
                for tube in now.tube.tolist()
            }
        return draw_frame(
            frame.picture, now.boxes, [self.labels[each] for each in now.label], now.tube_score,
            now.tube, trails=trails, scale=scale,
        )  # fmt: skip

    def take_closed(self) -> tuple[Tubes, np.ndarray]:
        """The tubes that have ended, and when each row's frame came; they are then forgotten.

        Tubes have numbers that no others had before.
        """
        taken = self._numbered(self._linker.take_closed())
        if self._times:
            newest = self._times[-1][0]
            for number, tube in list(self._growing.items()):
                if newest - tube.last > self.rules.gap:
                    del self._growing[number]
            needed = min((its.first.number for its in self._growing.values()), default=newest)
            while self._times[0][0] < needed:
                self._times.popleft()
        return taken

    def finish(self) -> tuple[Tubes, np.ndarray]:
        """All tubes that have not been taken; the next frame starts new ones."""
        taken = self._numbered(self._linker.tubes())
        self._linker = OnlineGreedyLinker(self.labels, self.rules)
        self._growing.clear()
        self._times.clear()
        return taken

    def _numbered(self, tubes: Tubes) -> tuple[Tubes, np.ndarray]:
        """Their numbers counted on, and the time of each row, on a line between known ones."""
        numbered = replace(tubes, tube=tubes.tube + self._given)
        self._given += int(tubes.tube.max(initial=-1)) + 1
        known = np.array(self._times, np.float64).reshape(-1, 2)
        if not len(tubes):
            return numbered, np.empty(0)
        return numbered, np.interp(tubes.frame, known[:, 0], known[:, 1])


def _bare(frame: LiveFrame) -> LiveFrame:
    """Without its picture, which would stay in memory."""
    return replace(frame, picture=np.empty((0, 0, 3), np.uint8))


@dataclass
class LiveSummary:
    """What a run has done.

    Attributes:
        frames: that were looked at.
        dropped: that came too fast.
        tubes: that have ended.
        latencies: seconds from a frame's coming to its showing, of the latest frames.
    """

    frames: int = 0
    dropped: int = 0
    tubes: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def latency(self, share: float) -> float:
        """The latency that this share of the frames stays below; 0 before the first frame."""
        return float(np.quantile(self.latencies, share)) if self.latencies else 0.0


def run_live(
    source: LiveSource,
    detector: Detects,
    people: OpenSource | None = None,
    *,
    step: int = 8,
    look_ahead: int | None = None,
    tubes: LiveTubeTracker | None = None,
    show: Iterable[FrameSink] = (),
    keep: TubeSink | None = None,
    most_frames: int | None = None,
    threshold: float = TUBE_SCORE_THRESHOLD,
    scale: int | None = None,
    half: torch.dtype | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> LiveSummary:
    """Looks at a source until it ends, is stopped, or has given `most_frames` frames.

    Where the picture's size changes, all tubes end and a warning says so. Whatever ends the run,
    also an error of the source, tubes that were growing are kept.

    Args:
        source: of the frames.
        detector: in evaluation mode, on `device`; one that sees RGB.
        people: where people are, in place of the detector's own proposals if it has some.
        step, look_ahead: see `iter_live_batches`.
        tubes: links and draws; new ones by default.
        show: get every drawn frame.
        keep: gets the tubes that have ended.
        most_frames: frames to look at.
        threshold: the lowest score of a box in a tube.
        scale: see `draw_frame`.
        half, device: see `predict_batch`.
        progress: show frames a second, latency and dropped frames on stderr.

    Raises:
        InputError: the source fails; a detector without proposals got no people; one on flow.
    """
    settings = detector.settings
    if settings.clip_streams != "rgb":
        raise InputError(
            "--checkpoint: live video works with RGB detectors only, and this one uses optical flow"
        )
    if people is None and detector.proposals is None:
        raise InputError(
            "--checkpoint: this detector does not find people itself; give --proposals"
        )
    tubes = tubes or LiveTubeTracker(settings.labels)
    summary = LiveSummary()
    shape: tuple[int, ...] | None = None
    collected = time.monotonic()

    def hand_on(ended: tuple[Tubes, np.ndarray]) -> None:
        summary.tubes += len(np.unique(ended[0].tube))
        if keep is not None and len(ended[0]):
            keep(*ended)

    frames = _first(source.frames(), most_frames)
    parts = iter_live_batches(frames, settings, step=step, look_ahead=look_ahead, people=people)
    bar = tqdm(desc=source.name, unit=" frames", disable=not progress)
    try:
        with bar:
            for piece, keys in parts:
                found = predict_batch(
                    detector, piece, device=device, half=half, threshold=threshold
                )
                for place, frame in enumerate(keys):
                    if shape is not None and frame.picture.shape != shape:
                        now = f"{frame.picture.shape[1]}x{frame.picture.shape[0]}"
                        warnings.warn(
                            f"{source.name}: the frame size changed from "
                            f"{shape[1]}x{shape[0]} to {now} at frame {frame.number}; all tubes "
                            "end and new ones start",
                            stacklevel=2,
                        )
                        hand_on(tubes.finish())
                    shape = frame.picture.shape
                    rows = found.frame == place
                    boxes = found.boxes[rows] * np.tile(shape[1::-1], 2)
                    drawn = tubes.add(frame, found.label[rows], found.score[rows], boxes, scale)
                    latency = time.monotonic() - frame.time
                    summary.latencies.append(latency)
                    summary.frames, summary.dropped = summary.frames + 1, source.dropped
                    status = f"latency {latency:.2f} s, {source.dropped} dropped"
                    draw_status(drawn, status)
                    for each in show:
                        each(drawn, frame.time)
                bar.set_postfix_str(status, refresh=False)
                bar.update(len(keys))
                if time.monotonic() - collected > _CLOSED_EVERY:
                    collected = time.monotonic()
                    hand_on(tubes.take_closed())
    finally:
        source.stop()
        hand_on(tubes.finish())
    return summary


def _first(frames: Iterator[LiveFrame], most: int | None) -> Iterator[LiveFrame]:
    for count, frame in enumerate(frames):
        if count == most:
            return
        yield frame
