"""A small data set of drawn figures that act: the demo's, made without download or data.

Several actors a video, each with one or two actions that begin and end inside the clip; between
them it idles, and has no ground truth. Six of the eight classes are pairs that only the direction
of time tells apart. Around the actors: moving cameras and light, shadows, things that move but are
no actors, and things in front that hide them.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from ..errors import InputError
from ..table_io import write_table
from ..tables import Tubes, Videos
from ..video.writer import open_video_writer
from .drawing import (
    CLOTHES,
    HAIRS,
    SHOES,
    SKINS,
    TROUSERS,
    Appearance,
    Camera,
    Placement,
    Shape,
    draw_figure,
    draw_prop,
    draw_shadow,
    extent,
    render,
)
from .motion import FEWEST_FRAMES, LABELS, PAIRS, ActionInterval, Body, Motion, animate
from .scenery import make_background, make_camera, make_distractor, make_occluder

T = TypeVar("T")
_Truth: TypeAlias = tuple[
    tuple[ActionInterval, ...], np.ndarray
]  # an actor's acts and its (T, 4) boxes

FPS = 25.0
_SMALLEST = 96  # pixels of a frame's side
_LARGEST_OVERLAP = 0.3  # IoU of two actors in any frame
# Heights of actors as shares of the frame's, where one, two or three are in it.
_SIZES = ((0.66, 0.8), (0.6, 0.74), (0.52, 0.66))
_ACTORS = (1, 2, 2, 3)  # how many in a video, dealt in random order

# Timelines, dealt like cards: each class stands in three of them, and the opposite of each is one.
_PROGRAMMES = (
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
        acts: its actions in the order of time.
        boxes: (T, 4) tight boxes around the figure without its object, hidden parts included, cut
            at the frame's edges: x1 y1 x2 y2, where pixel i covers i to i + 1.
        shapes: the figure alone, for each frame.
    """

    acts: tuple[ActionInterval, ...]
    boxes: np.ndarray
    shapes: list[Shape]


@dataclass(frozen=True, eq=False)
class Scene:
    """One video before it is painted: see `render`."""

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
    """Writes a data set laid out as `prepare` does, the same for the same seed.

    folder/videos/train_000.mp4 ... test_000.mp4 ..., groundtruth.parquet and videos.parquet. The
    tables come last: a folder that holds them is complete.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        train, test: how many videos; 16 of a part hold each class 6 times.
        frames: of each video, at 25 a second.
        height, width: of the videos in pixels, even.
        seed: of all random choices.
        workers: processes that draw the videos; 0 draws them in this one.
        progress: a bar on stderr.

    Raises:
        InputError: too few videos or frames, or an odd or too small size.
    """
    from tqdm import tqdm

    if train < 1 or test < 1:
        raise InputError(
            f"{folder}: the drawn data set needs at least one training and one test video"
        )
    if frames < FEWEST_FRAMES:
        raise InputError(
            f"{folder}: drawn videos need at least {FEWEST_FRAMES} frames, not {frames}"
        )
    if min(height, width) < _SMALLEST or height % 2 or width % 2:
        raise InputError(
            f"{folder}: drawn videos need even sides of at least {_SMALLEST} pixels, not "
            f"{width}x{height}"
        )
    for name in ("groundtruth.parquet", "videos.parquet"):
        (folder / name).unlink(missing_ok=True)
    plans = [
        _Plan(f"{split}_{k:03}", (seed, part, k, 1), cast)
        for part, (split, count) in enumerate((("train", train), ("test", test)))
        for k, cast in enumerate(deal_timelines(count, np.random.default_rng([seed, part])))
    ]
    draw = partial(_draw, folder / "videos", frames, height, width)
    if workers:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            done = pool.map(draw, plans)
            truth = list(tqdm(done, "figures", len(plans), unit="video", disable=not progress))
    else:
        truth = [draw(plan) for plan in tqdm(plans, "figures", unit="video", disable=not progress)]
    names = [plan.name for plan in plans]
    write_table(
        Videos(
            video=tuple(names),
            num_frames=np.full(len(names), frames),
            width=np.full(len(names), width),
            height=np.full(len(names), height),
            fps=np.full(len(names), FPS),
            split=("train",) * train + ("test",) * test,
        ),
        folder / "videos.parquet",
    )
    write_table(_tubes(names, truth), folder / "groundtruth.parquet")


@dataclass(frozen=True)
class _Plan:
    """Of one video: its name, the seed of all random choices, and each actor's timeline."""

    name: str
    seed: tuple[int, ...]
    cast: list[tuple[str, ...]]


def _draw(folder: Path, frames: int, height: int, width: int, plan: _Plan) -> list[_Truth]:
    """Writes one video, and returns what its actors do."""
    scene = make_scene(plan.cast, frames, height, width, np.random.default_rng(plan.seed))
    with open_video_writer(folder / f"{plan.name}.mp4", FPS) as writer:
        for frame in render(scene.background, scene.shapes, scene.camera, height, width):
            writer.write(frame)
    return [(actor.acts, actor.boxes) for actor in scene.actors]


