"""Whether and how a run trains on features that are computed once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.clips.options import Augmentation, ClipConfig
from ...datasets.errors import InputError
from ..inference.clip_batches import ClipBatch
from ..inference.clip_geometry import ClipGeometry
from ..inference.device import ChosenPrecision, choose_precision
from ..model.detector import Detector
from .feature_cache import GIGABYTE, FeatureCache, Maps, default_folder, feature_settings
from .options import FeatureOptions, RunOptions, Schedule
from .video_clips import VideoClips

Extractor = Callable[[ClipBatch, Callable[[], Maps]], Maps]
# Samples of each view that a run draws, at least, where the user has not asked for the cache.
_SAMPLES_PER_VIEW = 2


@dataclass(frozen=True, eq=False)
class FeatureTraining:
    """How a run trains on features that are computed once.

    Attributes:
        clips: of the training videos.
        views: of each clip.
        cache: of features.
        settings: of `feature_settings`.
        precision: that features are computed in.
    """

    clips: VideoClips
    views: int
    cache: FeatureCache
    settings: dict[str, Any]
    precision: ChosenPrecision

    def __str__(self) -> str:
        """What the steps of a run depend on; state.pt holds it."""
        return f"{self.views} views, precision {self.precision}"

    def extractor(self, videos: DetectionSet) -> Callable[[int], Extractor]:
        """Features for detection in the same precision: of a video of a set, by its row."""
        clips = self.clips.of_set(videos, self.settings)

        def open_video(video: int) -> Extractor:
            def extract(batch: ClipBatch, compute: Callable[[], Maps]) -> Maps:
                clip = clips.locate(video, int(batch.frame_numbers[0]))
                # The file may have fewer frames than its table says.
                if batch.clips.shape[1] != clips.length(clip):
                    return compute()
                key, device = clips.key(clip), batch.clips.device
                return self.cache.load_or_compute(key, compute, {}, device)

            return extract

        return open_video


def plan_feature_training(
    detector: Detector,
    videos: DetectionSet,
    config: ClipConfig,
    augmentation: Augmentation,
    options: FeatureOptions,
    schedule: Schedule,
    run: RunOptions,
    folder: Path,
) -> FeatureTraining | None:
    """Decides whether a run trains on features that are computed once; None if it does not.

    Args:
        detector: as it is trained.
        videos: the training videos.
        config: of the training clips.
        augmentation: of the training clips.
        options: the user's choice.
        schedule: the number of samples.
        run: where it computes.
        folder: of the run.

    Raises:
        InputError: `options` names a folder, and the features change in training.
    """
    chosen = str(options.cache_features)
    if chosen == "off":
        return None
    obstacle = _obstacle(detector)
    if obstacle:
        if chosen == "auto":
            return None
        raise InputError(f"--cache-features {chosen}: {obstacle}, or leave --cache-features out")
    accelerator = run.accelerator(folder)
    # As in detection: a frozen backbone has no gradients, for which training may need more digits.
    precision = choose_precision(run.precision, str(accelerator.device))
    settings = feature_settings(detector, precision, accelerator.device.type)
    geometry = ClipGeometry(detector.config)
    clips = VideoClips(videos, geometry, config, settings, augmentation)
    varies = augmentation.flip or augmentation.color or augmentation.scale != (1, 1)
    views = options.feature_views if varies else 1
    samples = schedule.steps * schedule.batch * schedule.accumulate * accelerator.num_processes
    if chosen == "auto" and samples < _SAMPLES_PER_VIEW * views * len(clips):
        return None
    where = default_folder(videos.media) if chosen == "auto" else Path(chosen)
    if accelerator.is_main_process:
        print(
            f"the features of {len(clips)} clips in {views} views are computed once and kept in "
            f"{where} (--cache-features)", file=sys.stderr,
        )  # fmt: skip
    cache = FeatureCache(where, options.cache_features_limit * GIGABYTE)
    return FeatureTraining(clips, views, cache, settings, precision)


def _obstacle(detector: Detector) -> str:
    """Why the features of a clip are not always the same, and the mend; "" where they are."""
    if detector.resnet is not None:
        return "an RPN on a ResNet needs the frames themselves; give --proposals features"
    for trunk in (detector.trunk, detector.flow_trunk):
        if trunk is None:
            continue
        stages = [module for module in trunk.modules() if module is not trunk]
        if any(stage.training for stage in stages) or any(
            each.requires_grad for stage in stages for each in stage.parameters()
        ):
            return f"the backbone is trained; freeze it with --freeze {trunk.last}"
    return ""
