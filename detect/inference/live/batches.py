"""A live video cut into shared clips that wait for few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ....datasets.video.live_queue import LiveFrame
from ....datasets.video.resize import resize
from ...boxes.carrying import carry_forward
from ...model.config import DetectorConfig
from ...people.person_boxes import PersonBoxes
from ...people.proposals import OpenSource
from ..clip_batches import ClipBatch, iter_clip_batches
from ..clip_geometry import ClipGeometry
from ..proposal_frames import FrameWithBoxes

MAX_WAIT = 1.0
"""Seconds that key frames wait for those that follow, however slowly these come."""
_RATED = 8  # frames whose intervals tell the rate


class LivePeople:
    """The people on each frame; asks a source for them on every `step`-th frame only.

    What the source found moves on at constant velocity until it is asked again (`carry_forward`).

    Args:
        source: where people are.
        step: see above.
    """

    def __init__(self, source: OpenSource, step: int = 1) -> None:
        self.source, self.step = source, step
        self._index = 0
        self._found: deque[tuple[int, PersonBoxes]] = deque(maxlen=2)  # by frame number

    def find(self, frame: LiveFrame) -> PersonBoxes:
        """In pixels of the frame."""
        if self._index % self.step == 0:
            (people,) = self.source.propose(frame.image[None], frame.number)
            self._found.append((frame.number, people))
        self._index += 1
        (first, previous), (number, latest) = self._found[0], self._found[-1]
        if number == frame.number:
            return latest
        height, width = frame.image.shape[:2]
        boxes = carry_forward(
            previous.boxes, latest.boxes, max(number - first, 1), frame.number - number,
            (width, height),
        )  # fmt: skip
        return replace(latest, boxes=boxes)


class Lookahead:
    """How many frames a clip waits for: as many as come within `MAX_WAIT`, and at most `most`."""

    def __init__(self, most: int, max_wait: float = MAX_WAIT) -> None:
        self.most, self.max_wait = most, max_wait
        self._times: deque[float] = deque(maxlen=_RATED)

    def watch(self, frames: Iterable[LiveFrame]) -> Iterator[LiveFrame]:
        """The frames, whose rate is measured."""
        for frame in frames:
            self._times.append(frame.time)
            yield frame

    def __call__(self) -> int:
        seconds = self._times[-1] - self._times[0] if self._times else 0.0
        if not seconds:
            return self.most
        rate = (len(self._times) - 1) / seconds
        return min(self.most, int(rate * self.max_wait))


def iter_live_batches(
    frames: Iterable[LiveFrame],
    config: DetectorConfig,
    *,
    step: int = 8,
    lookahead: int | None = None,
    people: Callable[[LiveFrame], PersonBoxes] | None = None,
    proposal_step: int = 1,
) -> Iterator[tuple[ClipBatch, list[LiveFrame]]]:
    """Cuts frames, as they come, into clips, each with the next `step` frames as key frames.

    Before its key frames, a clip has as many frames as in `iter_clip_batches`; after them it has
    `lookahead` frames or those that come within `MAX_WAIT`, and then the last one repeated. All
    clips have the same length.

    Args:
        frames: in the order they come; some may be missing.
        config: of the detector.
        step: frames that go through the trunk together; rounded up to the trunk's stride in time.
            A key frame waits for up to `step` - 1 others.
        lookahead: frames that a clip waits for after its last key frame; None takes as many as the
            detector was trained with.
        people: who is on a frame, for external proposals.
        proposal_step: of a detector's own proposals; see `ClipBatch`.

    Yields:
        the batch, whose frame numbers count from 0, and its key frames.
    """
    geometry = ClipGeometry(config)
    waiting: deque[LiveFrame] = deque()
    size = np.array([config.width, config.height])
    ahead = Lookahead(geometry.after if lookahead is None else lookahead)

    def resized() -> Iterator[FrameWithBoxes]:
        for frame in ahead.watch(frames):
            waiting.append(frame)
            boxes = None
            if people is not None:
                boxes = people(frame).scaled(size / frame.image.shape[1::-1]).boxes
            yield resize(frame.image, config.height, config.width), boxes

    batches = iter_clip_batches(
        resized(), geometry, key_frames_per_clip=step, proposal_step=proposal_step, lookahead=ahead
    )
    for batch in batches:
        key_frames = [waiting.popleft() for _ in batch.frame_numbers]
        yield replace(batch, frame_numbers=np.arange(len(key_frames))), key_frames
