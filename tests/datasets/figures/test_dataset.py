"""The drawn data set: pairs differ in time alone, boxes are tight, files lie as `prepare`'s."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.figures.dataset import (
    Scene,
    deal_timelines,
    make_figure_dataset,
    make_scene,
)
from actiontubes.datasets.figures.drawing import Camera, render
from actiontubes.datasets.figures.motion import (
    LABELS,
    MAX_ACTION_FRAMES,
    MIN_ACTION_FRAMES,
    PAIRS,
    Body,
    Motion,
    animate,
    joints,
    opposite,
)
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes, Videos
from actiontubes.datasets.video.reader import probe, read_video
from scipy.stats import ks_2samp

FRAMES, HEIGHT, WIDTH = 64, 144, 192


def _motion(labels: tuple[str, ...], seed: int, reverse: bool) -> Motion:
    return animate(labels, FRAMES, Body(), np.random.default_rng(seed), reverse)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [
        make_scene(cast, FRAMES, HEIGHT, WIDTH, np.random.default_rng(k))
        for k, cast in enumerate(deal_timelines(24, np.random.default_rng(0)))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    make_figure_dataset(
        folder, train=3, test=2, frames=60, height=96, width=128, seed=5, progress=False
    )
    return folder


@pytest.mark.parametrize("label", LABELS)
def test_a_class_reversed_is_its_opposite(label: str) -> None:
    for seed in range(5):
        one = _motion((label,), seed, reverse=False)
        other = _motion((opposite(label),), seed, reverse=True)
        np.testing.assert_array_equal(one.pose, other.pose[::-1])
        np.testing.assert_array_equal(one.prop_position, other.prop_position[::-1])
        (action,), (mirrored,) = one.actions, other.actions
        assert mirrored.label == opposite(action.label)
        assert (mirrored.begin, mirrored.end) == (FRAMES - action.end, FRAMES - action.begin)


def test_two_actions_are_mirrored_too() -> None:
    one = _motion(("sit down", "stand up"), 3, reverse=False)
    other = _motion(("sit down", "stand up"), 3, reverse=True)
    assert [action.label for action in one.actions] == [action.label for action in other.actions]
    np.testing.assert_array_equal(one.pose, other.pose[::-1])
    hip = one.pose[:, 1]
    assert hip[[0, -1]].min() > 0.45 and hip[FRAMES // 2] < 0.4
    hip = _motion(("stand up", "sit down"), 3, reverse=False).pose[:, 1]
    assert hip[[0, -1]].max() < 0.4 and hip[FRAMES // 2] > 0.45


@pytest.mark.parametrize("pair", PAIRS)
def test_frames_without_their_order_tell_nothing(pair: tuple[str, str]) -> None:
    # From each of many clips: one frame of the action, one of the rest, and spans of the object.
    seen: dict[str, list[np.ndarray]] = {}
    for label in pair:
        rng = np.random.default_rng(LABELS.index(label))
        for _ in range(400):
            motion = animate((label,), FRAMES, Body(), rng, reverse=bool(rng.integers(2)))
            action = motion.actions[0]
            inside = rng.integers(action.begin, action.end)
            outside = rng.choice(np.r_[: action.begin, action.end : FRAMES])
            rows = [motion.pose[inside], motion.prop_position[inside], motion.pose[outside]]
            rows += [np.ptp(motion.prop_position, axis=0), [action.end - action.begin]]
            seen.setdefault(label, []).append(np.concatenate(rows))
    one, other = (np.array(seen[label]) for label in pair)
    for column in range(one.shape[1]):
        assert ks_2samp(one[:, column], other[:, column]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("label", "column", "sign"),
    [("stand up", 1, 1), ("pick up", 1, 1), ("push", 0, 1), ("pull", 0, -1), ("put down", 1, -1)],
)
def test_their_order_tells(label: str, column: int, sign: int) -> None:
    for seed, reverse in itertools.product(range(5), (False, True)):
        motion = _motion((label,), seed, reverse)
        action = motion.actions[0]
        moved = motion.pose if label == "stand up" else motion.prop_position
        assert sign * (moved[action.end - 1] - moved[action.begin])[column] > 0.1
        # The object is where it was or will be, and rests outside the action.
        assert np.ptp(motion.prop_position[: action.begin], axis=0).max() < 0.06
        assert np.ptp(motion.prop_position[action.end :], axis=0).max() < 0.06


def test_limbs_keep_their_lengths_and_hands_their_hold() -> None:
    body = Body()
    for label in LABELS:
        motion = _motion((label,), 1, reverse=False)
        at = joints(motion.pose, body)
        for chain, bone in ((("shoulder", "elbow", "hand"), 0.18), (("knee", "foot"), 0.235)):
            for a, b in itertools.pairwise(chain):
                length = np.linalg.norm(at[a] - at[b], axis=1)
                np.testing.assert_allclose(length, bone, rtol=0.01)
        assert at["foot"][:, 1].min() > 0.03
    cart = _motion(("push",), 1, reverse=False)
    action = cart.actions[0]
    middle = slice(action.begin + 6, action.end - 6)
    hand = joints(cart.pose, body)["hand"][middle] - cart.prop_position[middle]
    assert np.ptp(hand, axis=0).max() < 0.05


def test_actions_lie_inside_the_clip(scenes: list[Scene]) -> None:
    for actor in (actor for scene in scenes for actor in scene.actors):
        ends = [0]
        for action in actor.actions:
            assert MIN_ACTION_FRAMES <= action.end - action.begin <= MAX_ACTION_FRAMES
            assert action.begin - ends[-1] >= 4
            ends.append(action.end)
        assert FRAMES - ends[-1] >= 4


def test_classes_are_balanced() -> None:
    casts = list(deal_timelines(16, np.random.default_rng(1)))
    assert Counter(map(len, casts)) == {1: 4, 2: 8, 3: 4}
    counts = Counter(label for cast in casts for labels in cast for label in labels)
    assert counts == dict.fromkeys(LABELS, 6)


def test_actors_overlap_little_and_move_smoothly(scenes: list[Scene]) -> None:
    for scene in scenes:
        boxes = np.stack([actor.boxes for actor in scene.actors])
        assert boxes.min() >= 0
        assert (boxes.max(axis=(0, 1)) <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
        sides = boxes[..., 2:] - boxes[..., :2]
        assert sides[..., 1].min() > 0.25 * HEIGHT
        assert np.abs(np.diff(boxes, axis=1)).max() < 0.17 * HEIGHT
        for pair in itertools.combinations(boxes, 2):
            assert max(_iou(a, b) for a, b in zip(*pair)) < 0.33


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


def test_boxes_are_tight(scenes: list[Scene]) -> None:
    for scene in scenes[:8]:
        camera = Camera(scene.camera.zoom, scene.camera.shift, np.ones(FRAMES))
        night = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
        for actor in scene.actors:
            white = [shape._replace(color=(255, 255, 255)) for shape in actor.shapes]
            frames = list(render(night, white, camera, HEIGHT, WIDTH))
            for frame, box in zip(frames[::7], actor.boxes[::7]):
                y, x = np.nonzero(frame[..., 0] > 100)
                drawn = [x.min(), y.min(), x.max() + 1, y.max() + 1]
                np.testing.assert_allclose(box, drawn, atol=1.5)


def test_files_are_as_prepare_writes_them(folder: Path) -> None:
    truth, videos = read_ground_truth(folder)
    assert videos is not None
    assert truth.video_names == ("test_000", "test_001")
    assert videos.split == ("train",) * 3 + ("test",) * 2
    assert set(videos.fps) == {25.0}
    for name in videos.video:
        info = probe(folder / "videos" / f"{name}.mp4")
        assert (info.width, info.height) == (128, 96)
        frames = list(read_video(folder / "videos" / f"{name}.mp4"))
        assert len(frames) == 60
        assert np.std(frames[0]) > 10
    everything = read_table(Tubes, folder / "groundtruth.parquet")
    assert set(everything.label_names) <= set(LABELS)
    for tube in np.unique(everything.tube):
        frames = everything.frame[everything.tube == tube]
        np.testing.assert_array_equal(np.diff(frames), 1)
        assert len(set(everything.video[everything.tube == tube])) == 1
        assert frames.min() >= 4 and frames.max() < 56


def test_the_seed_decides(folder: Path, tmp_path: Path) -> None:
    small = {"train": 3, "test": 2, "frames": 60, "height": 96, "width": 128, "progress": False}
    # However many processes draw them.
    make_figure_dataset(tmp_path / "same", seed=5, workers=2, **small)  # type: ignore[arg-type]
    for name in ("groundtruth.parquet", "videos.parquet", "videos/test_001.mp4"):
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
    make_figure_dataset(tmp_path / "other", seed=6, **small)  # type: ignore[arg-type]
    one, other = (
        read_table(Tubes, path / "groundtruth.parquet") for path in (folder, tmp_path / "other")
    )
    assert len(one) != len(other) or not np.array_equal(one.boxes, other.boxes)
    assert len(read_table(Videos, tmp_path / "other" / "videos.parquet")) == 5


@pytest.mark.parametrize(
    ("options", "named"),
    [({"train": 0}, "one training and one test"), ({"frames": 30}, "52 frames"),
     ({"height": 97}, "even"), ({"width": 64}, "96 pixels")],
)  # fmt: skip
def test_refusals(options: dict[str, int], named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=named):
        make_figure_dataset(tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
