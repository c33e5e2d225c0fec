"""Multiply-adds of a detector's parts, against a count by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from actiontubes.backbones.cost import multiply_adds
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.detect.experiments.detector_cost import (
    detector_multiply_adds,
    head_cost_table,
    head_costs,
)
from actiontubes.detect.model.config import DetectorConfig

CONFIG = DetectorConfig(
    labels=("a", "b", "c"), backbone="s3d-g", width_multiplier=0.05, endpoint="Mixed_4e",
    proposals="features", proposal_endpoint="Mixed_4e", anchor_sides=(16, 32), hidden=16,
    head_channels=4, roi_size=3, frames=8, size=(64, 80),
)  # fmt: skip


def test_parts_by_hand() -> None:
    with torch.device("meta"):
        trunk = Trunk(get_variant("s3d-g"), 0.05, last="Mixed_4e").eval()
    channels = trunk.out_channels
    # 64 key frames with 8 frames on either side share a clip of 80 frames, 20 steps of 4x5 cells.
    shared = multiply_adds(trunk, (1, 3, 80, 64, 80)) // 64
    # 32 key frames lie on 9 steps; each has six anchors.
    rpn = 20 * channels * (9 * 9 * channels / 32 + 6 + 4 * 6)
    outputs = 16 * (4 + 4)  # three classes and background, a box
    mean = 2 * (9 * channels * 16 + 16 * 16) + outputs
    light = 9 * (4 + 2) * 16 + outputs  # four channels for classes, two for boxes
    # The map is reduced once for the 32 key frames that are scored together.
    reduction = 20 * 20 * channels * 6 / 32
    found = detector_multiply_adds(CONFIG, proposals=10)
    assert found == {"trunk": shared, "proposals": int(rpn), "head": 10 * mean}
    found = detector_multiply_adds(replace(CONFIG, head="light"), proposals=10)
    assert found == {"trunk": shared, "proposals": int(rpn), "head": int(10 * light + reduction)}


def test_the_light_head_of_the_papers_detector() -> None:
    rows = {row["kind"]: row for row in head_costs(DetectorConfig(proposals="features"))}
    assert list(rows) == ["mean", "light", "mixed"]
    assert rows["mean"]["head"] / 1e9 == pytest.approx(5.5, abs=0.05)
    assert rows["light"]["head"] < 0.1 * rows["mean"]["head"]
    assert all(rows[kind]["head_to_trunk"] < 0.25 for kind in ("light", "mixed"))
    assert head_cost_table(list(rows.values())).splitlines()[1].split()[0] == "mean"
    # Without a layer for it there is no mixed head.
    last = replace(CONFIG, endpoint="Mixed_5c", size=(64, 96))
    assert [row["kind"] for row in head_costs(last)] == ["mean", "light"]
