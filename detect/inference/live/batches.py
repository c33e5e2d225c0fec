"""A live video cut into shared clips that wait for few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ....datasets.video.live_source import LiveFrame
from ....datasets.video.resize import resize
from ...boxes.carrying import carry_forward
from ...model.config import DetectorConfig
from ...people.proposals import OpenSource
from ..clip_batches import ClipBatch, iter_clip_batches
from ..clip_geometry import ClipGeometry
from ..proposal_frames import FrameWithBoxes


def iter_live_batches(
    frames: Iterable[LiveFrame],
    config: DetectorConfig,
    *,
    step: int = 8,
    lookahead: int | None = None,
    source: OpenSource | None = None,
    proposal_step: int = 1,
) -> Iterator[tuple[ClipBatch, list[LiveFrame]]]:
    """Cuts frames, as they come, into clips, each with the next `step` frames as key frames.

    Before its key frames, a clip has as many frames as in `iter_clip_batches`; after them it has
    `lookahead` frames, and then the last one repeated. All clips have the same length.

    Args:
        frames: in the order they come; some may be missing.
        config: of the detector.
        step: frames that go through the trunk together; rounded up to the trunk's stride in time.
            A key frame waits for up to `step` - 1 others.
        lookahead: frames that a clip waits for after its last key frame; None takes as many as the
            detector was trained with.
        source: where people are, for external proposals.
        proposal_step: find people on every so many frames only. What the source found moves on at
            constant velocity until it is asked again (`carry_forward`); for a detector's own
            proposals see `ClipBatch`.

    Yields:
        the batch, whose frame numbers count from 0, and its key frames.
    """
    geometry = ClipGeometry(config)
    waiting: deque[LiveFrame] = deque()

    size = (config.width, config.height)
    detected: deque[tuple[int, np.ndarray]] = deque(maxlen=2)  # frame numbers and boxes, the latest

    def person_boxes(frame: LiveFrame, source: OpenSource, index: int) -> np.ndarray:
        if index % proposal_step == 0:
            (people,) = source.propose(frame.image[None], frame.number)
            scale = np.array(size) / frame.image.shape[1::-1]
            detected.append((frame.number, people.scaled(scale).boxes))
        (first, previous), (number, latest) = detected[0], detected[-1]
        if number == frame.number:
            return latest
        return carry_forward(previous, latest, max(number - first, 1), frame.number - number, size)

    def resized() -> Iterator[FrameWithBoxes]:
        for index, frame in enumerate(frames):
            waiting.append(frame)
            boxes = None if source is None else person_boxes(frame, source, index)
            yield resize(frame.image, config.height, config.width), boxes

    batches = iter_clip_batches(
        resized(), geometry, key_frames_per_clip=step, proposal_step=proposal_step,
        lookahead=geometry.after if lookahead is None else lookahead,
    )  # fmt: skip
    for batch in batches:
        key_frames = [waiting.popleft() for _ in batch.frame_numbers]
        yield replace(batch, frame_numbers=np.arange(len(key_frames))), key_frames
