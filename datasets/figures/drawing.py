"""How the demo's figures look: shapes of flat colour, and the renderer that paints them.

Everything that moves is a `Shape`: a convex polygon for each of T frames in pixels of the frame
before the camera moves, x right, y down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .motion import PARCEL, SEAT, Body, Motion, joints

Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]]

_FINER = 2  # frames are painted this much larger, then averaged
_SHIFT = 4  # bits behind the point of OpenCV's coordinates

SKINS = ((255, 219, 188), (240, 190, 150), (214, 158, 116), (166, 112, 76), (118, 76, 52))
HAIRS = ((40, 30, 28), (92, 58, 36), (150, 96, 50), (222, 184, 110), (120, 116, 118), (170, 72, 40))
CLOTHES = (
    (214, 64, 62), (240, 140, 50), (246, 200, 72), (86, 168, 92), (38, 140, 140), (66, 134, 214),
    (52, 74, 150), (132, 86, 176), (226, 110, 156), (238, 238, 232), (64, 68, 78),
)  # fmt: skip
TROUSERS = ((46, 58, 94), (70, 74, 84), (110, 86, 62), (196, 178, 142), (84, 98, 70), (38, 40, 48))
SHOES = ((250, 250, 245), (50, 46, 48), (190, 60, 56), (120, 84, 56))


class Shape(NamedTuple):
    """A convex polygon (T, P, 2), its RGB colour, and how opaque it is."""

    polygon: np.ndarray
    colour: Colour
    opacity: float = 1.0


@dataclass(frozen=True)
class Appearance:
    """Colours, hair and cut of clothes of one actor."""

    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    shoes: Colour
    hair_style: int  # one of the four below
    short_sleeves: bool
    short_trousers: bool
    striped: bool


SHORT, LONG, BUN, CAP = range(4)


@dataclass(frozen=True)
class Placement:
    """Where an actor stands: origin in pixels, pixels a height, and 1 facing right or -1 left."""

    x: float
    y: float
    size: float
    facing: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """Coordinates of the actor (..., 2) as pixels."""
        axes = np.array([self.facing * self.size, -self.size])
        return np.array([self.x, self.y]) + points * axes


@dataclass(frozen=True, eq=False)
class Camera:
    """zoom (T,), shift (T, 2) in pixels, about the middle of the frame; and gain (T,) of light."""

    zoom: np.ndarray
    shift: np.ndarray
    gain: np.ndarray

    def project(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """(T, P, 2) pixels as the moving camera sees them."""
        middle = np.array([width / 2, height / 2])
        return (points - middle) * self.zoom[:, None, None] + middle + self.shift[:, None]


def tint(colour: Sequence[float], by: float) -> Colour:
    """Lighter for `by` above 0, towards white at 1; darker below, towards black at -1."""
    target = 255 * (by > 0)
    red, green, blue = (value + abs(by) * (target - value) for value in colour)
    return red, green, blue


def polygon(points: Points, offset: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """A rigid polygon moved along (T, 2) or (1, 2) offsets: (T, P, 2)."""
    return scale * np.array(points, np.float64) + np.asarray(offset, np.float64)[:, None]


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Points:
    """Corners for `polygon`."""
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def ellipse(centre: np.ndarray, radius_x: float, radius_y: float, corners: int = 20) -> np.ndarray:
    """(T, corners, 2) around (T, 2) centres."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return centre[:, None] + np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], axis=1)


def capsule(
    start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
) -> np.ndarray:
    """The hull of two circles, (T, 16, 2), around (T, 2) places."""
    way = end - start
    angle = np.arctan2(way[:, 1], way[:, 0])[:, None]
    half = np.linspace(-np.pi / 2, np.pi / 2, 8)

    def arc(centre: np.ndarray, radius: float, turned: float) -> np.ndarray:
        around = angle + turned + half
        return centre[:, None] + radius * np.stack([np.cos(around), np.sin(around)], axis=2)

    return np.concatenate([arc(end, end_radius, 0), arc(start, start_radius, np.pi)], axis=1)


def _limb(
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    colour: Colour,
    light: float = 0.16,
) -> list[Shape]:
    """A shaded capsule: dark rim, and a lit body a little to the upper left."""
    aside = -0.16 * max(radii) * np.array([1.0, 1.0])
    lit = capsule(start + aside, end + aside, 0.74 * radii[0], 0.74 * radii[1])
    return [
        Shape(capsule(start, end, *radii), tint(colour, light - 0.38)),
        Shape(lit, tint(colour, light)),
    ]


