"""Labelled clips: which frames, which part of the picture, the same at every run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.classification_clips import (
    ClassificationClips,
    ClassificationSample,
    FullVideos,
    collate,
    flow_reader,
    frame_count,
    left_right_labels,
    read_repeated,
    repeat_frames,
    square_crop,
)
from actiontubes.datasets.clips.classification_set import ClassificationSet
from actiontubes.datasets.clips.options import CropConfig
from actiontubes.datasets.errors import InputError

HEIGHT, WIDTH = 64, 96


def picture(number: int) -> np.ndarray:
    """Red tells the column, green the row, blue the frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    blue = np.full_like(rows, 3 * number)
    return np.stack([2 * columns, 3 * rows, blue], axis=-1).astype(np.uint8)


def write_frames(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number + 1:05d}.png"), picture(number)[..., ::-1])
    return folder


def labelled(
    media: Sequence[Path], labels: tuple[str, ...] = ("run", "sit", "lie")
) -> ClassificationSet:
    names = tuple(path.name for path in media)
    return ClassificationSet(
        names, tuple(media), np.arange(len(media)) % len(labels), labels, "train"
    )


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of 40, 5 and 12 frames."""
    folder = tmp_path_factory.mktemp("frames")
    return [write_frames(folder / f"v{count}", count) for count in (40, 5, 12)]


def numbers(clip: torch.Tensor) -> list[int]:
    """The frames of a clip."""
    return [round(value / 3) for value in clip[..., 2].float().mean((1, 2)).tolist()]


SMALL = CropConfig(frames=12, size=28)


def test_frames_in_a_row_from_anywhere(media: list[Path]) -> None:
    clips = ClassificationClips(labelled(media), SMALL, seed=3)
    starts: dict[str, set[int]] = {}
    for position in range(150):
        sample = clips[position]
        name, _, first = sample.name.rpartition(":")
        starts.setdefault(name, set()).add(int(first))
        assert sample.label == ("v40", "v5", "v12").index(name)
        assert sample.clip.shape == (12, 28, 28, 3) and sample.clip.dtype == torch.uint8
        found = numbers(sample.clip)
        if name == "v5":
            assert found == [*range(5), *range(5), 0, 1]
        else:
            assert found == [int(first) + t for t in range(12)]
    assert starts["v5"] == starts["v12"] == {0}
    assert starts["v40"] <= {*range(29)} and len(starts["v40"]) > 15
    long = ClassificationClips(labelled(media[:1]), CropConfig(frames=39, size=28), seed=3)
    assert {long[position].name for position in range(12)} == {"v40:0", "v40:1"}


def test_each_video_once_in_a_pass(media: list[Path]) -> None:
    clips = ClassificationClips(labelled(media), SMALL, seed=3)
    orders = [tuple(clips[3 * turn + i].label for i in range(3)) for turn in range(20)]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len({*orders}) > 3


def test_squares_of_seven_eighths_of_the_shorter_side(media: list[Path]) -> None:
    """56 of 64 pixels, anywhere: the means of red and green tell the square's middle."""
    clips = ClassificationClips(
        labelled(media[:1]), CropConfig(frames=12, size=28, flip=0.5), seed=0
    )
    middles, mirrored = [], 0
    for position in range(100):
        clip = clips[position].clip[0].float()
        red = clip[:, :, 0].mean(0)
        step = (red[-1] - red[0]).item() / 27
        assert abs(abs(step) - 4) < 0.2, "twice the column, which is of two pixels"
        mirrored += step < 0
        middles.append((red.mean().item() / 2, clip[..., 1].mean().item() / 3))
        assert (clip == clips[position].clip[5].float())[..., :2].all(), "one square for all frames"
    x, y = np.array(middles).T
    # From 27.5 to 67.5, and from 27.5 to 35.5.
    assert x.min() == pytest.approx(27.5, abs=1.5) and x.max() == pytest.approx(67.5, abs=1.5)
    assert y.min() == pytest.approx(27.5, abs=0.6) and y.max() == pytest.approx(35.5, abs=0.6)
    assert 30 < mirrored < 70


def test_the_same_whatever_was_asked_before(media: list[Path]) -> None:
    settings = CropConfig(frames=12, size=28, color=0.3)
    one, other = (ClassificationClips(labelled(media), settings, seed=7) for _ in range(2))
    late = other[41]
    for position in (*range(5), 41):
        ours, theirs = one[position], late if position == 41 else other[position]
        assert torch.equal(ours.clip, theirs.clip)
        assert (ours.name, ours.label, ours.seed) == (theirs.name, theirs.label, theirs.seed)
    another = ClassificationClips(labelled(media), settings, seed=8)
    assert any(another[i].name != one[i].name for i in range(9))
    # A loader's processes get a copy.
    copied = pickle.loads(pickle.dumps(ClassificationClips(labelled(media), settings, seed=7)))
    assert torch.equal(copied[3].clip, one[3].clip)


