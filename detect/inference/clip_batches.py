"""A video cut into batches of clips for the trunk, prepared in threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ...datasets.flow.estimate import STREAM_CHANNELS, append_missing_flow
from ...datasets.prefetch import prefetch
from ...datasets.video.resize import resize
from ..model.config import DetectorConfig
from ..people.proposals import OpenSource
from .clip_geometry import KEY_FRAMES_PER_CLIP, MARGIN, TIME_STRIDE, Mode, round_up

Item = TypeVar("Item")
_CLIPS_AT_ONCE = 4  # of per_clip
_PEOPLE_AT_ONCE = 8  # frames that a source of proposals gets together
_FRAMES_AHEAD = 16  # decoded before they are needed


@dataclass(frozen=True)
class ClipBatch:
    """Part of a video that is looked at in one go.

    Attributes:
        clips: (N, T, H, W, 3) uint8 of the trunk's size.
        clip_of: (K,) the clip of each key frame.
        key_frames: (K,) where it stands there, in frames of the clip; between two of them where the
            clip skips frames.
        frames: (K,) the key frames' numbers in the video.
        people: K times (P, 4) person boxes in pixels of the clip, or None where the detector
            proposes itself.
    """

    clips: Tensor
    clip_of: Tensor
    key_frames: Tensor
    frames: np.ndarray
    people: list[Tensor] | None


def iter_clip_batches(
    frames: Iterable[tuple[np.ndarray, np.ndarray | None]],
    context: int,
    *,
    frame_step: int = 1,
    mode: Mode = "shared",
    every: int = 1,
    core: int = KEY_FRAMES_PER_CLIP,
) -> Iterator[ClipBatch]:
    """Cuts a video into what the trunk gets.

    Frames before the video's first and behind its last one repeat these.

    Args:
        frames: (H, W, 3) uint8 of the trunk's size, each with the (P, 4) boxes of its people or
            None, one after the other.
        context: frames of the trunk's input around a key frame; the key frame is number
            context // 2 of them.
        frame_step: frames of the video from one of the trunk's input to the next.
        mode: see above.
        every: frames from one key frame to the next.
        core: key frames of a shared clip, or fewer where the video ends.
    """
    unit = TIME_STRIDE * frame_step
    before, after = context // 2 * frame_step, (context - context // 2) * frame_step
    if mode == "shared":
        before, after = round_up(before + MARGIN, unit), round_up(after + MARGIN, unit)
        run = round_up(core, unit)
    else:
        run = every * _CLIPS_AT_ONCE
    buffer: list[np.ndarray] = []
    people: list[np.ndarray | None] = []
    start, count = 0, 0  # the run's first frame; frames that have come

    def has_keys(stop: int) -> bool:
        return -(-start // every) * every < stop

    def cut(stop: int) -> ClipBatch:
        numbers = np.arange(-(-start // every) * every, stop, every)
        if mode == "shared":
            length = before + round_up(stop - start, unit) + after
            padded = [*buffer, *[buffer[-1]] * (length - len(buffer))]
            clips = [np.stack(padded[:length:frame_step])]
            clip_of, key_frames = np.zeros_like(numbers), (numbers - start + before) / frame_step
        else:
            padded = [*buffer, *[buffer[-1]] * after]
            clips = [
                np.stack(padded[n - start : n - start + before + after : frame_step])
                for n in numbers
            ]
            clip_of, key_frames = np.arange(len(numbers)), np.full(len(numbers), context // 2)
        boxes = [people[n - start] for n in numbers]
        return ClipBatch(
            torch.from_numpy(np.stack(clips)), torch.from_numpy(clip_of),
            torch.from_numpy(key_frames), numbers,
            None if boxes[0] is None else [torch.from_numpy(one).float() for one in boxes],
        )  # fmt: skip

    for frame, boxes in frames:
        if not buffer:
            buffer = [frame] * before
        buffer.append(frame)
        people.append(boxes)
        count += 1
        if count - start == run + after:
            if has_keys(start + run):
                yield cut(start + run)
            del buffer[:run], people[:run]
            start += run
    while start < count:
        stop = min(start + run, count)
        if has_keys(stop):
            yield cut(stop)
        del buffer[: stop - start], people[: stop - start]
        start = stop


@contextmanager
def prefetch_clip_batches(
    settings: DetectorConfig,
    frames: Iterable[np.ndarray],
    *,
    people: OpenSource | None = None,
    mode: Mode = "shared",
    every: int = 1,
    device: str = "cpu",
    threads: bool = True,
) -> Iterator[Iterator[ClipBatch]]:
    """The pieces of a video, read, looked at for people and cut in three threads.

    They begin with the block, end with it, and keep a few frames and one piece ready. Clips are on
    `device` or on the way there. Without `threads` all is done when a piece is asked for. See
    `predict_frames`.
    """
    size = (settings.width_pixels, settings.height)
    channels = STREAM_CHANNELS[settings.clip_streams]
    if settings.streams != "rgb":
        frames = append_missing_flow(frames, settings.flow_method)
    with ExitStack() as stack:

        def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
            return stack.enter_context(prefetch(items, depth)) if threads else iter(items)

        small: Iterable[tuple[np.ndarray, np.ndarray | None]]
        if people is None:
            small = ((resize(frame[..., channels], size[1], size[0]), None) for frame in frames)
        else:
            whole = ahead(frames, _FRAMES_AHEAD)
            small = _with_people(whole, size, channels, people, every)
        parts = iter_clip_batches(
            ahead(small, _FRAMES_AHEAD), settings.frames, frame_step=settings.frame_step,
            mode=mode, every=every,
        )  # fmt: skip
        yield ahead((_sent(piece, device) for piece in parts), 1)


def _sent(piece: ClipBatch, device: str) -> ClipBatch:
    """The piece with its clips on the way to a GPU, from pinned memory: nobody waits for them."""
    if device == "cpu":
        return piece
    with torch.cuda.device(device):  # a thread's own is the first one
        clips = piece.clips.pin_memory().to(device, non_blocking=True)
    return replace(piece, clips=clips)


def _with_people(
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    channels: slice,
    people: OpenSource,
    every: int,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frames resized, and on key frames the people, in pixels of the new size."""
    batch: list[np.ndarray] = []

    def looked_at(first: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        found = people.propose(np.stack([frame[..., :3] for frame in batch]), first)
        scale = np.tile(np.array(size) / batch[0].shape[1::-1], 2)
        for frame, boxes in zip(batch, found, strict=True):
            yield resize(frame[..., channels], size[1], size[0]), boxes.boxes * scale
        batch.clear()

    # Together only where each is a key frame: a source gets frames in a row.
    together = _PEOPLE_AT_ONCE if every == 1 else 1
    number = -1
    for number, frame in enumerate(frames):
        if number % every:
            yield resize(frame[..., channels], size[1], size[0]), None
            continue
        batch.append(frame)
        if len(batch) == together:
            yield from looked_at(number + 1 - together)
    if batch:
        yield from looked_at(number + 1 - len(batch))
