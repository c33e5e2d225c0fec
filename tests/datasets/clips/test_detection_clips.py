"""Clips: the right frames with the right boxes, the same at every run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from actiontubes.datasets.clips.detection_clips import (
    DetectionClips,
    DetectionSample,
    collate,
)
from actiontubes.datasets.clips.detection_set import DetectionSet, open_detection_sets
from actiontubes.datasets.clips.loader import limit_worker_threads
from actiontubes.datasets.clips.options import Augmentation, ClipConfig, ClipSampling
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.tables import Tubes
from actiontubes.datasets.video.reader import read_frames_at
from actiontubes.datasets.video.resize import resize
from torch.utils.data import DataLoader

Shared = Callable[[str], Path]

FRAMES = 40
SMALL = ClipConfig(frames=6, size=(48, 64), key_frames=3, key_frame_step=4)


def video_set(
    media: list[Path], rows: list[tuple], labels: tuple[str, ...], size: int = 1
) -> DetectionSet:
    """Rows are video, frame, label, tube and box; frames are `size` times 64 x 48."""
    video, frame, label, tube, *box = (np.array(column) for column in zip(*rows))
    names = tuple(path.stem for path in media)
    tubes = Tubes(video, frame, label, np.stack(box, axis=1).astype(float), tube, names, labels)
    count = np.ones(len(media), np.int64)
    return DetectionSet(
        tubes, names, labels, tuple(media), FRAMES * count, 64 * size * count, 48 * size * count
    )


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, numbered: Any) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        numbered.write(folder / "a.mp4", num_frames=FRAMES),
        numbered.write(folder / "b.avi", num_frames=FRAMES, codec="mpeg4", b_frames=0),
        numbered.write(folder / "c.mp4", num_frames=FRAMES),
    ]


@pytest.fixture(scope="module")
def videos(media: list[Path]) -> DetectionSet:
    """On every frame of a and b a box whose left edge tells the frame; c is background."""
    rows = [
        (video, frame, video, video, frame / 2, 4, 40, 30)
        for video in (0, 1)
        for frame in range(FRAMES)
    ]
    return video_set(media, rows, ("first", "second"))


def test_key_frames_carry_the_boxes_of_their_pictures(videos: DetectionSet, numbered: Any) -> None:
    clips = DetectionClips(
        videos, SMALL, augmentation=None, seed=3, sampling=ClipSampling(background=0.2)
    )
    assert SMALL.length == 14 and len(clips) == 80
    over_the_end = places = 0
    for position in range(60):
        sample = clips[position]
        assert sample.clip.shape == (14, 48, 64, 3) and sample.clip.dtype == torch.uint8
        name, _, first = sample.name.rpartition(":")
        numbers = np.clip(np.arange(int(first), int(first) + 14), 0, FRAMES - 1)
        assert numbered.numbers(sample.clip.numpy()) == numbers.tolist()
        over_the_end += len(set(numbers.tolist())) < 14
        assert sample.key_frames.tolist() == [3, 7, 11]
        for place, boxes, labels in zip(sample.key_frames, sample.boxes, sample.labels):
            if name == "c":
                assert boxes.shape == (0, 4) and labels.shape == (0, 2)
                continue
            frame = numbered.number(sample.clip[place].numpy())
            assert boxes.tolist() == [[frame / 2, 4, 40, 30]]
            assert labels.tolist() == [[1, 0] if name == "a" else [0, 1]]
            places += 1
    assert over_the_end > 3 and places > 100


def same(one: DetectionSample, other: DetectionSample) -> bool:
    pairs = zip([one.clip, *one.boxes, *one.labels], [other.clip, *other.boxes, *other.labels])
    return (one.name, one.seed) == (other.name, other.seed) and all(
        torch.equal(first, second) for first, second in pairs
    )


def random_states() -> tuple:
    """Of all global generators."""
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


def test_a_sample_follows_from_seed_and_position(videos: DetectionSet) -> None:
    options: dict[str, Any] = {
        "augmentation": Augmentation(),
        "sampling": ClipSampling(background=0.3),
    }
    clips = DetectionClips(videos, SMALL, seed=1, **options)
    before = random_states()
    first = [clips[position] for position in range(8)]
    assert random_states() == before
    again = DetectionClips(videos, SMALL, seed=1, **options)
    for position in (5, 0, 7):
        assert same(again[position], first[position])
    # The same by several processes, as a resumed run asks for them.
    loader: DataLoader = DataLoader(
        again,
        batch_size=2,
        sampler=range(4, 8),
        num_workers=2,
        collate_fn=collate,
        worker_init_fn=limit_worker_threads,
        multiprocessing_context="fork",
    )
    batches = list(loader)
    assert [name for batch in batches for name in batch.names] == [each.name for each in first[4:]]
    assert torch.equal(batches[1].clips[1], first[7].clip)
    other = DetectionClips(videos, SMALL, seed=2, **options)
    assert not any(same(other[position], first[position]) for position in range(8))
    assert len({sample.seed for sample in first}) == 8
    far = 2**40
    assert same(again[far], clips[far]) and not same(clips[far], first[0])


def test_batches(videos: DetectionSet) -> None:
    clips = DetectionClips(
        videos, SMALL, augmentation=None, seed=0, sampling=ClipSampling(background=0.5)
    )
    samples = [clips[position] for position in range(3)]
    batch = collate(samples)
    assert batch.clips.shape == (3, 14, 48, 64, 3)
    assert batch.clip_index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.key_frames.tolist() == [3, 7, 11] * 3
    assert len(batch.boxes) == len(batch.labels) == 9 and batch.boxes[4] is samples[1].boxes[1]
    assert batch.seeds == [sample.seed for sample in samples]
    moved = batch.to("meta", non_blocking=True)
    assert {t.device.type for t in (moved.clips, moved.key_frames, *moved.boxes)} == {"meta"}


def test_coinciding_boxes_are_one_of_several_classes(media: list[Path]) -> None:
    rows = [
        (0, 5, 0, 0, 8, 8, 20, 20),
        (0, 5, 2, 1, 8, 8, 20, 20),
        (0, 5, 1, 2, 30, 8, 40, 20),
        (0, 6, 1, 2, 31, 8, 41, 20),
    ]
    one = replace(SMALL, key_frames=1)
    clips = DetectionClips(
        video_set(media[:1], rows, ("x", "y", "z")),
        one,
        augmentation=None,
        seed=0,
        sampling=ClipSampling(background=0),
    )
    sample = next(clips[i] for i in range(99) if clips[i].name == "a:2")
    assert sample.boxes[0].tolist() == [[8, 8, 20, 20], [30, 8, 40, 20]]
    assert sample.labels[0].tolist() == [[1, 0, 1], [0, 1, 0]]


def test_boxes_are_cut_at_the_picture_and_no_thinner_than_a_pixel(media: list[Path]) -> None:
    rows = [(0, 5, 0, 0, -3, -3, 70, 50), (0, 5, 0, 1, 64, 7, 64, 7), (0, 5, 0, 2, 9, 9, 9, 12)]
    settings = replace(SMALL, key_frames=1, size=(96, 64))
    clips = DetectionClips(
        video_set(media[:1], rows, ("x",)),
        settings,
        augmentation=None,
        seed=0,
        sampling=ClipSampling(background=0),
    )
    assert clips[0].boxes[0].tolist() == [[0, 0, 64, 96], [9, 18, 10, 24], [63, 14, 64, 16]]


def test_a_margin_shows_more_frames_around_the_same_key_frames(media: list[Path]) -> None:
    videos = video_set(media, [(0, frame, 0, 0, 1, 4, 40, 30) for frame in range(12)], ("x",))
    plain, wide = (
        DetectionClips(
            videos,
            replace(SMALL, margin=margin),
            augmentation=None,
            seed=0,
            sampling=ClipSampling(background=0),
        )
        for margin in (0, 5)
    )
    for position in range(8):
        one, other = plain[position], wide[position]
        assert len(other.clip) == len(one.clip) + 10
        assert torch.equal(other.clip[5:-5], one.clip)
        assert other.key_frames.tolist() == [place + 5 for place in one.key_frames.tolist()]
        for mine, theirs in zip(one.boxes, other.boxes, strict=True):
            assert torch.equal(mine, theirs)
        assert int(other.name.split(":")[1]) == int(one.name.split(":")[1]) - 5


def test_rare_classes_are_drawn_by_the_square_root_of_their_tubes(media: list[Path]) -> None:
    """Nine tubes of one class, one of the other: 3 to 1; without balance 9 long tubes to one."""
    rows = [(0, frame, 0, tube, tube, 4, 40, 30) for tube in range(9) for frame in range(12)]
    rows += [(1, frame, 1, 9, 1, 4, 40, 30) for frame in (30, 31)]
    videos = video_set(media, rows, ("common", "rare"))
    tiny = ClipConfig(frames=1, size=(8, 8))

    def drawn(**options: Any) -> Counter:
        clips = DetectionClips(
            videos, tiny, augmentation=None, seed=0, sampling=ClipSampling(cache=True, **options)
        )
        return Counter(clips[i].name for i in range(2000))

    by_class = drawn(background=0)
    rare = sum(count for name, count in by_class.items() if name.startswith("b"))
    assert 440 < rare < 560 and set(by_class) == {f"a:{i}" for i in range(12)} | {"b:30", "b:31"}
    plain = drawn(background=0, balance=False)
    assert 220 < plain["b:30"] + plain["b:31"] < 350
    everywhere = drawn(background=1)
    assert len(everywhere) == 120 and max(everywhere.values()) < 50
    some = drawn(background=0.3)
    assert 160 < sum(count for name, count in some.items() if name.startswith("c")) < 240


def test_cached_clips_are_the_same(videos: DetectionSet) -> None:
    options: dict[str, Any] = {"augmentation": Augmentation(), "seed": 5}
    plain, cached = (
        DetectionClips(videos, SMALL, sampling=ClipSampling(cache=cache), **options)
        for cache in (False, True)
    )
    assert all(same(plain[i], cached[i]) for i in range(6))
    assert all(same(cached[i], cached[i]) for i in range(6))


def test_cached_videos_are_no_larger_than_needed(tmp_path: Path, numbered: Any) -> None:
    path = numbered.write(tmp_path / "a.mp4", num_frames=FRAMES, size=(256, 192))
    rows = [(0, frame, 0, 0, 4 * frame, 8, 200, 100) for frame in range(FRAMES)]
    videos = video_set([path], rows, ("x",), size=4)
    options: dict[str, Any] = {"augmentation": None, "seed": 5}
    plain, cached = (
        DetectionClips(videos, SMALL, sampling=ClipSampling(cache=cache), **options)
        for cache in (False, True)
    )
    one, other = plain[2], cached[2]
    assert cached._cache is not None and cached._cache[0].shape == (FRAMES, 72, 96, 3)
    assert torch.equal(one.boxes[0], other.boxes[0])
    assert (one.clip.int() - other.clip.int()).abs().float().mean() < 3


def test_a_video_shorter_than_its_table(tmp_path: Path, numbered: Any) -> None:
    path = numbered.write(tmp_path / "a.mp4", num_frames=20)
    rows = [(0, frame, 0, 0, frame, 8, 60, 40) for frame in range(FRAMES)]
    clips = DetectionClips(video_set([path], rows, ("x",)), SMALL, augmentation=None, seed=0)
    names = {i: int(clip_name(clips, i)) for i in range(40)}
    crossing = next(i for i, first in names.items() if 10 < first < 18)
    with pytest.warns(UserWarning, match=r"a\.mp4: ends after 20 of 40 frames; the last frame"):
        sample = clips[crossing]
    wanted = range(names[crossing], names[crossing] + 14)
    assert numbered.numbers(sample.clip.numpy()) == [min(frame, 19) for frame in wanted]
    after = next(i for i, first in names.items() if first > 20)
    with pytest.raises(
        InputError, match=r"a\.mp4: has no frame \d+, although the table of videos says 40"
    ):
        clips[after]


def clip_name(clips: DetectionClips, position: int) -> str:
    """First frame of a sample, without reading it."""
    rng = np.random.default_rng((0, position))
    return str(clips._annotated.draw(rng)[1] - SMALL.key_frame_positions[rng.integers(3)])


def test_frames_as_pictures(tmp_path: Path, numbered: Any) -> None:
    (tmp_path / "a").mkdir()
    for frame in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"a/{frame + 1:05d}.png"), numbered.frame(frame)[..., ::-1])
    rows = [(0, 20, 0, 0, 1, 8, 60, 40)]
    videos = video_set([tmp_path / "a"], rows, ("x",))
    sample = DetectionClips(
        videos, SMALL, augmentation=None, seed=0, sampling=ClipSampling(background=0)
    )[0]
    assert 20 in numbered.numbers(sample.clip[sample.key_frames].numpy())
    assert sample.clip[0, 0, 0].tolist() == [220, 30, 30]
    (tmp_path / "a/00021.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"00021\.png: cannot be read as an image"):
        DetectionClips(
            videos, SMALL, augmentation=None, seed=0, sampling=ClipSampling(background=0)
        )[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClipConfig(frames=0), "--frames 0: must be 1 or more"),
        (lambda: ClipConfig(key_frame_step=-1), "--key-frame-step -1"),
        (lambda: ClipConfig(margin=-1), "--margin -1: must be 0 or more"),
        (lambda: ClipSampling(background=1.5), "--background 1.5: must be between 0 and 1"),
    ],
)
def test_settings_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_negative_seed_is_refused(videos: DetectionSet) -> None:
    with pytest.raises(InputError, match="--seed -1"):
        DetectionClips(videos, SMALL, augmentation=None, seed=-1)


def test_real_videos_larger_than_their_boxes_mean(shared: Shared) -> None:
    """The .mp4 are 340 x 256, their boxes mean 320 x 240."""
    data = shared("ucf101-24/pyannot.pkl")
    train, _ = open_detection_sets(
        data,
        media=shared("ucf101-24/videos"),
        train_videos=["v_HorseRiding_g01_c03"],
        test_videos=["v_Basketball_g01_c01"],
    )
    clips = DetectionClips(
        train, ClipConfig(), augmentation=None, seed=0, sampling=ClipSampling(background=0)
    )
    sample = clips[0]
    frame = int(sample.name.rpartition(":")[2]) + 10
    (picture,) = read_frames_at(train.media[0], [frame])
    assert picture.shape == (256, 340, 3)
    assert np.array_equal(sample.clip[10], resize(picture, 320, 400))
    rows = train.tubes.boxes[train.tubes.frame == frame]
    expected = rows * np.tile([1.25, 4 / 3], 2)
    np.testing.assert_allclose(sorted(sample.boxes[0].tolist()), sorted(expected.tolist()), 1e-6)