def draw_figure(
    motion: Motion, body: Body, look: Appearance, stand: Placement
) -> tuple[list[Shape], ...]:
    """The actor's shapes in painting order: the part behind its object, and the part before it."""
    at = {name: stand.project(points) for name, points in joints(motion.pose, body).items()}
    unit = stand.size * body.girth
    sleeve = look.skin if look.short_sleeves else look.top
    shin = look.skin if look.short_trousers else look.trousers

    def arm(far: str, light: float) -> list[Shape]:
        shoulder, elbow, hand = (at[far + name] for name in ("shoulder", "elbow", "hand"))
        return [
            *_limb(elbow, hand, (0.036 * unit, 0.031 * unit), tint(sleeve, light / 2), light),
            *_limb(hand, hand, (0.037 * unit, 0.037 * unit), tint(look.skin, light / 2), light),
            *_limb(shoulder, elbow, (0.047 * unit, 0.038 * unit), tint(look.top, light / 2), light),
        ]

    def leg(far: str, light: float) -> list[Shape]:
        knee, foot, toe = (at[far + name] for name in ("knee", "foot", "toe"))
        hip = at["hip"]
        return [
            *_limb(knee, foot, (0.045 * unit, 0.035 * unit), tint(shin, light / 2), light),
            *_limb(foot, toe, (0.036 * unit, 0.028 * unit), tint(look.shoes, light / 2), light),
            *_limb(hip, knee, (0.072 * unit, 0.05 * unit), tint(look.trousers, light / 2), light),
        ]

    chest = at["neck"] + 0.2 * (at["hip"] - at["neck"])
    belly = at["hip"] + 0.12 * (at["neck"] - at["hip"])
    trunk = _limb(belly, chest, (0.078 * unit, 0.092 * unit), look.top)
    if look.striped:
        for share in (0.3, 0.62):
            middle = belly + share * (chest - belly)
            along = 0.06 * (chest - belly)
            stripe = capsule(middle - along, middle + along, 0.062 * unit, 0.064 * unit)
            trunk.append(Shape(stripe, tint(look.top, 0.6)))
    behind = arm("far_", -0.2) + leg("far_", -0.2)
    behind += trunk + _head(at, body, look, stand) + leg("", 0.08)
    return behind, arm("", 0.12)


def _head(at: dict[str, np.ndarray], body: Body, look: Appearance, stand: Placement) -> list[Shape]:
    radius = body.head * stand.size
    up = at["head"] - at["neck"]
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    ahead = np.stack([-up[:, 1], up[:, 0]], axis=1) * stand.facing

    def place(forward: float, upward: float) -> np.ndarray:
        return at["head"] + radius * (forward * ahead + upward * up)

    def ball(where: np.ndarray, size: float, colour: Colour, light: float) -> list[Shape]:
        return _limb(where, where, (size * radius, size * radius), colour, light)

    shapes = [Shape(capsule(at["neck"], place(0, 0), *[0.48 * radius] * 2), tint(look.skin, -0.2))]
    if look.hair_style == LONG:
        tress = (0.62 * radius, 0.42 * radius)
        shapes += _limb(place(-0.5, 0.1), place(-0.62, -1.5), tress, look.hair, -0.05)
    if look.hair_style == BUN:
        shapes += ball(place(-0.85, 0.8), 0.42, look.hair, 0.05)
    shapes += ball(place(1.0, -0.18), 0.17, look.skin, 0.0)
    shapes += ball(place(0, 0), 1.0, look.skin, 0.1)
    hair = tint(look.top, -0.25) if look.hair_style == CAP else look.hair
    crown = capsule(place(0.2, 0.6), place(-0.5, 0.18), 0.52 * radius, 0.6 * radius)
    gloss = capsule(place(0.1, 0.68), place(-0.42, 0.4), 0.3 * radius, 0.36 * radius)
    shapes += [Shape(crown, tint(hair, -0.12)), Shape(gloss, tint(hair, 0.1))]
    if look.hair_style == CAP:
        brim = (0.2 * radius, 0.14 * radius)
        shapes += _limb(place(0.4, 0.42), place(1.5, 0.3), brim, hair, -0.1)
    eye = ellipse(place(0.55, -0.05), 0.12 * radius, 0.17 * radius, 8)
    return [*shapes, Shape(eye, (36, 28, 30))]


