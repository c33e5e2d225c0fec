"""Paths of frames' files as programs write them."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.frame_files import FrameFiles, first_frame_of

KNOWN = ("Run/alpha", "Run/beta_2", "gamma.mp4", "new_alpha")


@pytest.mark.parametrize(
    ("path", "video", "number"),
    [
        ("Run/alpha/00001.jpg", "Run/alpha", 1),
        ("alpha/00012.png", "Run/alpha", 12),
        ("frames/Run/alpha/0.jpg", "Run/alpha", 0),
        ("alpha\\img_00003.jpg", "Run/alpha", 3),
        ("alpha/frame00004", "Run/alpha", 4),
        ("alpha_00005.jpg", "Run/alpha", 5),
        ("Run/alpha-000006.jpeg", "Run/alpha", 6),
        ("all/gamma_frame_7.jpg", "gamma.mp4", 7),
        ("Run_alpha_00008.txt", "Run/alpha", 8),
        ("Jump_Run_alpha_00008.txt", "Run/alpha", 8),
        ("beta_2_00009.jpg", "Run/beta_2", 9),
        ("gamma/00010.jpg", "gamma.mp4", 10),
        ("Walk_gamma_00010.txt", "gamma.mp4", 10),
        # Names that no known video has are kept.
        ("delta/00001.jpg", "delta", 1),
        ("delta/img_00001.jpg", "delta", 1),
        ("delta_00001.jpg", "delta", 1),
        ("some/delta_00001.jpg", "some/delta", 1),
        ("Jump/alpha/00001.jpg", "Jump/alpha", 1),
        ("00001.jpg", "", 1),
    ],
)
def test_paths(path: str, video: str, number: int) -> None:
    assert FrameFiles(KNOWN, "", "").find(path) == (video, number)


@pytest.mark.parametrize(
    ("path", "known", "message"),
    [
        ("alpha/first.jpg", KNOWN, "a.json: image alpha/first.jpg: must be named <video>/<frame>"),
        ("alpha/99999999999.jpg", KNOWN, "must be named <video>/<frame>"),
        ("Run_new_alpha_1.txt", ("alpha", "new_alpha"), "could be a frame of alpha, new_alpha"),
        ("walk/alpha_00001.jpg", ("walk", "alpha"), "could be a frame of alpha, walk"),
        ("alpha/00001.jpg", ("a/alpha", "b/alpha"), "image alpha/00001.jpg: .*a/alpha, b/alpha"),
    ],
)
def test_paths_that_are_not_certain(path: str, known: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FrameFiles(known, "a.json: image ", "<video>/<frame>").find(path)


def test_first_frame() -> None:
    assert first_frame_of(np.array([3, 1, 2]), "a.json") == 1
    assert first_frame_of(np.array([3, 0, 1]), "a.json") == 0
    with pytest.raises(InputError, match=r"a\.json: .*begin with 10.*--first-frame"):
        first_frame_of(np.array([20, 10]), "a.json")
