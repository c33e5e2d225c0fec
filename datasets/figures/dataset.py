"""The demo's small data set of drawn, acting figures, made without any download.

A video has several actors, each with one or two actions that begin and end inside the clip; between
them the actor idles, and has no ground truth. Six of the eight classes form pairs that only the
direction of time tells apart. There are moving cameras, changing light, shadows, moving objects
that are not actors, and occluders.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from ..errors import InputError
from ..table_io import write_table
from ..tables import TubeRows, Tubes, make_videos, tubes_from_rows
from ..video.writer import open_video_writer
from .drawing import (
    Camera,
    Placement,
    Shape,
    bounding_boxes,
    choose_clothes,
    draw_figure,
    draw_prop,
    draw_shadow,
    make_appearance,
    render,
)
from .motion import LABELS, MIN_FRAMES, PAIRS, ActionInterval, Body, Motion, animate, make_body
from .scenery import make_background, make_camera, make_distractor, make_occluder

T = TypeVar("T")
# An actor's actions and its (T, 4) boxes.
_ActorTruth: TypeAlias = tuple[tuple[ActionInterval, ...], np.ndarray]

FPS = 25.0
_MIN_SIDE = 96  # pixels
_MAX_OVERLAP = 0.3  # IoU of two actors in any frame
# Least and greatest height of actors, as a share of the frame's, with one, two or three of them.
_ACTOR_HEIGHTS = ((0.66, 0.8), (0.6, 0.74), (0.52, 0.66))
_ACTOR_COUNTS = (1, 2, 2, 3)  # actors in a video, dealt in random order

# Dealt in random order. Each class is in three of them; the opposite of each is among them.
_TIMELINES = (
    *((label,) for label in LABELS),
    *(pair for pair in PAIRS),
    *((back, forth) for forth, back in PAIRS),
    ("wave", "jump"),
    ("jump", "wave"),
)


@dataclass(frozen=True, eq=False)
class Actor:
    """One actor of a scene.

    Attributes:
        actions: its actions in temporal order.
        boxes: (T, 4) tight boxes x1 y1 x2 y2 around the figure without its object, with hidden
            parts, clipped to the frame; pixel i covers i to i + 1.
        shapes: the figure alone, for each frame.
    """

    actions: tuple[ActionInterval, ...]
    boxes: np.ndarray
    shapes: list[Shape]


@dataclass(frozen=True, eq=False)
class Scene:
    """One video before it is drawn, see `render`."""

    background: np.ndarray
    shapes: list[Shape]
    camera: Camera
    actors: list[Actor]


def make_figure_dataset(
    folder: Path,
    *,
    train: int = 64,
    test: int = 16,
    frames: int = 64,
    height: int = 144,
    width: int = 216,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> None:
    """Writes a data set in the layout of `prepare`; the same seed gives the same data set.

    It has videos/train_000.mp4 ..., videos/test_000.mp4 ..., groundtruth.parquet and
    videos.parquet. The tables are written last: a folder that has them is complete.

    Args:
        folder: created if missing; files of the same names are replaced.
        train, test: numbers of videos; 16 of them have each class 6 times.
        frames: length of each video, at 25 frames per second.
        height, width: size of the videos in pixels, even.
        seed: determines all random choices.
        workers: processes that draw the videos; 0 draws them in this process.
        progress: show a progress bar on stderr.

    Raises:
        InputError: too few videos or frames, or an odd or too small size.
    """
    from tqdm import tqdm

    if train < 1 or test < 1:
        raise InputError(
            f"{folder}: the drawn data set needs at least one training and one test video"
        )
    if frames < MIN_FRAMES:
        raise InputError(f"{folder}: drawn videos need at least {MIN_FRAMES} frames, not {frames}")
    if min(height, width) < _MIN_SIDE or height % 2 or width % 2:
        raise InputError(
            f"{folder}: drawn videos need even sides of at least {_MIN_SIDE} pixels, not "
            f"{width}x{height}"
        )
    for name in ("groundtruth.parquet", "videos.parquet"):
        (folder / name).unlink(missing_ok=True)
    plans = [
        _VideoPlan(f"{split}_{k:03}", (seed, part, k, 1), cast)
        for part, (split, count) in enumerate((("train", train), ("test", test)))
        for k, cast in enumerate(deal_timelines(count, np.random.default_rng([seed, part])))
    ]
    draw = partial(_draw_video, folder / "videos", frames, height, width)
    bar = partial(tqdm, desc="figures", total=len(plans), unit="video", disable=not progress)
    if workers:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
            truth = list(bar(pool.map(draw, plans)))
    else:
        truth = list(bar(map(draw, plans)))
    names = [plan.name for plan in plans]
    split = ["train"] * train + ["test"] * test
    videos = make_videos(names, frames, width, height, FPS, split)
    write_table(videos, folder / "videos.parquet")
    write_table(_ground_truth(names, truth), folder / "groundtruth.parquet")


def _end_with_parent() -> None:
    """Lets a process of the pool end when its parent is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _VideoPlan:
    """A video to draw: its name, the seed of its random choices, and each actor's timeline."""

    name: str
    seed: tuple[int, ...]
    cast: list[tuple[str, ...]]


