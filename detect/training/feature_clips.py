"""Training samples of a detector whose trunk is frozen: key frames with features, and batches.

A sample is some key frames of one view of a clip, with its features; or with its frames, where the
cache does not have the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ...datasets.clips.annotated_frames import AnnotatedFrames
from ...datasets.clips.detection_clips import DetectionBatch, DetectionSample, collate
from ...datasets.clips.loader import move_to
from ...datasets.clips.options import ClipConfig
from ..model.detector import Detector
from .feature_cache import FeatureCache, Maps
from .video_clips import VideoClips


@dataclass(frozen=True, eq=False)
class FeatureSample:
    """Some key frames of one view of a clip.

    Attributes:
        annotations: its `clip` has T frames without pixels.
        clip: (T, H, W, C) uint8, or None where the features are known.
        features: (1, C', T', H', W') by name, or None.
        key: of the features in the cache.
        record: to be kept with the features.
    """

    annotations: DetectionSample
    clip: Tensor | None
    features: Maps | None
    key: str
    record: dict[str, Any]

    @property
    def name(self) -> str:
        return self.annotations.name


class FeatureClips(Dataset[FeatureSample]):
    """Samples of fixed clips at any position from 0 on; each depends on (seed, position) alone.

    A frame is drawn as `AnnotatedFrames` does, and a view. The sample's key frames are that frame
    and others before and after it, `key_frame_step` apart, of the same clip.

    Args:
        clips: of the training videos.
        frames: of the same videos.
        config: number and distance of key frames.
        views: of each clip.
        cache: of features.
        seed: at least 0.
    """

    def __init__(
        self,
        clips: VideoClips,
        frames: AnnotatedFrames,
        config: ClipConfig,
        views: int,
        cache: FeatureCache,
        seed: int,
    ) -> None:
        self._clips, self._frames, self._config = clips, frames, config
        self._views, self._cache, self._seed = views, cache, seed

    def __getitem__(self, position: int) -> FeatureSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        rng, config = np.random.default_rng((self._seed, position)), self._config
        video, frame = self._frames.draw(rng)
        clip = self._clips.locate(video, frame, int(rng.integers(self._views)))
        step = config.key_frame_step * config.frame_step
        index = (frame - clip.start) // step
        numbers = np.arange(frame - index * step, clip.stop, step)
        low = max(0, index + 1 - config.key_frames)
        high = max(low, min(index, len(numbers) - config.key_frames))
        first = int(rng.integers(low, high + 1))
        numbers = numbers[first : first + config.key_frames]
        seed = int(rng.integers(2**31))
        key = self._clips.key(clip)
        known = self._cache.load(key)
        pixels, features = None, None
        if known is None:
            pixels, record = self._clips.read(clip)
        else:
            features, record = known
        transform, frame_size = self._clips.transform(clip, record)
        boxes, labels, proposals = self._frames.annotate(
            video, numbers.tolist(), transform, frame_size
        )
        name = f"{self._clips.videos.names[video]}:{clip.start}"
        empty = torch.empty(self._clips.length(clip), 0, 0, 0, dtype=torch.uint8)
        positions = torch.from_numpy(self._clips.positions(clip, numbers))
        annotations = DetectionSample(empty, positions, boxes, labels, name, seed, proposals)
        return FeatureSample(annotations, pixels, features, key, record)


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """N samples, see `FeatureSample`.

    Attributes:
        annotations: its clips have frames without pixels, as many as the longest.
        clips, features, keys, records: of each sample.
    """

    annotations: DetectionBatch
    clips: list[Tensor | None]
    features: list[Maps | None]
    keys: list[str]
    records: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        return self.annotations.names

    def to(self, device: torch.device | str, non_blocking: bool = False) -> FeatureBatch:
        """The batch with all tensors on a device."""
        annotations, clips, features = (
            move_to(each, device, non_blocking)
            for each in (self.annotations, self.clips, self.features)
        )
        return replace(self, annotations=annotations, clips=clips, features=features)


def collate_features(samples: Sequence[FeatureSample]) -> FeatureBatch:
    """Makes a batch of samples; for DataLoader's `collate_fn`."""
    annotations = [sample.annotations for sample in samples]
    longest = max((each.clip for each in annotations), key=len)
    return FeatureBatch(
        annotations=collate([replace(each, clip=longest) for each in annotations]),
        clips=[sample.clip for sample in samples],
        features=[sample.features for sample in samples],
        keys=[sample.key for sample in samples],
        records=[sample.record for sample in samples],
    )


def batch_features(
    detector: Detector, batch: FeatureBatch, cache: FeatureCache, dtype: torch.dtype | None = None
) -> Maps:
    """The feature maps of a batch; those that the cache does not have are computed and kept.

    Args:
        detector: with frozen trunks.
        batch: the samples.
        cache: of features.
        dtype: for autocast while features are computed; None for float32.

    Returns:
        (N, C', T', H', W') by name; float32 unless autocast is on, as training expects. A clip that
        is shorter than others ends in zeros, which no key frame sees: each has its whole context
        before them.
    """
    maps = []
    for clip, known, key, record in zip(batch.clips, batch.features, batch.keys, batch.records):
        if known is None:
            assert clip is not None
            compute = partial(detector.extract_features, clip[None])
            with torch.autocast(clip.device.type, dtype, enabled=dtype is not None):
                known = cache.load_or_compute(key, compute, record, clip.device)
        maps.append(known)
    stacked = {}
    for name, first in maps[0].items():
        length = max(each[name].shape[2] for each in maps)
        stacked[name] = torch.cat([_pad_time(each[name], length) for each in maps])
        if not torch.is_autocast_enabled(first.device.type):
            stacked[name] = stacked[name].float()
    return stacked


def _pad_time(features: Tensor, length: int) -> Tensor:
    return F.pad(features, (0, 0, 0, 0, 0, length - features.shape[2]))
