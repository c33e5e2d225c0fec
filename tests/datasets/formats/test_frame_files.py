"""Paths of frames' files as programs write them."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.frame_files import (
    FrameFiles,
    first_frame_of,
    match_frame_files,
)
from actiontubes.datasets.tables import tubes_from_rows

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
        ("Jump/alpha/00001.jpg", "Run/alpha", 1),
        ("alpha/img1/000003.jpg", "Run/alpha", 3),
        ("delta/img1/000003.jpg", "delta/img1", 3),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is taken for")
def test_paths(path: str, video: str, number: int) -> None:
    files = match_frame_files([path], KNOWN, "", "")
    assert files.videos == [video] and files.numbers.tolist() == [number]


@pytest.mark.parametrize(
    ("path", "known", "message"),
    [
        ("alpha/first.jpg", KNOWN, "a.json: image alpha/first.jpg: must be named <video>/<frame>"),
        ("alpha/99999999999.jpg", KNOWN, "must be named <video>/<frame>"),
        ("00001.jpg", KNOWN, "must be named <video>/<frame>"),
        ("Run_new_alpha_1.txt", ("alpha", "new_alpha"), "could be a frame of alpha, new_alpha"),
        ("walk/alpha_00001.jpg", ("walk", "alpha"), "could be a frame of alpha, walk"),
        ("alpha/00001.jpg", ("a/alpha", "b/alpha"), "image alpha/00001.jpg: .*a/alpha, b/alpha"),
    ],
)
def test_paths_that_are_not_certain(path: str, known: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match_frame_files([path], known, "a.json: image ", "<video>/<frame>")


def test_ends_of_names() -> None:
    """Taken where one video alone ends so, and no other file means it, and said."""
    with pytest.warns(
        UserWarning, match=r"a: b/alpha/1\.jpg: is taken for .* Run/alpha, .*\(and 1 m"
    ):
        files = match_frame_files(["b/alpha/1.jpg", "Go_gamma_2.jpg"], KNOWN, "a: ", "")
    assert files.videos == ["Run/alpha", "gamma.mp4"]
    files = match_frame_files(["Jump/alpha/1.jpg", "Run/alpha/1.jpg"], KNOWN, "", "")
    assert files.videos == ["Jump/alpha", "Run/alpha"]


@pytest.mark.parametrize("other", ["two/alpha/2.jpg", "alpha_4.jpg"])
def test_files_of_two_names(other: str) -> None:
    with pytest.raises(InputError, match=r"could be .* of alpha, and so could one/alpha/1\.jpg"):
        match_frame_files(["one/alpha/1.jpg", "one/alpha/2.jpg", other], ["alpha"], "", "")


def files_of(*numbers: int) -> FrameFiles:
    return FrameFiles(["alpha"] * len(numbers), np.array(numbers))


def test_first_frame() -> None:
    assert first_frame_of(files_of(3, 1, 2), None, "a.json") == 1
    assert first_frame_of(files_of(3, 0, 1), None, "a.json") == 0
    with pytest.raises(InputError, match=r"a\.json: .*begin with 10.*write `video` and `frame`"):
        first_frame_of(files_of(20, 10), None, "a.json")


@pytest.mark.parametrize(
    ("annotated", "first"),
    [
        ([10, 20], 0),
        ([9, 19], 1),
        ([9, 14, 19], 1),  # a part of the frames is in the file
        ([19], 1),
        ([10, 11, 12, 19, 20], 0),
        ([9, 10, 19, 20], None),
        ([15], None),
    ],
)
def test_first_frame_by_the_ground_truth(annotated: list[int], first: int | None) -> None:
    rows = np.array([[frame, 1, 2, 3, 4] for frame in annotated])
    truth = tubes_from_rows([(0, 0, rows, None)], ("alpha",), ("run",))
    if first is None:
        with pytest.raises(InputError, match="may count from 0 or from 1"):
            first_frame_of(files_of(10, 20), truth, "a.json")
    else:
        assert first_frame_of(files_of(10, 20), truth, "a.json") == first