def make_scene(
    cast: Sequence[Sequence[str]], frames: int, height: int, width: int, rng: np.random.Generator
) -> Scene:
    """A video with one actor for each timeline of labels in `cast`."""
    camera = make_camera(frames, width, rng)
    bodies = [_make_body(rng) for _ in cast]
    motions = [
        animate(labels, frames, body, rng, reverse=bool(rng.integers(2)))
        for labels, body in zip(cast, bodies)
    ]
    stands = _place(motions, bodies, height, width, rng)
    floor = min(stand.y for stand in stands) - rng.uniform(0.03, 0.08) * height
    background = make_background(height, width, floor, rng)
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(3))):
        shapes += make_distractor(frames, height, width, floor, rng)
    actors = []
    for k in np.argsort([stand.y for stand in stands]):
        motion, body, stand = motions[k], bodies[k], stands[k]
        behind, before = draw_figure(motion, body, _make_look(rng), stand)
        prop, shadow = draw_prop(motion, stand, _any(CLOTHES, rng))
        shapes += [*shadow, draw_shadow(motion, body, stand)]
        shapes += [*prop, *behind] if motion.prop == "stool" else [*behind, *prop]
        shapes += before
        corners = extent(behind + before).reshape(frames, 2, 2)
        seen = np.clip(camera.project(corners, height, width), 0, [width, height])
        actors.append(Actor(motion.acts, seen.reshape(frames, 4), behind + before))
    if rng.random() < 0.4:
        shapes += make_occluder(frames, height, width, rng)
    return Scene(background, shapes, camera, actors)


def deal_timelines(count: int, rng: np.random.Generator) -> Iterator[list[tuple[str, ...]]]:
    """For each video the timelines of its actors."""

    def cards(pack: Sequence[T]) -> Iterator[T]:
        while True:
            yield from (pack[k] for k in rng.permutation(len(pack)))

    programmes, actors = cards(_PROGRAMMES), cards(_ACTORS)
    for _ in range(count):
        yield [next(programmes) for _ in range(next(actors))]


def _place(
    motions: Sequence[Motion],
    bodies: Sequence[Body],
    height: int,
    width: int,
    rng: np.random.Generator,
) -> list[Placement]:
    """Stands inside the frame where no two actors overlap much in any frame."""
    facing = [int(side) for side in rng.choice([-1, 1], len(motions))]
    # Of figures of height 1 at the origin: boxes move and grow with the stand.
    units = []
    for motion, body, side in zip(motions, bodies, facing):
        behind, before = draw_figure(motion, body, _make_look(rng), Placement(0, 0, 1, side))
        units.append(extent(behind + before))
    smallest, largest = _SIZES[len(motions) - 1]
    for trial in itertools.count():
        shrink = 0.95 ** (trial // 20)
        stands, boxes = [], []
        for unit, side in zip(units, facing):
            size = shrink * rng.uniform(smallest, largest) * height
            free = 0.04 * width
            x = rng.uniform(free - size * unit[:, 0].min(), width - free - size * unit[:, 2].max())
            # Far ones are smaller, and stand higher in the picture.
            y = (0.6 + 0.5 * size / height + rng.uniform(-0.01, 0.01)) * height
            stands.append(Placement(x, y, size, side))
            boxes.append(size * unit + [x, y, x, y])
        inside = all(box[:, 0].min() >= 0 and box[:, 2].max() <= width for box in boxes)
        pairs = itertools.combinations(boxes, 2)
        if inside and all(_overlap(a, b).max() <= _LARGEST_OVERLAP for a, b in pairs):
            return stands
    raise AssertionError


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T,) IoU of (T, 4) boxes."""
    shared = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    both = np.maximum(shared, 0).prod(axis=1)
    return both / (sum((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)) - both)


def _make_body(rng: np.random.Generator) -> Body:
    leg = rng.uniform(0.44, 0.49)
    head = rng.uniform(0.078, 0.1)
    # Together with the neck and the ankles, 1.
    trunk = 1 - 0.98 * leg - 2 * head - 0.07
    return Body(leg, rng.uniform(0.34, 0.38), trunk, head, rng.uniform(0.88, 1.2))


def _make_look(rng: np.random.Generator) -> Appearance:
    return Appearance(
        skin=_any(SKINS, rng),
        hair=_any(HAIRS, rng),
        top=_any(CLOTHES, rng),
        trousers=_any(TROUSERS, rng),
        shoes=_any(SHOES, rng),
        hair_style=int(rng.integers(4)),
        short_sleeves=bool(rng.random() < 0.5),
        short_trousers=bool(rng.random() < 0.3),
        striped=bool(rng.random() < 0.3),
    )


def _any(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _tubes(names: Sequence[str], casts: Sequence[Sequence[_Truth]]) -> Tubes:
    """Ground truth: one tube for each action."""
    parts = [
        (video, LABELS.index(act.label), np.arange(act.begin, act.end), boxes)
        for video, actors in enumerate(casts)
        for acts, boxes in actors
        for act in acts
    ]
    lengths = [len(frames) for _, _, frames, _ in parts]
    return Tubes(
        video=np.repeat([part[0] for part in parts], lengths).astype(np.int32),
        frame=np.concatenate([part[2] for part in parts]).astype(np.int32),
        label=np.repeat([part[1] for part in parts], lengths).astype(np.int32),
        boxes=np.concatenate([boxes[frames] for _, _, frames, boxes in parts]),
        tube=np.repeat(np.arange(len(parts)), lengths),
        video_names=tuple(names),
        label_names=LABELS,
    )
