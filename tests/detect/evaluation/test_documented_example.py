"""The example that docs/evaluate.md draws, by each protocol; the fractions are worked out there."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import get_protocol

PAGE = Path(__file__).parents[3] / "docs" / "evaluate.md"
F = Fraction
EXPECTED = {
    "act": (1 + (F(1, 2) + F(2, 3)) / 2 + (F(2, 3) + F(3, 4)) / 2) / 3,
    "road": (1 + F(3, 4) + F(3, 4)) / 3,
    "multisports": (1 + F(2, 3)) / 3,
    "yowo": F(2, 3),
    "ava": F(2, 3),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_example(name: str) -> None:
    first, second, between = [10.0, 10, 110, 110], [40.0, 10, 140, 110], [20.0, 10, 120, 110]
    zeros, names = np.zeros(4, np.int32), {"video_names": ("v",), "label_names": ("run",)}
    truth = Tubes(
        video=zeros[:3], frame=np.array([0, 1, 1], np.int32), label=zeros[:3],
        boxes=np.array([first, first, second]), tube=np.array([0, 0, 1]), **names,
    )  # fmt: skip
    detections = Detections(
        video=zeros, frame=np.array([0, 2, 1, 1], np.int32), label=zeros,
        score=np.array([0.9, 0.8, 0.7, 0.6]), boxes=np.array([first, first, first, between]),
        **names,
    )  # fmt: skip
    (result,) = evaluate_tables(truth, [get_protocol(name)], detections, None)
    expected = 100 * float(EXPECTED[name])
    assert result.frame_map[0.5] == pytest.approx(expected, abs=1e-9)
    [shown] = re.findall(rf"^\| `{name}` \|.*\| ([\d.]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert float(shown) == round(expected, 1)
