"""The look of the demo's figures: shapes of flat color, and the renderer that draws them.

Everything that moves is a `Shape`: a convex polygon in each of T frames, in pixels of the frame
before the camera moves; x points right, y down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .motion import PARCEL, SEAT, Body, Motion, joints

Color = tuple[float, float, float]
Points = Sequence[tuple[float, float]]

_SUPERSAMPLING = 2  # frames are drawn larger by this factor, then averaged
_POINT_BITS = 4  # of OpenCV's fixed-point coordinates

SKINS = ((255, 219, 188), (240, 190, 150), (214, 158, 116), (166, 112, 76), (118, 76, 52))
HAIRS = ((40, 30, 28), (92, 58, 36), (150, 96, 50), (222, 184, 110), (120, 116, 118), (170, 72, 40))
CLOTHES = (
    (214, 64, 62), (240, 140, 50), (246, 200, 72), (86, 168, 92), (38, 140, 140), (66, 134, 214),
    (52, 74, 150), (132, 86, 176), (226, 110, 156), (238, 238, 232), (64, 68, 78),
)  # fmt: skip
TROUSERS = ((46, 58, 94), (70, 74, 84), (110, 86, 62), (196, 178, 142), (84, 98, 70), (38, 40, 48))
SHOES = ((250, 250, 245), (50, 46, 48), (190, 60, 56), (120, 84, 56))


class Shape(NamedTuple):
    """A convex polygon (T, P, 2), its RGB color and its opacity."""

    polygon: np.ndarray
    color: Color
    opacity: float = 1.0


@dataclass(frozen=True)
class Appearance:
    """Colors, hair and clothes of an actor."""

    skin: Color
    hair: Color
    top: Color
    trousers: Color
    shoes: Color
    hair_style: int  # SHORT, LONG, BUN or CAP
    short_sleeves: bool
    short_trousers: bool
    striped: bool


SHORT, LONG, BUN, CAP = range(4)


def make_appearance(rng: np.random.Generator) -> Appearance:
    """Draws the looks of an actor."""
    skin, hair, top, trousers, shoes = (
        colors[int(rng.integers(len(colors)))]
        for colors in (SKINS, HAIRS, CLOTHES, TROUSERS, SHOES)
    )
    return Appearance(
        skin=skin,
        hair=hair,
        top=top,
        trousers=trousers,
        shoes=shoes,
        hair_style=int(rng.integers(4)),
        short_sleeves=bool(rng.random() < 0.5),
        short_trousers=bool(rng.random() < 0.3),
        striped=bool(rng.random() < 0.3),
    )


def choose_clothes(rng: np.random.Generator) -> Color:
    """Draws a color of clothes, which objects have too."""
    return CLOTHES[int(rng.integers(len(CLOTHES)))]


@dataclass(frozen=True)
class Placement:
    """An actor's origin and height in pixels, and where it faces: 1 is right, -1 is left."""

    x: float
    y: float
    size: float
    facing: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """The actor's coordinates, (..., 2), in pixels."""
        axes = np.array([self.facing * self.size, -self.size])
        return np.array([self.x, self.y]) + points * axes