def draw_prop(motion: Motion, stand: Placement, colour: Colour) -> tuple[list[Shape], list[Shape]]:
    """The object's shapes, and its shadow's."""

    def box(x: float, y: float, half_x: float, half_y: float, by: float = 0.0) -> Shape:
        corners = rectangle(x - half_x, y - half_y, x + half_x, y + half_y)
        return Shape(stand.project(polygon(corners, motion.prop_place)), tint(colour, by))

    if motion.prop == "stool":
        x, y = SEAT
        legs = [box(x + dx, y / 2, 0.018, y / 2, -0.45) for dx in (-0.11, 0.11)]
        shapes = [*legs, box(x, 0.4 * y, 0.1, 0.014, -0.5)]
        shapes += [box(x, y - 0.025, 0.15, 0.03, -0.25), box(x, y - 0.008, 0.15, 0.014, 0.25)]
        return shapes, [_shadow(stand, np.array([[x, 0.0]]), 0.17)]
    if motion.prop == "parcel":
        half = PARCEL / 2
        shapes = [box(0, 0, half, half, -0.35), box(-0.008, 0.008, half - 0.016, half - 0.016, 0.1)]
        shapes += [box(0, 0, 0.02, half, 0.55), box(0, 0.01, half, 0.016, 0.55)]
        return shapes, [_shadow(stand, motion.prop_place * (1, 0), 0.11)]
    if motion.prop == "cart":
        shapes = [box(0.36, 0.33, 0.014, 0.27, -0.5), box(0.345, 0.58, 0.03, 0.018, -0.6)]
        shapes += [box(0.57, 0.25, 0.21, 0.16, -0.35), box(0.562, 0.258, 0.19, 0.135, 0.1)]
        shapes += [box(0.562, 0.3, 0.19, 0.016, -0.2), box(0.562, 0.2, 0.19, 0.016, -0.2)]
        for x in (0.44, 0.7):
            hub = motion.prop_place + np.array([x, 0.065])
            turn = motion.prop_place[:, :1] / 0.065
            spoke = 0.05 * np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
            ends = stand.project(hub - spoke), stand.project(hub + spoke)
            wheel = 0.065 * stand.size
            shapes.append(Shape(ellipse(stand.project(hub), wheel, wheel), (44, 42, 46)))
            shapes.append(
                Shape(capsule(*ends, 0.012 * stand.size, 0.012 * stand.size), (210, 208, 204))
            )
        return shapes, [_shadow(stand, motion.prop_place + np.array([0.57, 0.0]), 0.26)]
    return [], []


def draw_shadow(motion: Motion, body: Body, stand: Placement) -> Shape:
    """The figure's shadow on the floor."""
    at = joints(motion.pose, body)
    middle = (at["foot"] + at["far_foot"] + at["hip"]) / 3
    return _shadow(stand, middle * [1, 0], 0.2)


def _shadow(stand: Placement, place: np.ndarray, radius: float) -> Shape:
    size = radius * stand.size
    return Shape(ellipse(stand.project(place), size, 0.22 * size), (20, 18, 30), 0.35)


def extent(shapes: Sequence[Shape]) -> np.ndarray:
    """(T, 4) x1 y1 x2 y2, the tight boxes around shapes of T frames each."""
    points = np.concatenate([shape.polygon for shape in shapes], axis=1)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def render(
    background: np.ndarray, shapes: Sequence[Shape], camera: Camera, height: int, width: int
) -> Iterator[np.ndarray]:
    """Paints T frames.

    Args:
        background: (BH, BW, 3) uint8 RGB of twice the resolution, larger than the frame and with
            the same middle.
        shapes: later ones on top of earlier ones.
        camera: moves and lights everything.
        height, width: of the frames.

    Yields:
        (height, width, 3) uint8 RGB.
    """
    import cv2

    outlines = [_fixed_point(camera.project(x.polygon, height, width)) for x in shapes]
    size = (_FINER * width, _FINER * height)
    middle = np.array([width, height]) / 2
    own_middle = np.array(background.shape[1::-1]) / 2
    # Halved: sampling between the finer background's pixels averages four of them.
    for t, zoom in enumerate(camera.zoom / 2):
        offset = middle + camera.shift[t] - zoom * own_middle
        warp = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
        still = cv2.warpAffine(background, warp, (width, height), borderMode=cv2.BORDER_REFLECT)
        canvas = cv2.resize(still, size, interpolation=cv2.INTER_NEAREST)
        for outline, shape in zip(outlines, shapes):
            if shape.opacity < 1:
                _blend(canvas, outline[t], shape)
            else:
                cv2.fillConvexPoly(canvas, outline[t], shape.colour, cv2.LINE_8, _SHIFT)
        frame = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        yield cv2.convertScaleAbs(frame, alpha=camera.gain[t])


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Pixels of the frame as OpenCV's on the canvas, where pixels have whole centres."""
    return np.round((points * _FINER - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _blend(canvas: np.ndarray, outline: np.ndarray, shape: Shape) -> None:
    import cv2

    low = np.maximum((outline.min(axis=0) >> _SHIFT) - 1, 0)
    high = np.minimum((outline.max(axis=0) >> _SHIFT) + 2, canvas.shape[1::-1])
    if (low >= high).any():
        return
    part = canvas[low[1] : high[1], low[0] : high[0]]
    painted = part.copy()
    cv2.fillConvexPoly(painted, outline - (low << _SHIFT), shape.colour, cv2.LINE_8, _SHIFT)
    cv2.addWeighted(painted, shape.opacity, part, 1 - shape.opacity, 0, part)