def test_flow_in_place_of_pictures(media: list[Path]) -> None:
    """Both read the same squares of the same frames; flow has no colour to change."""
    settings = CropConfig(frames=8, size=28, flip=0.0, color=0.3)
    reader = pickle.loads(pickle.dumps(flow_reader("dis")))
    flow = ClassificationClips(labelled(media[1:2]), settings, seed=1, read=reader)[0]
    pictures = ClassificationClips(labelled(media[1:2]), settings, seed=1)[0]
    assert (flow.name, flow.label) == (pictures.name, pictures.label)
    assert flow.clip.shape == (8, 28, 28, 2) and pictures.clip.shape == (8, 28, 28, 3)
    assert torch.equal(flow.clip[5:], flow.clip[:3]), "five frames, repeated"
    whole = FullVideos(labelled(media[1:2]), 28, 8, reader)[0]
    assert whole.clip.shape == (8, 28, 28, 2)


def test_left_and_right_are_never_mirrored(media: list[Path]) -> None:
    labels = ("Pushing [it] from Left to right", "pushing [it] from right to left", "leftovers",
              "turning left")  # fmt: skip
    assert left_right_labels(labels) == {0, 1}
    videos = labelled([media[0], media[0], media[0], media[0]], labels)
    clips = ClassificationClips(videos, CropConfig(frames=8, size=28, flip=1.0), seed=0)
    for position in range(8):
        sample = clips[position]
        mirrored = sample.clip[0, 0, 0, 0] > sample.clip[0, 0, -1, 0]
        assert mirrored == (sample.label not in (0, 1))


def test_a_video_that_cannot_be_read_gives_way(media: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    clips = ClassificationClips(labelled([media[0], bad, media[2]]), SMALL, seed=0)
    with pytest.warns(UserWarning, match=r"bad\.mp4: .*; using another video instead") as told:
        labels = [clips[position].label for position in range(30)]
    assert len(told) == 1 and {*labels} == {0, 2}
    only = ClassificationClips(labelled([bad]), SMALL, seed=0)
    with (
        pytest.warns(UserWarning, match="bad"),
        pytest.raises(InputError, match=r"bad\.mp4: .*; the 9 videos tried before"),
    ):
        only[0]


def test_a_container_that_counts_too_many_frames(media: list[Path]) -> None:
    assert read_repeated(media[1], 3, 4)[:, 0, 0, 2].tolist() == [9, 12, 9, 12]
    assert read_repeated(media[1], 9, 4)[:, 0, 0, 2].tolist() == [3, 6, 9, 12]
    assert read_repeated(media[1], 50, 7)[:, 0, 0, 2].tolist() == [0, 3, 6, 9, 12, 0, 3]


def test_counts(media: list[Path], tmp_path: Path, numbered: Any) -> None:
    assert [frame_count(path) for path in media] == [40, 5, 12]
    assert frame_count(numbered.write(tmp_path / "a.mp4", 17)) == 17
    # Matroska and WebM do not say.
    assert frame_count(numbered.write(tmp_path / "a.mkv", 19)) == 19


def test_whole_videos(media: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    videos = FullVideos(labelled([*media, empty]), 28, 12)
    assert len(videos) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = [videos[i] for i in range(3)]
    assert [numbers(sample.clip) for sample in samples] == [
        [*range(40)], [*range(5), *range(5), 0, 1], [*range(12)]
    ]  # fmt: skip
    assert [(each.name, each.label) for each in samples] == [("v40", 0), ("v5", 1), ("v12", 2)]
    # Columns 20 to 75 and rows 4 to 59.
    middle = samples[0].clip[0].float().mean((0, 1))
    assert middle[:2].tolist() == pytest.approx([2 * 47.5, 3 * 31.5], abs=1)
    with pytest.warns(UserWarning, match=r"empty: contains no frames; skipping this video"):
        nothing = videos[3]
    assert nothing.clip.shape == (0, 28, 28, 3) and nothing.label == 0


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (1, 5), (7, 7)])
def test_squares_stay_in_the_picture(height: int, width: int) -> None:
    for x in (0.0, 0.3, 1.0):
        change = square_crop(height, width, 112, x, 1 - x)
        x1, y1, x2, y2 = change.crop
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and x2 - x1 == y2 - y1
        assert change.place == (0, 0, 112, 112)
    assert square_crop(240, 320, 112).crop == (55, 15, 265, 225)


def test_looping() -> None:
    pictures = np.arange(3)
    assert repeat_frames(pictures, 3) is pictures
    assert [repeat_frames(pictures, n).tolist() for n in (2, 7)] == [[0, 1], [0, 1, 2, 0, 1, 2, 0]]


def test_batches_move_as_one() -> None:
    clip = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    batch = collate(
        [ClassificationSample(clip, 3, "a:0", 5), ClassificationSample(clip, 1, "b:2", 6)]
    )
    moved = batch.to("meta")
    assert moved.clips.device.type == moved.labels.device.type == "meta"
    assert moved.clips.shape == (2, 2, 4, 4, 3)
    assert batch.labels.tolist() == [3, 1] and moved.names == ["a:0", "b:2"]
    assert moved.seeds == [5, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "--frames 0"), ({"size": 0}, "--size 0"), ({"flip": 2.0}, "--flip 2.0"),
        ({"color": -1.0}, "color"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CropConfig(**changes)


def test_nothing_to_train_on(media: list[Path]) -> None:
    with pytest.raises(InputError, match="there is no training video"):
        ClassificationClips(labelled([]), SMALL, seed=0)
    with pytest.raises(InputError, match="--seed -1"):
        ClassificationClips(labelled(media), SMALL, seed=-1)
