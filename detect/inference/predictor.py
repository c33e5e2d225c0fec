"""A trained detector on every frame of a video, in one pass and constant memory.

`shared`: long clips that overlap go through the trunk once, and every key frame pools its
neighbourhood from the shared feature map. `per_clip`: the published way, a clip of its own for
every key frame, which computes each frame as often as a clip has frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...backbones.inception import Trunk
from ..model.detector import Detector
from ..model.late_fusion import ScoreFusion
from ..people.proposals import OpenSource
from .clip_batches import ClipBatch, prefetch_clip_batches
from .clip_geometry import KEY_FRAMES_AT_ONCE, Mode, clip_length
from .onnx_detector import OnnxDetector

Detects = Detector | ScoreFusion | OnnxDetector
"""All that finds actions on the key frames of a piece."""


@dataclass(frozen=True)
class FrameDetections:
    """What was found on some frames of one video, R rows.

    Attributes:
        frame: (R,) int32 number in the video.
        label: (R,) int32, index of the detector's labels.
        score: (R,) float64.
        boxes: (R, 4) float64, x1 y1 x2 y2 as a share of the picture's width and height.
    """

    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    boxes: np.ndarray


def compile_trunk(detector: Detector, mode: Mode = "shared") -> None:
    """Compiles the detector's trunks for clips of one length; others run as they did.

    So shapes are static, and the last piece of a video compiles nothing anew. Proposals and the
    head have shapes that follow from the data.
    """
    length = clip_length(detector.settings, mode)
    for trunk in (detector.trunk, detector.flow_trunk):
        if trunk is not None:
            trunk.endpoints = _compiled(trunk, length)  # type: ignore[method-assign, assignment]


def _compiled(trunk: Trunk, length: int) -> Callable[[Tensor, Collection[str]], dict[str, Tensor]]:
    plain = trunk.endpoints
    compiled = torch.compile(plain, dynamic=False)

    def endpoints(clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return (compiled if clips.shape[2] == length else plain)(clips, names)

    return endpoints


def predict_batch(
    detector: Detects,
    piece: ClipBatch,
    *,
    device: str = "cpu",
    half: torch.dtype | None = None,
    threshold: float = 0.01,
) -> FrameDetections:
    """What the detector finds on the key frames of a piece.

    Args:
        detector: in evaluation mode, on `device`.
        half: compute in torch.bfloat16 or float16 where that is safe.
        threshold: the lowest score kept.
    """
    found = []
    precision = torch.autocast(device.split(":")[0], half) if half else nullcontext()
    with torch.inference_mode(), precision:
        clips, clip_of = piece.clips.to(device), piece.clip_of.to(device)
        key_frames = piece.key_frames.to(device)
        maps = detector.maps(clips)
        for start in range(0, len(piece.frames), KEY_FRAMES_AT_ONCE):
            at = slice(start, start + KEY_FRAMES_AT_ONCE)
            if piece.people is None:
                proposals, _ = detector.propose(maps, clips, clip_of[at], key_frames[at])
            else:
                proposals = [boxes.to(device) for boxes in piece.people[at]]
            one = detector.find(
                maps, clips.shape[1], proposals, clip_of[at], key_frames[at], threshold
            )
            found.append((piece.frames[at][one.key.cpu().numpy()], one.label, one.score, one.boxes))
    settings = detector.settings
    size = np.tile([settings.width_pixels, settings.height], 2)

    def join(column: int) -> np.ndarray:
        return torch.cat([one[column] for one in found]).cpu().numpy()

    return FrameDetections(
        np.concatenate([one[0] for one in found]).astype(np.int32),
        join(1).astype(np.int32),
        join(2).astype(np.float64),
        join(3).astype(np.float64) / size,
    )


def predict_frames(
    detector: Detects,
    frames: Iterable[np.ndarray],
    *,
    people: OpenSource | None = None,
    mode: Mode = "shared",
    every: int = 1,
    device: str = "cpu",
    half: torch.dtype | None = None,
    threshold: float = 0.01,
) -> Iterator[FrameDetections]:
    """Runs a detector over a video, a piece after the other, while threads read and cut the next.

    Args:
        detector: in evaluation mode, on `device`.
        frames: (H, W, 3) uint8 RGB of any size, all of the video's, or (H, W, 5) with their flow;
            for a detector on flow it is computed where it is missing.
        people: where people are, for a detector whose proposals are given; of others it takes the
            place.
        mode, every: see `iter_clip_batches`.
        device, half, threshold: see `predict_batch`.
    """
    with prefetch_clip_batches(
        detector.settings, frames, people=people, mode=mode, every=every, device=device
    ) as ahead:
        for piece in ahead:
            yield predict_batch(detector, piece, device=device, half=half, threshold=threshold)


def concatenate_detections(parts: Sequence[FrameDetections]) -> FrameDetections:
    """The rows of several, one after the other."""
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frame", "label", "score", "boxes")
    ]
    return FrameDetections(*columns)
