"""Recall of proposals that is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.detection_set import DetectionSet
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.writer import open_video_writer
from actiontubes.detect.experiments.benchmark_proposals import (
    COUNTS,
    STEPS,
    benchmark_rpn,
    benchmark_source,
    benchmark_table,
)
from actiontubes.detect.inference.predictor import TorchPredictor
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.people.person_boxes import FunctionSource
from actiontubes.tools.main import main

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 33
WIDTH, HEIGHT = 96, 64  # the ground truth is in pixels of twice this size


@pytest.fixture
def videos(tmp_path: Path) -> DetectionSet:
    """A person who walks on all frames, and one who stands still on the second half of them."""
    path = tmp_path / "walk.mp4"
    with open_video_writer(path, 25.0) as writer:
        for _ in range(FRAMES):
            writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    frame = np.concatenate([np.arange(FRAMES), np.arange(17, FRAMES)]).astype(np.int32)
    walker = frame[:FRAMES, None] * [1, 0, 1, 0] + [0, 0, 60, 100]
    boxes = np.concatenate([walker, [[100, 0, 180, 120]] * (FRAMES - 17)]).astype(np.float64)
    tubes = Tubes(
        video=np.zeros_like(frame), frame=frame, label=np.zeros_like(frame), boxes=boxes,
        tube=(np.arange(len(frame)) >= FRAMES).astype(np.int64), video_names=("walk",),
        label_names=("walk",),
    )  # fmt: skip
    one = np.ones(1, np.int64)
    return DetectionSet(
        tubes, ("walk",), ("walk",), (path,), FRAMES * one, 2 * WIDTH * one, 2 * HEIGHT * one
    )


def test_recall_of_a_source(videos: DetectionSet) -> None:
    """It sees the walker, and the one who stands on frames 16 to 23 only."""

    def propose(frames: np.ndarray, first_frame: int) -> Iterator[np.ndarray]:
        for number in range(first_frame, first_frame + len(frames)):
            walker = np.array([number / 2, 0, number / 2 + 30, 50])
            standing = np.array([50.0, 0, 90, 60])
            yield np.stack([walker, standing] if 16 <= number < 24 else [walker])

    rows = benchmark_source(videos, FunctionSource(propose))
    assert [row["step"] for row in rows] == list(STEPS)
    # It stands on 17 to 32. The last frames that it is found on: 23; 23, the middle of 22 and 24;
    # 22, that of 20 and 24; 20, that of 16 and 24; 24, that of 16 and 32.
    standing = [7, 7, 6, 4, 8]
    for row, found in zip(rows, standing, strict=True):
        assert row["recall"]["0.5"] == pytest.approx((FRAMES + found) / (FRAMES + 16)), row
        assert row["ms_per_frame"] >= 0
    lines = benchmark_table(rows).splitlines()
    assert len(lines) == 1 + len(STEPS) and lines[0].split()[0] == "step"


def test_an_rpn_by_number_and_step(videos: DetectionSet) -> None:
    config = DetectorConfig(
        labels=("walk",), backbone="i2d", width_multiplier=0.1, endpoint="MaxPool_2a_3x3",
        proposals="features", proposal_endpoint="MaxPool_2a_3x3", proposal_count=10, hidden=4,
        frames=4, size=(HEIGHT, WIDTH),
    )  # fmt: skip
    torch.manual_seed(0)
    predictor = TorchPredictor(build_detector(config).eval())
    rows = benchmark_rpn(videos, predictor)
    by_count = {row["count"]: row for row in rows if row["step"] == 1}
    assert list(by_count) == list(COUNTS)
    assert [row["step"] for row in rows if row["count"] == 10] == list(STEPS)
    recall = [row["recall"]["0.3"] for row in by_count.values()]
    assert recall == sorted(recall) and recall[-1] > 0.9
    for count, row in by_count.items():
        assert 0 < row["boxes_per_frame"] <= count
    assert len(benchmark_table(rows).splitlines()) == 1 + len(rows)
    with torch.inference_mode():
        features = predictor.detector.extract_features(torch.zeros(1, 4, 64, 96, 3).byte())
        (boxes,), _ = predictor.detector.propose(
            features, torch.zeros(1, 4, 64, 96, 3), torch.tensor([0]), torch.tensor([2.0])
        )
    assert len(boxes) <= 10, "the number of the config is restored"


def test_the_command_needs_data_and_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "proposals", "--data", "x", "--threads", "1"]) == 2
    assert "--checkpoint or --proposals" in capsys.readouterr().err
