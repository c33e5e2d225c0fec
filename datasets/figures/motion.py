"""How the demo's figures move: poses, actions, and whole timelines that can be run backwards.

Coordinates are the actor's own: x forward, y up, the origin on the floor, 1 = the actor's height.
A pose is a row of 12 numbers, see `POSE`; `joints` turns poses into limbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PAIRS = (("sit down", "stand up"), ("pick up", "put down"), ("push", "pull"))
PROPS = ("stool", "parcel", "cart")  # the object of each pair
LABELS = tuple(sorted([label for pair in PAIRS for label in pair] + ["wave", "jump"]))

SHORTEST, LONGEST = 20, 34  # frames of an action
_SHORTEST_REST = 4  # frames of idling before, between and after
FEWEST_FRAMES = 2 * SHORTEST + 3 * _SHORTEST_REST

# Columns of a pose: hip x y; lean of the trunk and nod of the head, radians, forward positive;
# hands and ankles, x y each, the one nearer to the camera first.
POSE = {
    "hip": slice(0, 2), "lean": slice(2, 3), "nod": slice(3, 4), "hand": slice(4, 6),
    "far_hand": slice(6, 8), "foot": slice(8, 10), "far_foot": slice(10, 12),
}  # fmt: skip

ANKLE = 0.035
SEAT = (-0.25, 0.25)  # centre of the stool's top
PARCEL = 0.18  # side of the parcel
_PARCEL_PLACE = (0.33, PARCEL / 2)
_PARCEL_IN_HANDS = (0.05, -0.05)
HANDLE = (0.34, 0.58)  # where the cart is held, before it moves
_CYCLE = 0.4  # a left and a right step, in heights


@dataclass(frozen=True)
class Body:
    """Lengths in heights; thigh and shin, upper arm and forearm are halves."""

    leg: float = 0.47
    arm: float = 0.36
    trunk: float = 0.29
    head: float = 0.085
    girth: float = 1.0


@dataclass(frozen=True)
class ActionInterval:
    """One action: its class, its first frame and the frame after its last."""

    label: str
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Motion:
    """What one actor and its object do in a clip of T frames.

    Attributes:
        acts: in the order of time; the actor idles in between.
        pose: (T, 12), see `POSE`.
        prop: one of `PROPS`, or "" for none.
        prop_place: (T, 2), by how much the stool or cart has moved, or the parcel's centre.
    """

    acts: tuple[ActionInterval, ...]
    pose: np.ndarray
    prop: str
    prop_place: np.ndarray


def opposite(label: str) -> str:
    """The class that an action is when time runs backwards."""
    for forth, back in PAIRS:
        if label in (forth, back):
            return back if label == forth else forth
    return label


def reverse_motion(motion: Motion) -> Motion:
    """The same motion with time reversed: actor, object and labels."""
    frames = len(motion.pose)
    acts = tuple(
        ActionInterval(opposite(act.label), frames - act.end, frames - act.begin)
        for act in reversed(motion.acts)
    )
    return replace(motion, acts=acts, pose=motion.pose[::-1], prop_place=motion.prop_place[::-1])


def animate(
    labels: Sequence[str], frames: int, body: Body, rng: np.random.Generator, reverse: bool
) -> Motion:
    """A timeline of one or two actions, idling before, between and after.

    With a fair coin for `reverse`, the motions of a class are, in distribution, exactly those of
    its `opposite` run backwards: nothing but the direction of time tells a pair's members apart.

    Args:
        labels: classes in the order of time; an object's two actions alternate.
        frames: at least `FEWEST_FRAMES`.
        body: the actor's lengths.
        rng: drawn from in the same way whatever `reverse` is.
        reverse: draw the opposite timeline, and run it backwards.
    """
    if reverse:
        return reverse_motion(
            animate([opposite(x) for x in reversed(labels)], frames, body, rng, False)
        )
    acts = _schedule(labels, frames, rng)
    kind = next((k for k, pair in enumerate(PAIRS) for x in labels if x in pair), None)
    # Whoever waves or jumps may stand beside an object too, so that it does not tell the class.
    chosen = int(rng.integers(len(PROPS) + 1)) if kind is None else kind
    prop = (*PROPS, "")[chosen]
    progress = _progress(acts, frames)
    way = rng.uniform(0.45, 0.75) * _smooth((progress - 0.1) / 0.8)
    if prop == "cart":
        pose = _push(body, progress, way)
    elif prop == "parcel":
        pose = _pick_up(body, progress)
    else:
        pose = _sit(body, progress)
    cycles = rng.uniform(2, 3)
    for act in acts:
        time = (np.arange(act.begin, act.end) + 0.5 - act.begin) / (act.end - act.begin)
        rows = slice(act.begin, act.end)
        if act.label == "wave":
            pose[rows] = _wave(body, pose[rows], time, cycles)
        elif act.label == "jump":
            pose[rows] = _jump(body, pose[rows], time)
    _sway(pose, rng)
    place = np.zeros((frames, 2))
    if prop == "cart":
        place[:, 0] = way
    elif prop == "parcel":
        held = progress[:, None] >= 0.5
        middle = (pose[:, POSE["hand"]] + pose[:, POSE["far_hand"]]) / 2
        place = np.where(held, middle + _PARCEL_IN_HANDS, _PARCEL_PLACE)
    return Motion(acts, pose, prop, place)


def joints(pose: np.ndarray, body: Body) -> dict[str, np.ndarray]:
    """Joint → (T, 2) places; limbs that cannot reach their target point to it.

    Joints are hip, neck, head (its centre); and elbow, hand, knee, foot (the ankle), toe, shoulder,
    each also with "far_" before it.
    """
    part = {name: pose[:, columns] for name, columns in POSE.items()}
    lean = part["lean"][:, 0]
    trunk = np.stack([np.sin(lean), np.cos(lean)], axis=1)
    gaze = 0.55 * lean + part["nod"][:, 0]
    points = {"hip": part["hip"], "neck": part["hip"] + body.trunk * trunk}
    up = np.stack([np.sin(gaze), np.cos(gaze)], axis=1)
    points["head"] = points["neck"] + (body.head + 0.035) * up
    for far, aside in (("", -0.02), ("far_", 0.03)):
        shoulder = points["neck"] - 0.03 * trunk + np.array([aside, 0.0])
        hip = part["hip"] + np.array([aside / 2, 0.0])
        elbow, hand = _bend(shoulder, part[far + "hand"], body.arm / 2, 1)
        knee, foot = _bend(hip, part[far + "foot"], body.leg / 2, -1)
        # Heels rise with the shin's lean.
        shin = np.arctan2(knee[:, 0] - foot[:, 0], knee[:, 1] - foot[:, 1])
        pitch = 0.35 * np.maximum(shin - 0.3, 0) * (foot[:, 1] > ANKLE + 0.005)
        toe = foot + 0.085 * np.stack([np.cos(pitch), -np.sin(pitch)], axis=1)
        names = ("shoulder", "elbow", "hand", "knee", "foot", "toe")
        for name, point in zip(names, (shoulder, elbow, hand, knee, foot, toe)):
            points[far + name] = point
    return points


def _bend(
    start: np.ndarray, end: np.ndarray, bone: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The middle joint between two equal bones, and the end they reach. (T, 2) each."""
    way = end - start
    distance = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
    along = way / distance
    reach = np.minimum(distance, 1.998 * bone)
    across = np.sqrt(bone**2 - (reach / 2) ** 2)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1) * side
    return start + along * reach / 2 + across * normal, start + along * reach


