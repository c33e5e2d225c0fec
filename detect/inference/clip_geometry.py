"""How the clips of a video lie in time: their stride, their context, their length."""

from __future__ import annotations

import math
from typing import Literal

from ...backbones.registry import backbone_endpoint_shapes
from ..model.config import DetectorConfig

Mode = Literal["shared", "per_clip"]
"""`shared`: long clips that overlap go through the trunk once, and every key frame pools its
features from the shared feature map. `per_clip`: as published, a clip of its own for every key
frame, which computes each frame as often as a clip has frames."""

KEY_FRAMES_PER_CLIP = 64
"""Key frames of a shared clip. With its context it has 1.4 times as many frames."""
KEY_FRAMES_AT_ONCE = 32
"""Key frames whose proposals are scored together."""
MARGIN = 4
"""Frames that a shared clip has beyond the context of its first and last key frame."""
_MIN_TIME_STRIDE = 4


class ClipGeometry:
    """The geometry of a detector's clips.

    A clip takes every `frame_step`-th frame of the video. Lengths are in frames of the video,
    except where "clip frames" is said.

    Args:
        config: of the detector.

    Attributes:
        frames: clip frames that the detector was trained with around a key frame, which is number
            `frames // 2` of them.
        frame_step: see above.
        time_stride: clip frames from one step of the feature map to the next, of the coarsest one
            that the detector uses, at least 4.
        before, after: frames that a key frame sees before itself, and from itself on.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.frames, self.frame_step = config.frames, config.frame_step
        shapes = backbone_endpoint_shapes(config.backbone)
        strides = (shapes[endpoint].time_stride for endpoint in config.endpoints(list(shapes)))
        self.time_stride = math.lcm(_MIN_TIME_STRIDE, *strides)
        self.before = self.frames // 2 * self.frame_step
        self.after = self.frames * self.frame_step - self.before

    def round_up(self, frames: int) -> int:
        """To whole steps of the feature map, so that all shared clips see time in one phase."""
        return _round_up(frames, self.time_stride * self.frame_step)

    def context(self, mode: Mode) -> tuple[int, int]:
        """Frames of a clip before its first key frame, and behind its last one's successor."""
        if mode == "per_clip":
            return self.before, self.after
        return self.round_up(self.before + MARGIN), self.round_up(self.after + MARGIN)

    def shared_length(self, key_frames: int) -> int:
        """Frames of the video that a shared clip of so many possible key frames extends over."""
        return sum(self.context("shared")) + self.round_up(key_frames)

    def clip_length(self, mode: Mode = "shared") -> int:
        """Clip frames of all clips of a video but the last one."""
        if mode == "per_clip":
            return self.frames
        return self.shared_length(KEY_FRAMES_PER_CLIP) // self.frame_step


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
