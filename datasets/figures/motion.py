"""The movement of the demo's figures: poses, actions, and timelines that can be reversed in time.

Coordinates are the actor's own: x forward, y up, the origin on the floor, 1 = the actor's height.
A pose is a row of 12 numbers, see `POSE`; `joints` turns poses into limbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PAIRS = (("sit down", "stand up"), ("pick up", "put down"), ("push", "pull"))
PROPS = ("stool", "parcel", "cart")  # the object of each pair of actions
LABELS = tuple(sorted([label for pair in PAIRS for label in pair] + ["wave", "jump"]))

MIN_ACTION_FRAMES, MAX_ACTION_FRAMES = 20, 34
_MIN_REST_FRAMES = 4  # before, between and after actions
MIN_FRAMES = 2 * MIN_ACTION_FRAMES + 3 * _MIN_REST_FRAMES

# Columns of a pose: hip x y; lean of the trunk and nod of the head, radians, forward positive;
# hands and ankles, x y each, the one nearer to the camera first.
POSE = {
    "hip": slice(0, 2), "lean": slice(2, 3), "nod": slice(3, 4), "hand": slice(4, 6),
    "far_hand": slice(6, 8), "foot": slice(8, 10), "far_foot": slice(10, 12),
}  # fmt: skip

ANKLE = 0.035
SEAT = (-0.25, 0.25)  # center of the stool's top
PARCEL = 0.18  # side of the parcel
_PARCEL_ON_FLOOR = (0.33, PARCEL / 2)
_PARCEL_IN_HANDS = (0.05, -0.05)
HANDLE = (0.34, 0.58)  # where the cart is held, before it moves
_STRIDE = 0.4  # length of a left and a right step, in heights of the actor


@dataclass(frozen=True)
class Body:
    """Lengths in heights of the actor; thigh and shin, upper arm and forearm are halves."""

    leg: float = 0.47
    arm: float = 0.36
    trunk: float = 0.29
    head: float = 0.085
    girth: float = 1.0


def make_body(rng: np.random.Generator) -> Body:
    """Draws the proportions of an actor."""
    leg = rng.uniform(0.44, 0.49)
    head = rng.uniform(0.078, 0.1)
    # The sum with the neck and the ankles is 1.
    trunk = 1 - 0.98 * leg - 2 * head - 0.07
    return Body(
        leg=leg, arm=rng.uniform(0.34, 0.38), trunk=trunk, head=head, girth=rng.uniform(0.88, 1.2)
    )


@dataclass(frozen=True)
class ActionInterval:
    """An action: its class, its first frame, and the frame after its last."""

    label: str
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Motion:
    """The movement of an actor and its object in a clip of T frames.

    Attributes:
        actions: in temporal order; the actor idles between them.
        pose: (T, 12), see `POSE`.
        prop: one of `PROPS`, or "" for none.
        prop_position: (T, 2) displacement of the stool or cart, or center of the parcel.
    """

    actions: tuple[ActionInterval, ...]
    pose: np.ndarray
    prop: str
    prop_position: np.ndarray


def opposite(label: str) -> str:
    """The class of an action that is reversed in time."""
    for forth, back in PAIRS:
        if label in (forth, back):
            return back if label == forth else forth
    return label


def reverse_motion(motion: Motion) -> Motion:
    """The motion reversed in time: actor, object and labels."""
    frames = len(motion.pose)
    actions = tuple(
        ActionInterval(opposite(action.label), frames - action.end, frames - action.begin)
        for action in reversed(motion.actions)
    )
    return replace(
        motion, actions=actions, pose=motion.pose[::-1], prop_position=motion.prop_position[::-1]
    )


def animate(
    labels: Sequence[str], frames: int, body: Body, rng: np.random.Generator, reverse: bool
) -> Motion:
    """Makes a timeline of one or two actions, with idling before, between and after them.

    If `reverse` is drawn with equal chances, the motions of a class have exactly the distribution
    of its `opposite` reversed in time: only the direction of time tells the two classes apart.

    Args:
        labels: classes in temporal order; the two actions of an object alternate.
        frames: at least `MIN_FRAMES`.
        body: the actor's lengths.
        rng: drawn from in the same path whatever `reverse` is.
        reverse: draw the opposite timeline and reverse it in time.
    """
    if reverse:
        return reverse_motion(
            animate([opposite(x) for x in reversed(labels)], frames, body, rng, False)
        )
    actions = _schedule(labels, frames, rng)
    kind = next((k for k, pair in enumerate(PAIRS) for x in labels if x in pair), None)
    # An actor who waves or jumps may have an object, too, so that objects do not reveal the class.
    chosen = int(rng.integers(len(PROPS) + 1)) if kind is None else kind
    prop = (*PROPS, "")[chosen]
    progress = _progress(actions, frames)
    path = rng.uniform(0.45, 0.75) * _smooth((progress - 0.1) / 0.8)
    if prop == "cart":
        pose = _push(body, progress, path)
    elif prop == "parcel":
        pose = _pick_up(body, progress)
    else:
        pose = _sit(body, progress)
    cycles = rng.uniform(2, 3)
    for action in actions:
        length = action.end - action.begin
        time = (np.arange(action.begin, action.end) + 0.5 - action.begin) / length
        rows = slice(action.begin, action.end)
        if action.label == "wave":
            pose[rows] = _wave(body, pose[rows], time, cycles)
        elif action.label == "jump":
            pose[rows] = _jump(body, pose[rows], time)
    _sway(pose, rng)
    place = np.zeros((frames, 2))
    if prop == "cart":
        place[:, 0] = path
    elif prop == "parcel":
        held = progress[:, None] >= 0.5
        middle = (pose[:, POSE["hand"]] + pose[:, POSE["far_hand"]]) / 2
        place = np.where(held, middle + _PARCEL_IN_HANDS, _PARCEL_ON_FLOOR)
    return Motion(actions, pose, prop, place)


def joints(pose: np.ndarray, body: Body) -> dict[str, np.ndarray]:
    """The (T, 2) positions of each joint; limbs that cannot reach their target point to it.

    Joints are hip, neck, head (its center); and elbow, hand, knee, foot (the ankle), toe, shoulder,
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
        elbow, hand = _solve_joint(shoulder, part[far + "hand"], body.arm / 2, 1)
        knee, foot = _solve_joint(hip, part[far + "foot"], body.leg / 2, -1)
        # Heels rise with the shin's lean.
        shin = np.arctan2(knee[:, 0] - foot[:, 0], knee[:, 1] - foot[:, 1])
        pitch = 0.35 * np.maximum(shin - 0.3, 0) * (foot[:, 1] > ANKLE + 0.005)
        toe = foot + 0.085 * np.stack([np.cos(pitch), -np.sin(pitch)], axis=1)
        names = ("shoulder", "elbow", "hand", "knee", "foot", "toe")
        for name, point in zip(names, (shoulder, elbow, hand, knee, foot, toe)):
            points[far + name] = point
    return points


