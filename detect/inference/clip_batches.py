"""A video cut into batches of clips for the trunk, prepared in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from .clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry, Mode
from .proposal_frames import FrameWithBoxes, with_person_boxes

Item = TypeVar("Item")
_CLIPS_AT_ONCE = 4  # of mode per_clip
_FRAMES_AHEAD = 16  # decoded before they are needed


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """N clips with K key frames.

    Attributes:
        clips: (N, T, H, W, C) uint8 of the trunk's input size.
        clip_index: (K,) the clip of each key frame.
        key_frame_positions: (K,) in clip frames; between two of them where the clip skips frames.
        frame_numbers: (K,) of the key frames in the video, from 0.
        person_boxes: K times (P, 4) x1 y1 x2 y2 in pixels of the clip; empty where a detector makes
            its own proposals.
        proposal_step: a detector makes its own proposals on every so many key frames, and boxes are
            carried to those between.
    """

    clips: Tensor
    clip_index: Tensor
    key_frame_positions: Tensor
    frame_numbers: np.ndarray
    person_boxes: Sequence[Tensor] = ()
    proposal_step: int = 1


def iter_clip_batches(
    frames: Iterable[FrameWithBoxes],
    geometry: ClipGeometry,
    *,
    mode: Mode = "shared",
    key_frame_step: int = 1,
    proposal_step: int = 1,
    key_frames_per_clip: int = KEY_FRAMES_PER_CLIP,
    lookahead: Callable[[], int] | None = None,
) -> Iterator[ClipBatch]:
    """Cuts a video into clips.

    Where a clip reaches beyond the video, its first and last frames are repeated.

    Args:
        frames: consecutive frames (H, W, C) uint8 of the trunk's input size, each with (P, 4)
            person boxes in its pixels, or None.
        geometry: of the detector.
        mode: see `Mode`.
        key_frame_step: frames from one key frame to the next.
        proposal_step: see `ClipBatch`.
        key_frames_per_clip: frames of a shared clip that may be key frames.
        lookahead: asked at every frame for how many frames a shared clip waits after its last key
            frame; it then repeats the last one. None waits for its whole context. With it, all
            clips have the same length, also those at the end of the video.
    """
    before, after = geometry.context(mode)
    if mode == "shared":
        run = geometry.round_up(key_frames_per_clip)
    else:
        run = key_frame_step * _CLIPS_AT_ONCE
    step = geometry.frame_step
    buffer: list[np.ndarray] = []  # from `before` frames before `start` on
    boxes: list[np.ndarray | None] = []  # from `start` on
    start, count = 0, 0  # first frame of the next batch; frames read so far

    def first_key_frame() -> int:
        return -(-start // key_frame_step) * key_frame_step

    def cut(stop: int) -> ClipBatch:
        numbers = np.arange(first_key_frame(), stop, key_frame_step)
        if mode == "shared":
            length = geometry.shared_length(stop - start if lookahead is None else run)
            padded = [*buffer, *[buffer[-1]] * (length - len(buffer))]
            clips = [np.stack(padded[:length:step])]
            clip_index, positions = np.zeros_like(numbers), (numbers - start + before) / step
        else:
            padded = [*buffer, *[buffer[-1]] * after]
            clips = [np.stack(padded[n - start : n - start + before + after : step])
                     for n in numbers]  # fmt: skip
            clip_index = np.arange(len(numbers))
            positions = np.full(len(numbers), geometry.frames // 2)
        proposals = [boxes[n - start] for n in numbers]
        return ClipBatch(
            clips=torch.from_numpy(np.stack(clips)),
            clip_index=torch.from_numpy(clip_index),
            key_frame_positions=torch.from_numpy(positions),
            frame_numbers=numbers,
            person_boxes=[torch.from_numpy(each).float() for each in proposals if each is not None],
            proposal_step=proposal_step,
        )

    for frame, boxes_of_frame in frames:
        if not buffer:
            buffer = [frame] * before
        buffer.append(frame)
        boxes.append(boxes_of_frame)
        count += 1
        ahead = after if lookahead is None else min(after, lookahead())
        while count - start >= run + ahead:
            if first_key_frame() < start + run:
                yield cut(start + run)
            del buffer[:run], boxes[:run]
            start += run
    while start < count:
        stop = min(start + run, count)
        if first_key_frame() < stop:
            yield cut(stop)
        del buffer[: stop - start], boxes[: stop - start]
        start = stop


@contextmanager
def prefetch_clip_batches(
    config: DetectorConfig,
    frames: Iterable[np.ndarray],
    *,
    source: OpenSource | None = None,
    mode: Mode = "shared",
    key_frame_step: int = 1,
    proposal_step: int = 1,
    device: str = "cpu",
    threads: bool = True,
) -> Iterator[Iterator[ClipBatch]]:
    """Yields the clip batches of a video, made in three threads: reading, proposals, cutting.

    The threads start with the block, end with it, and keep a few frames and one batch ready. Clips
    are on `device` or on the way there.

    Args:
        config: of the detector.
        frames: see `predict_frames`.
        source: where person boxes come from; None leaves them out.
        mode, key_frame_step: see `iter_clip_batches`.
        proposal_step: find people on every so many key frames only; see `with_person_boxes` and
            `ClipBatch`.
        device: where the clips are needed.
        threads: False makes each batch when it is needed.
    """
    width, height = config.width, config.height
    channels = STREAM_CHANNELS[config.clip_streams]
    if config.streams != "rgb":
        frames = append_missing_flow(frames, config.flow_method)
    with ExitStack() as stack:

        def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
            return stack.enter_context(prefetch(items, depth)) if threads else iter(items)

        resized: Iterable[FrameWithBoxes]
        if source is None:
            resized = ((resize(frame[..., channels], height, width), None) for frame in frames)
        else:
            resized = with_person_boxes(
                ahead(frames, _FRAMES_AHEAD), (width, height), channels, source, key_frame_step,
                proposal_step,
            )  # fmt: skip
        batches = iter_clip_batches(
            ahead(resized, _FRAMES_AHEAD), ClipGeometry(config), mode=mode,
            key_frame_step=key_frame_step, proposal_step=proposal_step,
        )  # fmt: skip
        yield ahead((_to_device(batch, device) for batch in batches), 1)


def _to_device(batch: ClipBatch, device: str) -> ClipBatch:
    """Starts the copy of all tensors to a GPU, from pinned memory, without waiting for it."""
    if device == "cpu":
        return batch

    def copy(tensor: Tensor) -> Tensor:
        return tensor.pin_memory().to(device, non_blocking=True)

    with torch.cuda.device(device):  # a new thread has the first GPU as its device
        return replace(
            batch, clips=copy(batch.clips), clip_index=copy(batch.clip_index),
            key_frame_positions=copy(batch.key_frame_positions),
            person_boxes=_copy_together(batch.person_boxes, copy),
        )  # fmt: skip


def _copy_together(boxes: Sequence[Tensor], copy: Callable[[Tensor], Tensor]) -> Sequence[Tensor]:
    """One copy for the boxes of all key frames."""
    if not boxes:
        return boxes
    return copy(torch.cat(list(boxes))).split([len(each) for each in boxes])