def _smooth(x: np.ndarray) -> np.ndarray:
    """From 0 to 1, at rest at both ends, by Hermite's cubic."""
    x = np.clip(x, 0, 1)
    return x**2 * (3 - 2 * x)


def _schedule(
    labels: Sequence[str], frames: int, rng: np.random.Generator
) -> tuple[ActionInterval, ...]:
    """Random lengths of actions and rests that fill the clip."""
    spare = frames - len(labels) * SHORTEST - (len(labels) + 1) * _SHORTEST_REST
    lengths = []
    for k in range(len(labels)):
        share = spare // (len(labels) - k)
        lengths.append(SHORTEST + int(rng.integers(min(share, LONGEST - SHORTEST) + 1)))
        spare -= lengths[-1] - SHORTEST
    cuts = np.sort(rng.integers(spare + 1, size=len(labels)))
    rests = np.diff(cuts, prepend=0) + _SHORTEST_REST
    acts, now = [], 0
    for label, rest, length in zip(labels, rests.tolist(), lengths):
        acts.append(ActionInterval(label, now + rest, now + rest + length))
        now += rest + length
    return tuple(acts)


def _progress(acts: Sequence[ActionInterval], frames: int) -> np.ndarray:
    """(T,) how far the object's action has come: 0 standing, on the floor, near; 1 sitting ..."""
    times: list[float] = []
    values: list[int] = []
    for act in acts:
        if act.label != opposite(act.label):
            times += [act.begin - 0.5, act.end - 0.5]
            values += [0, 1] if act.label in (pair[0] for pair in PAIRS) else [1, 0]
    if not values:
        return np.zeros(frames)
    return np.interp(np.arange(frames), times, values)


def _standing(body: Body) -> np.ndarray:
    """(12,) hands hanging, feet a little apart."""
    hip = ANKLE + 0.98 * body.leg
    hand = hip + body.trunk - 0.03 - 0.97 * body.arm
    return np.array([0, hip, 0.03, 0, 0.04, hand, 0.09, hand, 0.05, ANKLE, -0.05, ANKLE])


