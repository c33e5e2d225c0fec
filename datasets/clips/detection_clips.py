"""Training clips of a detector: a few key frames with their boxes.

A sample depends only on (seed, position), so a run that is resumed, or spread over several
processes, sees the very same samples; no global random state is read or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..options import at_least, check_option
from ..tables import Detections
from ..video.resize import shrink
from .annotated_frames import AnnotatedFrames
from .augmentation import sample_transform
from .detection_set import DetectionSet
from .loader import Batch
from .options import Augmentation, ClipConfig, ClipSampling

# Cached frames are at most this many times as large as a clip's, on each side.
_MAX_CACHED_SCALE = 1.5


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """One clip of T frames with K key frames.

    Attributes:
        clip: (T, H, W, C) uint8, RGB or flow or both; see `ClipConfig`.
        key_frames: (K,) int64, positions in the clip.
        boxes: K tensors (G, 4) float32, x1 y1 x2 y2 in pixels of the clip. G differs, and may be 0.
        labels: K tensors (G, classes) float32, 1 for each class of the box.
        name: "<video>:<first frame>", negative where the clip begins before the video.
        seed: 0 to 2**31 - 1, for whatever is drawn at random later for this sample.
        proposals: K tensors (P, 4) float32, external proposals, or None.
    """

    clip: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    name: str
    seed: int
    proposals: list[Tensor] | None = None


@dataclass(frozen=True, eq=False)
class DetectionBatch(Batch):
    """N samples of one shape, with N * K key frames; those of a clip are consecutive.

    Attributes:
        clip_index: (N * K,) int64, the clip of each key frame.
        key_frames: (N * K,) int64, positions in the clip.
        boxes: N * K tensors (G, 4), see `DetectionSample`.
        labels: N * K tensors (G, classes).
        proposals: N * K tensors (P, 4), or None.
    """

    clip_index: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    proposals: list[Tensor] | None = None


def collate(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Makes a batch of samples; for DataLoader's `collate_fn`."""
    counts = torch.tensor([len(sample.key_frames) for sample in samples])
    return DetectionBatch(
        clips=torch.stack([sample.clip for sample in samples]),
        clip_index=torch.arange(len(samples)).repeat_interleave(counts),
        key_frames=torch.cat([sample.key_frames for sample in samples]),
        boxes=[boxes for sample in samples for boxes in sample.boxes],
        labels=[labels for sample in samples for labels in sample.labels],
        names=[sample.name for sample in samples],
        seeds=[sample.seed for sample in samples],
        proposals=[boxes for sample in samples for boxes in sample.proposals or ()] or None,
    )


class DetectionClips(Dataset[DetectionSample]):
    """Random clips of a detection set, at any position from 0 on.

    A frame is drawn as `AnnotatedFrames` does. It becomes one of the clip's key frames, at random.
    Frames before the video's start or after its end repeat the first or last.

    Args:
        video_set: the videos.
        config: the shape of the clips.
        augmentation: how much clips vary; None only stretches each frame to the clip.
        seed: at least 0; another one gives other samples.
        sampling: which clips are drawn. Videos are cached per process of a loader, at most 1.5
            times as large as the clips.
        proposals: person boxes of these videos by name, in pixels of the set's boxes; they are
            transformed as the ground truth is.
    """

    def __init__(
        self,
        video_set: DetectionSet,
        config: ClipConfig,
        *,
        augmentation: Augmentation | None,
        seed: int,
        sampling: ClipSampling | None = None,
        proposals: Detections | None = None,
    ) -> None:
        check_option("seed", seed, Annotated[int, at_least(0)])
        self._set, self._config, self._augmentation = video_set, config, augmentation
        self._seed, self._sampling = seed, sampling or ClipSampling()
        self._annotated = AnnotatedFrames(video_set, self._sampling, proposals)
        self._cache: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """The number of frames with boxes: the size of one pass, not a limit to positions."""
        return len(self._annotated)

    def __getitem__(self, position: int) -> DetectionSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        rng = np.random.default_rng((self._seed, position))
        config, positions = self._config, self._config.key_frame_positions
        video, frame = self._annotated.draw(rng)
        first = frame - config.frame_step * positions[rng.integers(len(positions))]
        last_frame = int(self._set.num_frames[video]) - 1
        numbers = first + config.frame_step * np.arange(config.length)
        numbers = np.clip(numbers, 0, last_frame)
        # Each frame is transformed once, however often the clip repeats it.
        distinct, index = np.unique(numbers, return_inverse=True)
        frames = self._frames(video, int(distinct[0]), int(distinct[-1]) + 1)
        frames = frames[distinct - distinct[0]]
        transform = sample_transform(self._augmentation, rng, frames, *config.size)
        clip = torch.from_numpy(transform.apply_to_frames(frames))[torch.from_numpy(index)]
        boxes, labels, proposals = self._annotated.annotate(
            video, numbers[positions].tolist(), transform, frames.shape[1:3]
        )
        return DetectionSample(
            clip=clip, key_frames=torch.tensor(positions), boxes=boxes, labels=labels,
            name=f"{self._set.names[video]}:{first}", seed=int(rng.integers(2**31)),
            proposals=proposals,
        )  # fmt: skip

    def _frames(self, video: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, h, w, C) uint8; the last frame again where the file ends too early."""
        streams, method = self._config.streams, self._config.flow_method
        if not self._sampling.cache:
            return self._set.read_frames(video, start, stop, streams, method)
        if video not in self._cache:
            count = int(self._set.num_frames[video])
            frames = self._set.read_frames(video, 0, count, streams, method)
            limit = [round(_MAX_CACHED_SCALE * side) for side in self._config.size]
            self._cache[video] = _shrink_frames(frames, *limit)
        return self._cache[video][start:stop]


def _shrink_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frames, at most `height` high and `width` wide."""
    size = min(height, frames.shape[1]), min(width, frames.shape[2])
    if size == frames.shape[1:3]:
        return frames
    return np.stack([shrink(frame, *size) for frame in frames])
