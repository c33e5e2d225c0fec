"""The clips of videos as detection cuts them, in several views: what features are kept of."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.clips.augmentation import ClipTransform, sample_transform
from ...datasets.clips.detection_set import DetectionSet
from ...datasets.clips.options import Augmentation, ClipConfig
from ...datasets.flow.cache import cache_path
from ..inference.clip_geometry import KEY_FRAMES_PER_CLIP, ClipGeometry
from .feature_cache import content_digest, feature_key


@dataclass(frozen=True)
class ClipView:
    """One view of a shared clip.

    Attributes:
        video: its row in the set.
        start, stop: the frames of the video, from `start` up to before `stop`, that are key frames
            of the clip.
        view: 0 is the whole frame stretched to the clip, as in detection.
    """

    video: int
    start: int
    stop: int
    view: int


class VideoClips:
    """The clips of a set of videos, as detection cuts them, in several views.

    Args:
        videos: the set.
        geometry: of the detector.
        config: size, streams and frame step.
        settings: of `feature_settings`.
        augmentation: of the views but the first. These depend on the video's content and on the
            clip's place in it, not on the run: runs with other seeds use the same.
    """

    def __init__(
        self,
        videos: DetectionSet,
        geometry: ClipGeometry,
        config: ClipConfig,
        settings: dict[str, Any],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.videos, self._geometry, self._config = videos, geometry, config
        self._settings, self._augmentation = settings, augmentation
        self._key_frames = geometry.round_up(KEY_FRAMES_PER_CLIP)
        self._known_digests: dict[Path, str] = {}  # of this run: files may change before the next

    def of_set(self, videos: DetectionSet, settings: dict[str, Any]) -> VideoClips:
        """The clips of other videos."""
        return VideoClips(videos, self._geometry, self._config, settings, self._augmentation)

    def __len__(self) -> int:
        """The number of clips."""
        return int((-(-self.videos.num_frames // self._key_frames)).sum())

    def locate(self, video: int, frame: int, view: int = 0) -> ClipView:
        """The clip that has a frame among its key frames."""
        start = frame // self._key_frames * self._key_frames
        stop = min(start + self._key_frames, int(self.videos.num_frames[video]))
        return ClipView(video, start, stop, view)

    def length(self, clip: ClipView) -> int:
        """Frames of a clip."""
        return self._geometry.shared_length(clip.stop - clip.start) // self._config.frame_step

    def positions(self, clip: ClipView, numbers: np.ndarray) -> np.ndarray:
        """Where frames of the video are in a clip, in frames of the clip."""
        before, _ = self._geometry.context("shared")
        return (numbers - clip.start + before) / self._config.frame_step

    def key(self, clip: ClipView) -> str:
        """The key of a clip's features in the cache."""
        view = None
        if clip.view:
            assert self._augmentation is not None
            view = [clip.view, asdict(self._augmentation)]
        pixels = {
            "video": self._digests(clip.video), "start": clip.start, "length": self.length(clip),
            "step": self._config.frame_step, "view": view,
            "last": int(self.videos.num_frames[clip.video]) - 1,
            "before": self._geometry.context("shared")[0],
        }  # fmt: skip
        return feature_key(self._settings, pixels)

    def read(self, clip: ClipView) -> tuple[Tensor, dict[str, Any]]:
        """Reads a clip's frames.

        Returns:
            (T, H, W, C) uint8, and plain JSON for `transform`, to be kept with the features.

        Raises:
            InputError: the video cannot be read.
        """
        config, before = self._config, self._geometry.context("shared")[0]
        numbers = clip.start - before + config.frame_step * np.arange(self.length(clip))
        numbers = np.clip(numbers, 0, int(self.videos.num_frames[clip.video]) - 1)
        distinct, index = np.unique(numbers, return_inverse=True)
        frames = self.videos.read_frames(
            clip.video, int(distinct[0]), int(distinct[-1]) + 1, config.streams, config.flow_method
        )[distinct - distinct[0]]
        content = hashlib.sha256(repr(self._digests(clip.video)).encode()).digest()
        rng = np.random.default_rng([*content, clip.start, clip.view])
        transform = sample_transform(
            self._augmentation if clip.view else None, rng, frames, *config.size
        )
        made = torch.from_numpy(transform.apply_to_frames(frames))[torch.from_numpy(index)]
        record = {
            "crop": transform.crop, "place": transform.place, "flip": transform.flip,
            "frame_size": frames.shape[1:3],
        }  # fmt: skip
        return made, record if clip.view else {}

    def transform(
        self, clip: ClipView, record: dict[str, Any]
    ) -> tuple[ClipTransform, tuple[int, int]]:
        """How a clip was made of the video's frames, and (height, width) of these.

        Args:
            clip: one view of a clip.
            record: of `read`; of the first view it is empty, which is known without it.
        """
        size = self._config.size
        if clip.view == 0:
            width, height = int(self.videos.width[clip.video]), int(self.videos.height[clip.video])
            return ClipTransform((0, 0, width, height), (0, 0, *size[::-1]), size), (height, width)
        crop, place, frame_size = (tuple(record[name]) for name in ("crop", "place", "frame_size"))
        return ClipTransform(crop, place, size, flip=record["flip"]), frame_size

    def _digests(self, video: int) -> list[str]:
        """Of the video, and of its flow where that is read."""
        media = self.videos.media[video]
        flow = cache_path(media, self._config.flow_method)
        paths = [media] if self._config.streams == "rgb" or not flow.is_file() else [media, flow]
        for path in paths:
            if path not in self._known_digests:
                self._known_digests[path] = content_digest(path)
        return [self._known_digests[path] for path in paths]
