"""The tubes of a live video: linked and drawn as they grow, handed out when they end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from ....datasets.tables import Detections, Tubes
from ....datasets.video.live_source import LiveFrame
from ...boxes.nms import nms_across_classes
from ...linking.greedy import SINGH, GreedyLinker
from ...visualization.frame import draw_frame

MAX_TUBE_SECONDS = 120.0
"""A tube that lasts longer is ended, and another one begins."""
LIVE_LINKING = replace(SINGH, gap=15)
"""Dropped frames count in the gap, which is half a second at 30 frames a second."""
_TRAIL_SECONDS = 1.0


@dataclass
class _GrowingTube:
    """A tube as it is drawn: its scores so far, and the centers of its boxes in the last second."""

    first_number: int
    first_time: float
    last_number: int
    boxes: int = 0
    total_score: float = 0.0
    centers: deque[tuple[float, np.ndarray]] = field(default_factory=deque)


class LiveTubeTracker:
    """Links detections frame by frame, and draws the tubes that grow.

    Args:
        labels: classes of the detector.
        max_seconds: see `MAX_TUBE_SECONDS`.
        trail: draw the path of each box's center over the last second.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        *,
        max_seconds: float = MAX_TUBE_SECONDS,
        trail: bool = False,
    ) -> None:
        self.labels, self.max_seconds, self.trail = labels, max_seconds, trail
        self._linker = GreedyLinker(LIVE_LINKING)
        self._growing: dict[int, _GrowingTube] = {}
        self._times: deque[tuple[int, float]] = deque()  # number and time of frames

    def add(
        self,
        frame: LiveFrame,
        label: np.ndarray,
        score: np.ndarray,
        boxes: np.ndarray,
        scale: int | None = None,
    ) -> np.ndarray:
        """Takes the detections of the next frame.

        Args:
            frame: its number and time are higher than those of the last call.
            label, score: (N,) index into the labels, and score.
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the frame.
            scale: see `draw_frame`.

        Returns:
            the frame, enlarged by `scale`, with the boxes of tubes that are long enough to count,
            one label for each person.
        """
        detections = Detections(
            video=np.zeros(len(score), np.int32), frame=np.full(len(score), frame.number),
            label=label, score=score, boxes=boxes.astype(np.float64), video_names=("live",),
            label_names=self.labels,
        )  # fmt: skip
        tube_numbers = self._linker.assign(detections, last_frame=frame.number)
        self._times.append((frame.number, frame.time))
        for row in np.flatnonzero(tube_numbers >= 0):
            tube = self._growing.setdefault(
                int(tube_numbers[row]), _GrowingTube(frame.number, frame.time, frame.number)
            )
            tube.last_number = frame.number
            tube.boxes += 1
            tube.total_score += float(score[row])
            tube.centers.append((frame.time, (boxes[row, :2] + boxes[row, 2:]) / 2))
            while frame.time - tube.centers[0][0] > _TRAIL_SECONDS:
                tube.centers.popleft()
        rows = [
            row for row, number in enumerate(tube_numbers.tolist())
            if number >= 0 and self._growing[number].boxes >= LIVE_LINKING.min_length
        ]  # fmt: skip
        drawn = self._draw(frame, label[rows], boxes[rows], tube_numbers[rows], scale)
        too_long = [
            number for number, tube in self._growing.items()
            if frame.time - tube.first_time >= self.max_seconds
        ]  # fmt: skip
        if too_long:
            self._linker.close(np.array(too_long))
            for number in too_long:
                del self._growing[number]
        return drawn

    def _draw(
        self,
        frame: LiveFrame,
        label: np.ndarray,
        boxes: np.ndarray,
        tube_numbers: np.ndarray,
        scale: int | None,
    ) -> np.ndarray:
        growing = [self._growing[number] for number in tube_numbers.tolist()]
        score = np.array([tube.total_score / tube.boxes for tube in growing], np.float64)
        same = np.zeros(len(growing), np.int32)
        shown = nms_across_classes(
            Tubes(
                video=same, frame=same, label=label, boxes=boxes, tube=tube_numbers,
                video_names=("live",), label_names=self.labels, score=score, tube_score=score,
            )
        )  # fmt: skip
        trails = None
        if self.trail:
            trails = {
                number: np.stack([center for _, center in self._growing[number].centers])
                for number in shown.tube.tolist()
            }
        return draw_frame(
            frame.image, shown.boxes, [self.labels[each] for each in shown.label],
            shown.tube_score, shown.tube, trails=trails, scale=scale,
        )  # fmt: skip

    def pop_closed(self) -> tuple[Tubes, np.ndarray]:
        """Removes the tubes that have ended.

        Returns:
            the tubes, with numbers that no others had before, and when the frame of each row came,
            in seconds.
        """
        closed = self._with_times(self._linker.pop_closed())
        if self._times:
            newest = self._times[-1][0]
            for number, tube in list(self._growing.items()):
                if newest - tube.last_number > LIVE_LINKING.gap:
                    del self._growing[number]
            needed = min((tube.first_number for tube in self._growing.values()), default=newest)
            while self._times[0][0] < needed:
                self._times.popleft()
        return closed

    def finish(self) -> tuple[Tubes, np.ndarray]:
        """Ends and removes all tubes, as `pop_closed`; the next frame starts new ones."""
        remaining = self._with_times(self._linker.finish().tubes)
        self._growing.clear()
        self._times.clear()
        return remaining

    def _with_times(self, tubes: Tubes) -> tuple[Tubes, np.ndarray]:
        """Tubes, and the time of each row, interpolated between frames that came."""
        if not len(tubes):
            return tubes, np.empty(0)
        known = np.array(self._times, np.float64)
        return tubes, np.interp(tubes.frame, known[:, 0], known[:, 1])
