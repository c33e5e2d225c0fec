"""A live video cut into shared clips that wait for few frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ....datasets.video.live_source import LiveFrame
from ....datasets.video.resize import resize
from ...model.config import DetectorConfig
from ...people.proposals import OpenSource
from ..clip_batches import ClipBatch
from ..clip_geometry import ClipGeometry


def iter_live_batches(
    frames: Iterable[LiveFrame],
    config: DetectorConfig,
    *,
    step: int = 8,
    lookahead: int | None = None,
    source: OpenSource | None = None,
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

    Yields:
        the batch, whose frame numbers count from 0, and its key frames.
    """
    geometry = ClipGeometry(config)
    before, after = geometry.context("shared")
    step = geometry.round_up(step)
    ahead = min(after, geometry.after if lookahead is None else lookahead)
    size = np.array([config.width, config.height])
    past: deque[np.ndarray] = deque(maxlen=before)
    waiting: list[tuple[LiveFrame, np.ndarray]] = []
    proposals: list[torch.Tensor] = []  # of the waiting frames

    def cut() -> tuple[ClipBatch, list[LiveFrame]]:
        resized = [image for _, image in waiting]
        padded = [*past, *resized, *[resized[-1]] * (step + after - len(resized))]
        key_frames = [frame for frame, _ in waiting[:step]]
        numbers = np.arange(len(key_frames))
        batch = ClipBatch(
            clips=torch.from_numpy(np.stack(padded[:: geometry.frame_step]))[None],
            clip_index=torch.zeros(len(numbers), dtype=torch.int64),
            key_frame_positions=torch.from_numpy((numbers + before) / geometry.frame_step),
            frame_numbers=numbers,
            person_boxes=proposals[:step],
        )
        past.extend(resized[:step])
        del waiting[:step], proposals[:step]
        return batch, key_frames

    for frame in frames:
        image = resize(frame.image, config.height, config.width)
        if source is not None:
            (boxes,) = source.propose(frame.image[None], frame.number)
            scale = size / frame.image.shape[1::-1]
            proposals.append(torch.from_numpy(boxes.scaled(scale).boxes).float())
        if not past:
            past.extend([image] * before)
        waiting.append((frame, image))
        if len(waiting) == step + ahead:
            yield cut()
    while waiting:
        yield cut()
