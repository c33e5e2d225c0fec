"""Shared by the tests of the detector: one thread, and the detections of key frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from actiontubes.detect.model.detector import Detector
    from actiontubes.detect.model.postprocess import KeyFrameDetections
    from torch import Tensor


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks on small frames are slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def detect_key_frames() -> Callable[..., KeyFrameDetections]:
    """The detections of a detector after NMS, from the arguments of `Detector.score`."""
    import torch
    from actiontubes.detect.model.postprocess import decode_boxes, select_detections

    def detect(
        detector: Detector,
        features: dict[str, Tensor],
        clip_frames: int,
        proposals: Sequence[Tensor],
        clip_index: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> KeyFrameDetections:
        scores = detector.score(features, clip_frames, proposals, clip_index, key_frames)
        size = detector.config.size
        boxes = decode_boxes(scores.deltas, scores.proposals, size)
        counts = torch.tensor([len(each) for each in proposals])
        key_frame_index = torch.arange(len(proposals)).repeat_interleave(counts)
        return select_detections(scores.probabilities, boxes, key_frame_index, threshold=threshold)

    return detect
