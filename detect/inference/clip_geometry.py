"""The geometry of clips in time: stride, margin, context before and after a key frame."""

from __future__ import annotations

from typing import Literal

from ..model.config import DetectorConfig

Mode = Literal["shared", "per_clip"]

KEY_FRAMES_PER_CLIP = 64
"""Key frames of a shared clip. With its context it has 1.4 times as many frames."""
TIME_STRIDE = 4  # the largest stride in time before Mixed_5
MARGIN = 4  # frames beyond a key frame's own context that a shared clip sees
KEY_FRAMES_AT_ONCE = 32  # key frames whose proposals are scored at once


def round_up(frames: int, unit: int) -> int:
    """A multiple of the trunk's stride, so that all shared clips see time in the same phase."""
    return -(-frames // unit) * unit


def clip_length(
    settings: DetectorConfig, mode: Mode = "shared", core: int = KEY_FRAMES_PER_CLIP
) -> int:
    """Frames of the clips that `iter_clip_batches` cuts, but for the last one of a shared video."""
    if mode == "per_clip":
        return settings.frames
    step, before = settings.frame_step, settings.frames // 2
    unit = TIME_STRIDE * step
    reach = (before, settings.frames - before)
    context = sum(round_up(frames * step + MARGIN, unit) for frames in reach)
    return (context + round_up(core, unit)) // step


def default_clip_frames(frames: int) -> int:
    """Length of a clip in which 32 key frames, as many as `dense.look` asks about at once, have
    `frames` frames around each."""
    context = -(-(-(-frames // 2) + MARGIN) // TIME_STRIDE) * TIME_STRIDE
    return KEY_FRAMES_AT_ONCE + 2 * context