def _solve_joint(
    start: np.ndarray, end: np.ndarray, bone: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The joint between two bones of equal length, and the end that they reach; (T, 2) each."""
    path = end - start
    distance = np.maximum(np.linalg.norm(path, axis=1, keepdims=True), 1e-6)
    along = path / distance
    reach = np.minimum(distance, 1.998 * bone)
    across = np.sqrt(bone**2 - (reach / 2) ** 2)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1) * side
    return start + along * reach / 2 + across * normal, start + along * reach


def _smooth(x: np.ndarray) -> np.ndarray:
    """Cubic Hermite interpolation from 0 to 1, with slope 0 at both ends."""
    x = np.clip(x, 0, 1)
    return x**2 * (3 - 2 * x)


def _schedule(
    labels: Sequence[str], frames: int, rng: np.random.Generator
) -> tuple[ActionInterval, ...]:
    """Draws lengths of actions and rests that fill the clip."""
    spare = frames - len(labels) * MIN_ACTION_FRAMES - (len(labels) + 1) * _MIN_REST_FRAMES
    lengths = []
    for k in range(len(labels)):
        share = spare // (len(labels) - k)
        longer = int(rng.integers(min(share, MAX_ACTION_FRAMES - MIN_ACTION_FRAMES) + 1))
        lengths.append(MIN_ACTION_FRAMES + longer)
        spare -= longer
    cuts = np.sort(rng.integers(spare + 1, size=len(labels)))
    rests = np.diff(cuts, prepend=0) + _MIN_REST_FRAMES
    actions, now = [], 0
    for label, rest, length in zip(labels, rests.tolist(), lengths):
        actions.append(ActionInterval(label, now + rest, now + rest + length))
        now += rest + length
    return tuple(actions)


def _progress(actions: Sequence[ActionInterval], frames: int) -> np.ndarray:
    """(T,) progress of the object's action from 0 (standing, on the floor, near) to 1."""
    times: list[float] = []
    values: list[int] = []
    for action in actions:
        if action.label != opposite(action.label):
            times += [action.begin - 0.5, action.end - 0.5]
            values += [0, 1] if action.label in (pair[0] for pair in PAIRS) else [1, 0]
    if not values:
        return np.zeros(frames)
    return np.interp(np.arange(frames), times, values)


def _standing_pose(body: Body) -> np.ndarray:
    """(12,) pose with hanging arms and the feet a little apart."""
    hip = ANKLE + 0.98 * body.leg
    hand = hip + body.trunk - 0.03 - 0.97 * body.arm
    return np.array([0, hip, 0.03, 0, 0.04, hand, 0.09, hand, 0.05, ANKLE, -0.05, ANKLE])


def _interpolate_poses(keys: Sequence[np.ndarray], progress: np.ndarray) -> np.ndarray:
    """(T, 12) poses interpolated between key poses at equal steps of the progress."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.linspace(0, 1, len(keys)), np.array(keys))(_smooth(progress))


def _sit(body: Body, progress: np.ndarray) -> np.ndarray:
    standing = _standing_pose(body)
    feet = standing[8:]
    seated_hip = SEAT[1] + 0.07 * body.girth
    knees = (0.02, seated_hip + 0.07, 0.06, seated_hip + 0.07)
    bowed = np.array([-0.15, 0.8 * standing[1], 0.75, -0.1, 0.2, 0.52, 0.25, 0.52, *feet])
    seated = np.array([SEAT[0] + 0.04, seated_hip, -0.02, 0.05, *knees, *feet])
    return _interpolate_poses([standing, bowed, seated], progress)


def _pick_up(body: Body, progress: np.ndarray) -> np.ndarray:
    standing = _standing_pose(body)
    grip = np.array(_PARCEL_ON_FLOOR) - _PARCEL_IN_HANDS
    bent = np.array([-0.12, 0.72 * standing[1], 1.15, 0, *grip, *grip, *standing[8:]])
    chest = (0.22, standing[1] + 0.4 * body.trunk)
    holding = np.array([0, standing[1], 0, 0, *chest, *chest, *standing[8:]])
    return _interpolate_poses([standing, bent, holding], progress)


def _push(body: Body, progress: np.ndarray, path: np.ndarray) -> np.ndarray:
    """(T, 12) poses: reaches for the handle, walks `path` (T,) heights with it, and lets go."""
    standing = _standing_pose(body)
    gripping = np.array([0.0, 0.97 * standing[1], 0.22, -0.05, *HANDLE, *HANDLE, *standing[8:]])
    grip = _smooth(progress / 0.2) * _smooth((1 - progress) / 0.2)
    pose = standing + grip[:, None] * (gripping - standing)
    for columns, phase in ((POSE["foot"], 0.0), (POSE["far_foot"], 0.5)):
        step = (path / _STRIDE + phase) % 1
        swing = np.maximum(2 * step - 1, 0)
        ahead = np.where(step < 0.5, 0.5 - 2 * step, _smooth(swing) - 0.5)
        pose[:, columns] *= 1 - 0.6 * grip[:, None] * np.array([1, 0])
        pose[:, columns.start] += 0.5 * _STRIDE * ahead * grip
        pose[:, columns.start + 1] += 0.07 * np.sin(np.pi * swing) * grip
    for name in ("hip", "hand", "far_hand", "foot", "far_foot"):
        pose[:, POSE[name].start] += path
    return pose


def _raise(body: Body, pose: np.ndarray, hand: str, angle: np.ndarray) -> None:
    """Stretches an arm, in place, at an angle from straight up; forward is positive."""
    lean = pose[:, 2]
    shoulder = pose[:, POSE["hip"]] + body.trunk * np.stack([np.sin(lean), np.cos(lean)], axis=1)
    reach = 0.97 * body.arm
    pose[:, POSE[hand]] = shoulder + reach * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    pose[:, POSE[hand].start + 1] -= 0.03


_HANGING_ANGLE = 3.0  # radians of a hanging arm from straight up


def _wave(body: Body, pose: np.ndarray, time: np.ndarray, cycles: float) -> np.ndarray:
    """(T, 12) poses: one arm raised, swinging `cycles` times."""
    pose = pose.copy()
    up = _smooth(time / 0.25) * _smooth((1 - time) / 0.25)
    swing = 0.3 + 0.6 * np.sin(2 * np.pi * cycles * (time - 0.5))
    _raise(body, pose, "hand", _HANGING_ANGLE + up * (swing - _HANGING_ANGLE))
    return pose


def _jump(body: Body, pose: np.ndarray, time: np.ndarray, hops: int = 2) -> np.ndarray:
    """(T, 12) poses: crouches and leaps with both arms raised."""
    pose = pose.copy()
    hop = time * hops % 1
    air = np.clip((hop - 0.3) / 0.5, 0, 1)
    height = 0.17 * 4 * air * (1 - air)
    crouch = np.sin(np.pi * np.clip(hop / 0.3, 0, 1))
    crouch += np.sin(np.pi * np.clip(hop - 0.8, 0, 1) / 0.2)
    pose[:, 1] += height - 0.1 * crouch
    pose[:, 2] += 0.35 * crouch
    for foot in ("foot", "far_foot"):
        pose[:, POSE[foot].start + 1] += height + 0.06 * np.sin(np.pi * air)
    up = _smooth(hop / 0.5) * _smooth((1 - hop) / 0.4)
    _raise(body, pose, "hand", _HANGING_ANGLE + up * (0.5 - _HANGING_ANGLE))
    _raise(body, pose, "far_hand", _HANGING_ANGLE + up * (0.75 - _HANGING_ANGLE))
    return pose


def _sway(pose: np.ndarray, rng: np.random.Generator) -> None:
    """Adds small slow movements of everything but the feet, in place."""
    times = np.arange(len(pose))[:, None]
    sizes = np.array([0.007, 0.003, 0.03, 0.1, 0.009, 0.009, 0.009, 0.009])
    rate = rng.uniform(0.015, 0.05, len(sizes))
    phase = rng.uniform(0, 2 * np.pi, len(sizes))
    wobble = sizes * np.sin(2 * np.pi * rate * times + phase)
    pose[:, :8] += wobble
    pose[:, 4:8] += np.tile(wobble[:, :2], 2)
