"""What a detector computes for each frame of a video in which every frame is a key frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from ...backbones.cost import count_multiply_adds
from ...datasets.errors import InputError
from ...datasets.flow.estimate import STREAM_CHANNELS
from ..inference.clip_geometry import KEY_FRAMES_AT_ONCE, KEY_FRAMES_PER_CLIP, ClipGeometry
from ..model.build import build_detector
from ..model.config import DetectorConfig, HeadKind
from ..model.detector import Detector
from ..model.roi_align import Rois
from ..model.rpn import steps_at_key_frames

_PARTS = ("trunk", "proposals", "head")


def detector_multiply_adds(config: DetectorConfig, proposals: int = 100) -> dict[str, int]:
    """Multiply-adds for each key frame of a shared clip, as `detect` runs it.

    Of convolutions and matrix products, by PyTorch's counter; nothing is computed. ROIAlign, NMS
    and norms are not counted.

    Args:
        config: of the detector.
        proposals: boxes of each key frame that go through the head.

    Returns:
        trunk (of all streams), proposals (the ResNet and the RPN; 0 for external proposals), head.

    Raises:
        InputError: see `build_detector`.
    """
    geometry = ClipGeometry(config)
    length, count = geometry.clip_length(), KEY_FRAMES_AT_ONCE * proposals
    channels = STREAM_CHANNELS[config.clip_streams]
    config = replace(config, labels=config.labels or ("action",))
    with torch.device("meta"), torch.inference_mode():
        detector = build_detector(config).eval()
        size = (1, length, *config.size, channels.stop - channels.start)
        clips = torch.empty(size, dtype=torch.uint8)
        features = detector.extract_features(clips)
        clip_index = torch.empty(count, dtype=torch.int64)
        rois = Rois(torch.empty(count, 4), clip_index, torch.empty(count))
        trunk = count_multiply_adds(lambda: detector.extract_features(clips))
        proposing = count_multiply_adds(lambda: _propose(detector, geometry, length, features))
        head = count_multiply_adds(lambda: detector.apply_head(features, length, rois))
    return {
        "trunk": trunk // KEY_FRAMES_PER_CLIP,
        "proposals": proposing // KEY_FRAMES_AT_ONCE,
        "head": head // KEY_FRAMES_AT_ONCE,
    }


def _propose(
    detector: Detector, geometry: ClipGeometry, length: int, features: Mapping[str, Tensor]
) -> None:
    """The ResNet's and the RPN's layers for key frames that follow each other, on "meta"."""
    if detector.proposals is None:
        return
    head, config = detector.proposals.rpn.head, detector.config
    if detector.resnet is not None:
        frames = torch.empty((KEY_FRAMES_AT_ONCE, *config.size, 3), dtype=torch.uint8)
        head([head.convolve(detector.resnet(frames))])
        return
    _, channels, steps, *cells = features[config.proposal_endpoint].shape
    with torch.device("cpu"):  # the number of steps that are used depends on the numbers
        places = (geometry.context("shared")[0] + torch.arange(KEY_FRAMES_AT_ONCE)) / (
            geometry.frame_step
        )
        used, _ = steps_at_key_frames(
            torch.empty(1, 1, steps, 1, 1), detector.grid(config.proposal_endpoint, length),
            torch.zeros(KEY_FRAMES_AT_ONCE, dtype=torch.int64), places,
        )  # fmt: skip
    hidden = head.convolve(torch.empty(len(used), channels, *cells))
    head([torch.empty(KEY_FRAMES_AT_ONCE, *hidden.shape[1:])])


def head_costs(config: DetectorConfig, proposals: int = 100) -> list[dict[str, Any]]:
    """The multiply-adds of a detector with each kind of head; without "mixed" where no layer is
    left for it, or clips are too small.

    Args:
        config: with any head.
        proposals: see `detector_multiply_adds`.

    Returns:
        Rows with kind, those of `detector_multiply_adds`, and head_to_trunk, the head's divided by
        the trunk's.
    """
    rows = []
    for kind in get_args(HeadKind):
        try:
            row = detector_multiply_adds(replace(config, head=kind), proposals)
        except InputError:
            if kind == "mixed":
                continue
            raise
        rows.append({"kind": kind, **row, "head_to_trunk": row["head"] / row["trunk"]})
    return rows


def head_cost_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The result of `head_costs` as text."""
    lines = [f"{'head':8}{'trunk':>10}{'proposals':>11}{'head':>10}{'head / trunk':>14}"]
    for row in rows:
        trunk, proposals, head = (f"{row[part] / 1e9:.2f} G" for part in _PARTS)
        lines.append(f"{row['kind']:8}{trunk:>10}{proposals:>11}{head:>10}"
                     f"{row['head_to_trunk']:>14.2f}")  # fmt: skip
    return "\n".join(lines)
