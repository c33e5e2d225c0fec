"""Frames of a video for the clips, its key frames with the person boxes of a proposal source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ...datasets.video.resize import resize
from ..boxes.carrying import carry_between
from ..people.proposals import OpenSource

PROPOSAL_FRAMES = 8
"""Consecutive frames that a proposal source gets together."""
FrameWithBoxes = tuple[np.ndarray, np.ndarray | None]
"""A resized frame, and on key frames (P, 4) person boxes in its pixels."""


def with_person_boxes(
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    channels: slice,
    source: OpenSource,
    key_frame_step: int = 1,
    proposal_step: int = 1,
) -> Iterator[FrameWithBoxes]:
    """Resizes frames and asks a source for the people on key frames.

    Args:
        frames: all frames of a video, (H, W, C) uint8, RGB first.
        size: (width, height) of the result.
        channels: those of the result.
        source: sees the frames before they are resized.
        key_frame_step: frames from one key frame to the next.
        proposal_step: the source sees every so many key frames, and the last one; to the key frames
            between, boxes are carried (`carry_between`), which takes as many frames ahead.
    """
    width, height = size

    def prepare(frame: np.ndarray) -> np.ndarray:
        return resize(frame[..., channels], height, width)

    def propose(batch: list[np.ndarray], first_frame: int) -> list[np.ndarray]:
        people = source.propose(np.stack([frame[..., :3] for frame in batch]), first_frame)
        scale = np.array(size) / batch[0].shape[1::-1]
        return [each.scaled(scale).boxes for each in people]

    if proposal_step > 1:
        yield from _with_carried_boxes(frames, prepare, propose, key_frame_step, proposal_step)
        return
    # A source takes consecutive frames: one at a time where not all are key frames.
    batch_size = PROPOSAL_FRAMES if key_frame_step == 1 else 1
    batch: list[np.ndarray] = []

    def flush(stop: int) -> Iterator[FrameWithBoxes]:
        yield from zip(map(prepare, batch), propose(batch, stop - len(batch)), strict=True)
        batch.clear()

    number = -1
    for number, frame in enumerate(frames):
        if number % key_frame_step:
            yield prepare(frame), None
            continue
        batch.append(frame)
        if len(batch) == batch_size:
            yield from flush(number + 1)
    if batch:
        yield from flush(number + 1)


def _with_carried_boxes(
    frames: Iterable[np.ndarray],
    prepare: Callable[[np.ndarray], np.ndarray],
    propose: Callable[[list[np.ndarray], int], list[np.ndarray]],
    key_frame_step: int,
    proposal_step: int,
) -> Iterator[FrameWithBoxes]:
    """See `with_person_boxes`; `prepare` resizes, `propose` gives boxes in the resized frames."""
    waiting: list[np.ndarray] = []  # resized frames, from the last one with detections on
    start, boxes = 0, np.empty((0, 4))  # number and detections of that one
    key_frame, key_number = None, 0  # the latest, not resized

    def flush(stop: int, last: np.ndarray) -> Iterator[FrameWithBoxes]:
        gap = (stop - start) // key_frame_step
        by_key_frame = [boxes, *carry_between(boxes, last, gap), last]
        for offset, image in enumerate(waiting):
            key, between = divmod(offset, key_frame_step)
            yield image, None if between else by_key_frame[key]
        waiting.clear()

    for number, frame in enumerate(frames):
        if number % key_frame_step == 0:
            key_frame, key_number = frame, number
            if number % (key_frame_step * proposal_step) == 0:
                (last,) = propose([frame], number)
                yield from flush(number, last)
                start, boxes = number, last
        waiting.append(prepare(frame))
    if key_frame is not None:
        last = boxes if key_number == start else propose([key_frame], key_number)[0]
        yield from flush(key_number, last)