def _draw_video(
    folder: Path, frames: int, height: int, width: int, plan: _VideoPlan
) -> list[_ActorTruth]:
    """Writes one video, and returns the ground truth of its actors."""
    scene = make_scene(plan.cast, frames, height, width, np.random.default_rng(plan.seed))
    with open_video_writer(folder / f"{plan.name}.mp4", FPS) as writer:
        for frame in render(scene.background, scene.shapes, scene.camera, height, width):
            writer.write(frame)
    return [(actor.actions, actor.boxes) for actor in scene.actors]


def make_scene(
    cast: Sequence[Sequence[str]], frames: int, height: int, width: int, rng: np.random.Generator
) -> Scene:
    """Makes a video with one actor for each timeline of labels in `cast`."""
    camera = make_camera(frames, width, rng)
    bodies = [make_body(rng) for _ in cast]
    motions = [
        animate(labels, frames, body, rng, reverse=bool(rng.integers(2)))
        for labels, body in zip(cast, bodies)
    ]
    placements = _place_actors(motions, bodies, height, width, rng)
    floor = min(placement.y for placement in placements) - rng.uniform(0.03, 0.08) * height
    background = make_background(height, width, floor, rng)
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(3))):
        shapes += make_distractor(frames, height, width, floor, rng)
    actors = []
    for k in np.argsort([placement.y for placement in placements]):
        motion, body, placement = motions[k], bodies[k], placements[k]
        behind, before = draw_figure(motion, body, make_appearance(rng), placement)
        prop, shadow = draw_prop(motion, placement, choose_clothes(rng))
        shapes += [*shadow, draw_shadow(motion, body, placement)]
        shapes += [*prop, *behind] if motion.prop == "stool" else [*behind, *prop]
        shapes += before
        corners = bounding_boxes(behind + before).reshape(frames, 2, 2)
        visible = np.clip(camera.project(corners, height, width), 0, [width, height])
        actors.append(Actor(motion.actions, visible.reshape(frames, 4), behind + before))
    if rng.random() < 0.4:
        shapes += make_occluder(frames, height, width, rng)
    return Scene(background, shapes, camera, actors)


def deal_timelines(count: int, rng: np.random.Generator) -> Iterator[list[tuple[str, ...]]]:
    """Yields the timelines of the actors of each video."""

    def cards(pack: Sequence[T]) -> Iterator[T]:
        while True:
            yield from (pack[k] for k in rng.permutation(len(pack)))

    timelines, actors = cards(_TIMELINES), cards(_ACTOR_COUNTS)
    for _ in range(count):
        yield [next(timelines) for _ in range(next(actors))]


def _place_actors(
    motions: Sequence[Motion],
    bodies: Sequence[Body],
    height: int,
    width: int,
    rng: np.random.Generator,
) -> list[Placement]:
    """Draws places and sizes at which the actors stay inside the frame and hardly overlap."""
    facing = [int(side) for side in rng.choice([-1, 1], len(motions))]
    # Boxes of figures of height 1 at the origin; they move and grow with the placement.
    units = []
    for motion, body, side in zip(motions, bodies, facing):
        behind, before = draw_figure(motion, body, make_appearance(rng), Placement(0, 0, 1, side))
        units.append(bounding_boxes(behind + before))
    smallest, largest = _ACTOR_HEIGHTS[len(motions) - 1]
    for trial in itertools.count():
        shrink = 0.95 ** (trial // 20)
        placements, boxes = [], []
        for unit, side in zip(units, facing):
            size = shrink * rng.uniform(smallest, largest) * height
            free = 0.04 * width
            x = rng.uniform(free - size * unit[:, 0].min(), width - free - size * unit[:, 2].max())
            # Actors that are farther away are smaller, and higher in the frame.
            y = (0.6 + 0.5 * size / height + rng.uniform(-0.01, 0.01)) * height
            placements.append(Placement(x, y, size, side))
            boxes.append(size * unit + [x, y, x, y])
        inside = all(box[:, 0].min() >= 0 and box[:, 2].max() <= width for box in boxes)
        pairs = itertools.combinations(boxes, 2)
        if inside and all(_iou(a, b).max() <= _MAX_OVERLAP for a, b in pairs):
            return placements
    raise AssertionError


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T,) IoU of (T, 4) boxes."""
    shared = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    both = np.maximum(shared, 0).prod(axis=1)
    return both / (sum((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)) - both)


def _ground_truth(names: Sequence[str], casts: Sequence[Sequence[_ActorTruth]]) -> Tubes:
    """Ground truth: one tube for each action."""
    entries: list[TubeRows] = []
    for video, actors in enumerate(casts):
        for actions, boxes in actors:
            rows = np.column_stack([np.arange(len(boxes)), boxes])
            for action in actions:
                label = LABELS.index(action.label)
                entries.append((video, label, rows[action.begin : action.end], None))
    return tubes_from_rows(entries, tuple(names), LABELS)
