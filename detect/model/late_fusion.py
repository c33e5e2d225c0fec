"""Late fusion: two detectors, such as one on RGB and one on optical flow, score the same proposals.

The alternative to one detector whose two trunks' feature maps are averaged ("both" of
`DetectorConfig.streams`). The scores are averaged as the two-stream papers do (Simonyan &
Zisserman 2014), with each stream trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...datasets.errors import InputError
from .detector import Detector, predictions_from_scores
from .head import RoiScores
from .postprocess import KeyFrameDetections, KeyFramePredictions, postprocess

_MUST_MATCH = (
    "labels", "frames", "frame_step", "height", "width_pixels", "multi_label", "per_class_boxes",
    "flow_method",
)  # fmt: skip


class ScoreFusion(nn.Module):
    """Two detectors with the methods of one, for inference.

    Proposals are external or those of the first detector; for each, class probabilities and box
    deltas are the mean of both detectors'.

    Args:
        first, second: in evaluation mode.

    Attributes:
        config: of the first, with the streams of both.
        proposals: of the first.

    Raises:
        InputError: their configs differ in more than their networks.
    """

    def __init__(self, first: Detector, second: Detector) -> None:
        super().__init__()
        for name in _MUST_MATCH:
            values = getattr(first.config, name), getattr(second.config, name)
            if values[0] != values[1]:
                raise InputError(
                    f"--fuse: the two detectors differ in {name} ({values[0]} and {values[1]}); "
                    f"both must be trained with the same {name}"
                )
        same = first.config.streams == second.config.streams
        self.config = replace(first.config, streams=first.config.streams if same else "both")
        self.first, self.second, self.proposals = first, second, first.proposals

    def extract_features(self, clips: Tensor) -> dict[str, Tensor]:
        """As `Detector.extract_features`; names start with 1 or 2, the detector's number."""
        features = {f"1{name}": one for name, one in self.first.extract_features(clips).items()}
        second = self.second.extract_features(clips)
        return features | {f"2{name}": one for name, one in second.items()}

    def propose(
        self, features: dict[str, Tensor], clips: Tensor, clip_index: Tensor, key_frames: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """As `Detector.propose`, by the first detector."""
        return self.first.propose(_select(features, "1"), clips, clip_index, key_frames)

    def predict(
        self,
        features: dict[str, Tensor],
        clip_frames: int,
        proposals: Sequence[Tensor],
        clip_index: Tensor,
        key_frames: Tensor,
    ) -> KeyFramePredictions:
        """As `Detector.predict`."""
        rois = clip_frames, proposals, clip_index, key_frames
        scores = fuse_scores(
            self.first.score(_select(features, "1"), *rois),
            self.second.score(_select(features, "2"), *rois),
        )
        return predictions_from_scores(scores, self.config)

    def detect(
        self,
        features: dict[str, Tensor],
        clip_frames: int,
        proposals: Sequence[Tensor],
        clip_index: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> KeyFrameDetections:
        """As `Detector.detect`."""
        predictions = self.predict(features, clip_frames, proposals, clip_index, key_frames)
        return postprocess(predictions, threshold=threshold)

    # Until the last callers have the new names.
    maps, find = extract_features, detect
    settings = property(lambda self: self.config)


def _select(features: dict[str, Tensor], number: str) -> dict[str, Tensor]:
    return {name[1:]: one for name, one in features.items() if name.startswith(number)}


def fuse_scores(first: RoiScores, second: RoiScores) -> RoiScores:
    """The mean of two detectors' probabilities and deltas for the same R proposals."""
    return first._replace(
        probabilities=torch.lerp(first.probabilities, second.probabilities, 0.5),
        deltas=torch.lerp(first.deltas, second.deltas, 0.5),
    )
