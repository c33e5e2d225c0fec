"""Parameters and multiply-adds, against counts made elsewhere and by hand."""

from __future__ import annotations

import pytest
import torch
from actiontubes.backbones.classifier import Classifier
from actiontubes.backbones.cost import family_costs, multiply_adds, parameters
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from torch import nn

# 400 classes, 64x224x224: millions of parameters and 10^9 multiply-adds, counted independently of
# this code (convolutions alone; parameters with the scales of the norms, which I3D lacks: 0.007).
COUNTED = {
    "i2d": (6.01, 36.9),
    "i3d": (12.70, 111.2),
    "s3d": (8.32, 71.9),
    "s3d-g": (9.54, 71.9),
    "s3d-g(temporal)": (9.09, 71.9),
    "fast-s3d": (7.99, 40.8),
    "top-heavy-i3d": (11.69, 48.0),
    "top-heavy-i3d(Conv2d_2c_3x3)": (12.64, 88.5),
    "top-heavy-i3d(Mixed_3b)": (12.42, 66.3),
    "top-heavy-i3d(Mixed_3c)": (12.19, 60.5),
    "top-heavy-i3d(Mixed_4e)": (10.22, 43.4),
    "top-heavy-i3d(Mixed_5b)": (8.44, 37.8),
    "bottom-heavy-i3d": (None, 100.0),
    "bottom-heavy-i3d(Conv2d_2c_3x3)": (None, 59.6),
    "bottom-heavy-i3d(Mixed_3b)": (None, 81.7),
    "bottom-heavy-i3d(Mixed_3c)": (None, 87.5),
    "bottom-heavy-i3d(Mixed_4e)": (None, 104.6),
    "bottom-heavy-i3d(Mixed_5b)": (None, 110.2),
}


@pytest.mark.parametrize("name", COUNTED)
def test_whole_networks(name: str) -> None:
    with torch.device("meta"):
        model = nn.Sequential(Trunk(get_variant(name)), Classifier(1024, 400)).eval()
    millions, giga = COUNTED[name]
    if millions is not None:
        assert parameters(model) / 1e6 == pytest.approx(millions, abs=0.018)
    assert multiply_adds(model, (1, 3, 64, 224, 224)) / 1e9 == pytest.approx(giga, abs=0.06)


def test_one_layer_by_hand() -> None:
    with torch.device("meta"):
        trunk = Trunk(get_variant("s3d"), last="Conv2d_1a_7x7").eval()
    # 3·49 values for each of 64 channels at 8 frames of 16x16; 64·7 at 4 frames.
    assert multiply_adds(trunk, (1, 3, 8, 32, 32)) == 256 * 64 * (8 * 3 * 49 + 4 * 64 * 7)
    assert parameters(trunk) == 64 * (3 * 49 + 2) + 64 * (64 * 7 + 2)


def test_rows_of_the_family() -> None:
    rows = {row["name"]: row for row in family_costs(400, 16, 224)}
    assert list(rows) == ["i2d", "i3d", "bottom-heavy-i3d", "top-heavy-i3d", "s3d", "fast-s3d",
                          "s3d-g"]  # fmt: skip
    assert rows["s3d"]["parameters"] == 8_320_048
    assert rows["i3d"]["parameters"] == 12_689_984
    assert rows["s3d"]["paper_parameters"] == 8_770_000
    assert rows["s3d"]["paper_multiply_adds"] == 66_380_000_000
    assert rows["fast-s3d"]["paper_multiply_adds"] == 43_470_000_000
    assert rows["i2d"]["paper_parameters"] is None and rows["i2d"]["temporal"] == "none"