@dataclass(frozen=True, eq=False)
class Camera:
    """zoom (T,) about the middle of the frame, shift (T, 2) in pixels, gain (T,) of the light."""

    zoom: np.ndarray
    shift: np.ndarray
    gain: np.ndarray

    def project(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """(T, P, 2) points in pixels of the moving camera's frames."""
        middle = np.array([width / 2, height / 2])
        return (points - middle) * self.zoom[:, None, None] + middle + self.shift[:, None]


def tint(color: Sequence[float], by: float) -> Color:
    """A lighter color for `by` above 0 (1 is white), a darker one below (-1 is black)."""
    target = 255 * (by > 0)
    red, green, blue = (value + abs(by) * (target - value) for value in color)
    return red, green, blue


def polygon(points: Points, offset: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """(T, P, 2): a rigid polygon moved by (T, 2) or (1, 2) offsets."""
    return scale * np.array(points, np.float64) + np.asarray(offset, np.float64)[:, None]


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Points:
    """The corners of a rectangle, for `polygon`."""
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def ellipse(center: np.ndarray, radius_x: float, radius_y: float, corners: int = 20) -> np.ndarray:
    """(T, corners, 2): ellipses around (T, 2) centers."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return center[:, None] + np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], axis=1)


def capsule(
    start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
) -> np.ndarray:
    """(T, 16, 2): the convex hull of two circles around (T, 2) centers."""
    path = end - start
    angle = np.arctan2(path[:, 1], path[:, 0])[:, None]
    half = np.linspace(-np.pi / 2, np.pi / 2, 8)

    def arc(center: np.ndarray, radius: float, turned: float) -> np.ndarray:
        around = angle + turned + half
        return center[:, None] + radius * np.stack([np.cos(around), np.sin(around)], axis=2)

    return np.concatenate([arc(end, end_radius, 0), arc(start, start_radius, np.pi)], axis=1)


def _limb(
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    color: Color,
    light: float = 0.16,
) -> list[Shape]:
    """A shaded capsule: a dark rim, and a lighter body a little to the upper left."""
    aside = -0.16 * max(radii) * np.array([1.0, 1.0])
    lit = capsule(start + aside, end + aside, 0.74 * radii[0], 0.74 * radii[1])
    return [
        Shape(capsule(start, end, *radii), tint(color, light - 0.38)),
        Shape(lit, tint(color, light)),
    ]


def draw_figure(
    motion: Motion, body: Body, style: Appearance, placement: Placement
) -> tuple[list[Shape], ...]:
    """The actor's shapes in drawing order: those behind its object, and those in front of it."""
    joint = {name: placement.project(points) for name, points in joints(motion.pose, body).items()}
    unit = placement.size * body.girth
    sleeve = style.skin if style.short_sleeves else style.top
    shin = style.skin if style.short_trousers else style.trousers

    def limb(
        start: str, end: str, radii: tuple[float, float], color: Color, light: float
    ) -> list[Shape]:
        sizes = radii[0] * unit, radii[1] * unit
        return _limb(joint[start], joint[end], sizes, tint(color, light / 2), light)

    def arm(far: str, light: float) -> list[Shape]:
        shoulder, elbow, hand = far + "shoulder", far + "elbow", far + "hand"
        return [
            *limb(elbow, hand, (0.036, 0.031), sleeve, light),
            *limb(hand, hand, (0.037, 0.037), style.skin, light),
            *limb(shoulder, elbow, (0.047, 0.038), style.top, light),
        ]

    def leg(far: str, light: float) -> list[Shape]:
        knee, foot, toe = far + "knee", far + "foot", far + "toe"
        return [
            *limb(knee, foot, (0.045, 0.035), shin, light),
            *limb(foot, toe, (0.036, 0.028), style.shoes, light),
            *limb("hip", knee, (0.072, 0.05), style.trousers, light),
        ]

    chest = joint["neck"] + 0.2 * (joint["hip"] - joint["neck"])
    belly = joint["hip"] + 0.12 * (joint["neck"] - joint["hip"])
    trunk = _limb(belly, chest, (0.078 * unit, 0.092 * unit), style.top)
    if style.striped:
        for share in (0.3, 0.62):
            middle = belly + share * (chest - belly)
            along = 0.06 * (chest - belly)
            stripe = capsule(middle - along, middle + along, 0.062 * unit, 0.064 * unit)
            trunk.append(Shape(stripe, tint(style.top, 0.6)))
    behind = arm("far_", -0.2) + leg("far_", -0.2)
    behind += trunk + _head(joint, body, style, placement) + leg("", 0.08)
    return behind, arm("", 0.12)


def _head(
    joint: dict[str, np.ndarray], body: Body, style: Appearance, placement: Placement
) -> list[Shape]:
    radius = body.head * placement.size
    up = joint["head"] - joint["neck"]
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    ahead = np.stack([-up[:, 1], up[:, 0]], axis=1) * placement.facing

    def place(forward: float, upward: float) -> np.ndarray:
        return joint["head"] + radius * (forward * ahead + upward * up)

    def ball(where: np.ndarray, size: float, color: Color, light: float) -> list[Shape]:
        return _limb(where, where, (size * radius, size * radius), color, light)

    shapes = [
        Shape(capsule(joint["neck"], place(0, 0), *[0.48 * radius] * 2), tint(style.skin, -0.2))
    ]
    if style.hair_style == LONG:
        tress = (0.62 * radius, 0.42 * radius)
        shapes += _limb(place(-0.5, 0.1), place(-0.62, -1.5), tress, style.hair, -0.05)
    if style.hair_style == BUN:
        shapes += ball(place(-0.85, 0.8), 0.42, style.hair, 0.05)
    shapes += ball(place(1.0, -0.18), 0.17, style.skin, 0.0)
    shapes += ball(place(0, 0), 1.0, style.skin, 0.1)
    hair = tint(style.top, -0.25) if style.hair_style == CAP else style.hair
    crown = capsule(place(0.2, 0.6), place(-0.5, 0.18), 0.52 * radius, 0.6 * radius)
    gloss = capsule(place(0.1, 0.68), place(-0.42, 0.4), 0.3 * radius, 0.36 * radius)
    shapes += [Shape(crown, tint(hair, -0.12)), Shape(gloss, tint(hair, 0.1))]
    if style.hair_style == CAP:
        brim = (0.2 * radius, 0.14 * radius)
        shapes += _limb(place(0.4, 0.42), place(1.5, 0.3), brim, hair, -0.1)
    eye = ellipse(place(0.55, -0.05), 0.12 * radius, 0.17 * radius, 8)
    return [*shapes, Shape(eye, (36, 28, 30))]


def draw_prop(
    motion: Motion, placement: Placement, color: Color
) -> tuple[list[Shape], list[Shape]]:
    """The shapes of the object, and of its shadow."""

    def box(x: float, y: float, half_x: float, half_y: float, by: float = 0.0) -> Shape:
        corners = rectangle(x - half_x, y - half_y, x + half_x, y + half_y)
        return Shape(placement.project(polygon(corners, motion.prop_position)), tint(color, by))

    if motion.prop == "stool":
        x, y = SEAT
        legs = [box(x + dx, y / 2, 0.018, y / 2, -0.45) for dx in (-0.11, 0.11)]
        shapes = [*legs, box(x, 0.4 * y, 0.1, 0.014, -0.5)]
        shapes += [box(x, y - 0.025, 0.15, 0.03, -0.25), box(x, y - 0.008, 0.15, 0.014, 0.25)]
        return shapes, [_shadow(placement, np.array([[x, 0.0]]), 0.17)]
    if motion.prop == "parcel":
        half = PARCEL / 2
        shapes = [box(0, 0, half, half, -0.35), box(-0.008, 0.008, half - 0.016, half - 0.016, 0.1)]
        shapes += [box(0, 0, 0.02, half, 0.55), box(0, 0.01, half, 0.016, 0.55)]
        return shapes, [_shadow(placement, motion.prop_position * (1, 0), 0.11)]
    if motion.prop == "cart":
        shapes = [box(0.36, 0.33, 0.014, 0.27, -0.5), box(0.345, 0.58, 0.03, 0.018, -0.6)]
        shapes += [box(0.57, 0.25, 0.21, 0.16, -0.35), box(0.562, 0.258, 0.19, 0.135, 0.1)]
        shapes += [box(0.562, 0.3, 0.19, 0.016, -0.2), box(0.562, 0.2, 0.19, 0.016, -0.2)]
        for x in (0.44, 0.7):
            hub = motion.prop_position + np.array([x, 0.065])
            turn = motion.prop_position[:, :1] / 0.065
            spoke = 0.05 * np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
            ends = placement.project(hub - spoke), placement.project(hub + spoke)
            wheel = 0.065 * placement.size
            shapes.append(Shape(ellipse(placement.project(hub), wheel, wheel), (44, 42, 46)))
            spokes = capsule(*ends, 0.012 * placement.size, 0.012 * placement.size)
            shapes.append(Shape(spokes, (210, 208, 204)))
        return shapes, [_shadow(placement, motion.prop_position + np.array([0.57, 0.0]), 0.26)]
    return [], []


def draw_shadow(motion: Motion, body: Body, placement: Placement) -> Shape:
    """The figure's shadow on the floor."""
    joint = joints(motion.pose, body)
    middle = (joint["foot"] + joint["far_foot"] + joint["hip"]) / 3
    return _shadow(placement, middle * [1, 0], 0.2)


def _shadow(placement: Placement, place: np.ndarray, radius: float) -> Shape:
    size = radius * placement.size
    return Shape(ellipse(placement.project(place), size, 0.22 * size), (20, 18, 30), 0.35)


def bounding_boxes(shapes: Sequence[Shape]) -> np.ndarray:
    """(T, 4) x1 y1 x2 y2: the tight boxes around several shapes."""
    points = np.concatenate([shape.polygon for shape in shapes], axis=1)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def render(
    background: np.ndarray, shapes: Sequence[Shape], camera: Camera, height: int, width: int
) -> Iterator[np.ndarray]:
    """Draws T frames.

    Args:
        background: (BH, BW, 3) uint8 RGB at twice the resolution, larger than the frame and with
            the same center.
        shapes: later ones are drawn over earlier ones.
        camera: moves and lights everything.
        height, width: size of the frames in pixels.

    Yields:
        (height, width, 3) uint8 RGB.
    """
    import cv2

    outlines = [_to_fixed_point(camera.project(x.polygon, height, width)) for x in shapes]
    size = (_SUPERSAMPLING * width, _SUPERSAMPLING * height)
    middle = np.array([width, height]) / 2
    background_middle = np.array(background.shape[1::-1]) / 2
    # Halved, because the background has twice the resolution; sampling averages four pixels.
    for t, zoom in enumerate(camera.zoom / 2):
        offset = middle + camera.shift[t] - zoom * background_middle
        warp = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
        scene = cv2.warpAffine(background, warp, (width, height), borderMode=cv2.BORDER_REFLECT)
        canvas = cv2.resize(scene, size, interpolation=cv2.INTER_NEAREST)
        for outline, shape in zip(outlines, shapes):
            if shape.opacity < 1:
                _blend(canvas, outline[t], shape)
            else:
                cv2.fillConvexPoly(canvas, outline[t], shape.color, cv2.LINE_8, _POINT_BITS)
        frame = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        yield cv2.convertScaleAbs(frame, alpha=camera.gain[t])


def _to_fixed_point(points: np.ndarray) -> np.ndarray:
    """Pixels of the frame as OpenCV's fixed-point pixels of the canvas."""
    return np.round((points * _SUPERSAMPLING - 0.5) * (1 << _POINT_BITS)).astype(np.int32)


def _blend(canvas: np.ndarray, outline: np.ndarray, shape: Shape) -> None:
    import cv2

    low = np.maximum((outline.min(axis=0) >> _POINT_BITS) - 1, 0)
    high = np.minimum((outline.max(axis=0) >> _POINT_BITS) + 2, canvas.shape[1::-1])
    if (low >= high).any():
        return
    part = canvas[low[1] : high[1], low[0] : high[0]]
    painted = part.copy()
    cv2.fillConvexPoly(
        painted, outline - (low << _POINT_BITS), shape.color, cv2.LINE_8, _POINT_BITS
    )
    cv2.addWeighted(painted, shape.opacity, part, 1 - shape.opacity, 0, part)