def _through(keys: Sequence[np.ndarray], progress: np.ndarray) -> np.ndarray:
    """(T, 12) poses between key poses, which come at equal steps of the progress."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.linspace(0, 1, len(keys)), np.array(keys))(_smooth(progress))


def _sit(body: Body, progress: np.ndarray) -> np.ndarray:
    stand = _standing(body)
    feet = stand[8:]
    seated_hip = SEAT[1] + 0.07 * body.girth
    knees = (0.02, seated_hip + 0.07, 0.06, seated_hip + 0.07)
    bowed = np.array([-0.15, 0.8 * stand[1], 0.75, -0.1, 0.2, 0.52, 0.25, 0.52, *feet])
    seated = np.array([SEAT[0] + 0.04, seated_hip, -0.02, 0.05, *knees, *feet])
    return _through([stand, bowed, seated], progress)


def _pick_up(body: Body, progress: np.ndarray) -> np.ndarray:
    stand = _standing(body)
    grip = np.array(_PARCEL_PLACE) - _PARCEL_IN_HANDS
    bent = np.array([-0.12, 0.72 * stand[1], 1.15, 0, *grip, *grip, *stand[8:]])
    chest = (0.22, stand[1] + 0.4 * body.trunk)
    holding = np.array([0, stand[1], 0, 0, *chest, *chest, *stand[8:]])
    return _through([stand, bent, holding], progress)


def _push(body: Body, progress: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Reaches for the handle, walks with it, having come `way` (T,) heights, and lets it go."""
    stand = _standing(body)
    gripping = np.array([0.0, 0.97 * stand[1], 0.22, -0.05, *HANDLE, *HANDLE, *stand[8:]])
    grip = _smooth(progress / 0.2) * _smooth((1 - progress) / 0.2)
    pose = stand + grip[:, None] * (gripping - stand)
    for columns, phase in ((POSE["foot"], 0.0), (POSE["far_foot"], 0.5)):
        step = (way / _CYCLE + phase) % 1
        swing = np.maximum(2 * step - 1, 0)
        ahead = np.where(step < 0.5, 0.5 - 2 * step, _smooth(swing) - 0.5)
        pose[:, columns] *= 1 - 0.6 * grip[:, None] * np.array([1, 0])
        pose[:, columns.start] += 0.5 * _CYCLE * ahead * grip
        pose[:, columns.start + 1] += 0.07 * np.sin(np.pi * swing) * grip
    for name in ("hip", "hand", "far_hand", "foot", "far_foot"):
        pose[:, POSE[name].start] += way
    return pose


def _raise(body: Body, pose: np.ndarray, hand: str, angle: np.ndarray) -> None:
    """Stretches an arm to an angle from straight up, forward positive, in place."""
    lean = pose[:, 2]
    shoulder = pose[:, POSE["hip"]] + body.trunk * np.stack([np.sin(lean), np.cos(lean)], axis=1)
    reach = 0.97 * body.arm
    pose[:, POSE[hand]] = shoulder + reach * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    pose[:, POSE[hand].start + 1] -= 0.03


_HANGING = 3.0  # angle of an arm that hangs, from straight up


def _wave(body: Body, pose: np.ndarray, time: np.ndarray, cycles: float) -> np.ndarray:
    """One arm up, swinging `cycles` times."""
    pose = pose.copy()
    up = _smooth(time / 0.25) * _smooth((1 - time) / 0.25)
    swing = 0.3 + 0.6 * np.sin(2 * np.pi * cycles * (time - 0.5))
    _raise(body, pose, "hand", _HANGING + up * (swing - _HANGING))
    return pose


def _jump(body: Body, pose: np.ndarray, time: np.ndarray, hops: int = 2) -> np.ndarray:
    """Crouches and leaps with both arms thrown up."""
    pose = pose.copy()
    hop = time * hops % 1
    air = np.clip((hop - 0.3) / 0.5, 0, 1)
    height = 0.17 * 4 * air * (1 - air)
    crouch = np.sin(np.pi * np.clip(hop / 0.3, 0, 1)) + np.sin(
        np.pi * np.clip(hop - 0.8, 0, 1) / 0.2
    )
    pose[:, 1] += height - 0.1 * crouch
    pose[:, 2] += 0.35 * crouch
    for foot in ("foot", "far_foot"):
        pose[:, POSE[foot].start + 1] += height + 0.06 * np.sin(np.pi * air)
    up = _smooth(hop / 0.5) * _smooth((1 - hop) / 0.4)
    _raise(body, pose, "hand", _HANGING + up * (0.5 - _HANGING))
    _raise(body, pose, "far_hand", _HANGING + up * (0.75 - _HANGING))
    return pose


def _sway(pose: np.ndarray, rng: np.random.Generator) -> None:
    """Small slow movements of everything but the feet, in place."""
    times = np.arange(len(pose))[:, None]
    sizes = np.array([0.007, 0.003, 0.03, 0.1, 0.009, 0.009, 0.009, 0.009])
    rate = rng.uniform(0.015, 0.05, len(sizes))
    phase = rng.uniform(0, 2 * np.pi, len(sizes))
    wobble = sizes * np.sin(2 * np.pi * rate * times + phase)
    pose[:, :8] += wobble
    pose[:, 4:8] += np.tile(wobble[:, :2], 2)
