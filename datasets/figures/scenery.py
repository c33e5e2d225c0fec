"""The surroundings of the demo's actors: backgrounds, moving distractors, occluders, the camera."""

from __future__ import annotations

import colorsys

import numpy as np

from .drawing import (
    Camera,
    Color,
    Shape,
    capsule,
    choose_clothes,
    ellipse,
    polygon,
    rectangle,
    tint,
)

_MARGIN = 0.15  # share of the frame that a background has more on each side
_STYLES = ("stripes", "bricks", "hills", "pictures", "lights")


def make_camera(frames: int, width: int, rng: np.random.Generator) -> Camera:
    """A slow pan and zoom, camera shake of 1 to 3 pixels, and changing light."""
    times = np.arange(frames)
    from_start = np.linspace(-1, 1, frames)
    pan = from_start[:, None] * rng.uniform(-0.03, 0.03, 2) * width * [1, 0.2]
    zoom = 1.02 + 0.035 * rng.uniform(-1, 1) * from_start
    shake = np.stack([_wobble(times, rng) for _ in range(2)], axis=1) * rng.uniform(0.5, 1.5)
    gain = 1 + 0.08 * rng.uniform(-1, 1) + 0.05 * rng.uniform(0, 1) * _wobble(times, rng, 0.4)
    return Camera(zoom, pan + shake, gain)


def _wobble(times: np.ndarray, rng: np.random.Generator, speed: float = 1.0) -> np.ndarray:
    """(T,) noise of about -1 to 1, with the same distribution forwards and backwards in time."""
    rates = speed * rng.uniform(0.01, 0.14, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * rates * times[:, None] + phases).mean(axis=1) * 1.5


def make_background(height: int, width: int, floor: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a room or a landscape at twice the resolution, uint8 RGB, with a margin for the camera.

    Args:
        height, width: size of the frame in pixels.
        floor: y of the edge of the floor, in pixels of the frame.
        rng: the random numbers.
    """
    rows, columns = (round(2 * (1 + 2 * _MARGIN) * side) for side in (height, width))
    line = round(2 * (floor + _MARGIN * height))
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    style = str(rng.choice(_STYLES))
    outdoors = style == "hills"
    hue = rng.uniform(0.5, 0.62) if outdoors else rng.random()
    wall = _color(hue, rng.uniform(0.1, 0.35), rng.uniform(0.75, 0.95))
    # Grass, sand or earth; boards or carpet.
    floor_hue = rng.uniform(0.08, 0.3) if outdoors else hue + rng.uniform(0.3, 0.7)
    ground = _color(floor_hue % 1, rng.uniform(0.15, 0.4), rng.uniform(0.45, 0.7))
    image = np.array(wall, np.float32) * (1.1 - 0.3 * (y / line)[..., None])
    _decorate(image, style, line, wall, rng)
    lower = np.array(ground, np.float32) * (0.85 + 0.3 * ((y - line) / (rows - line)))[..., None]
    if rng.random() < 0.5:  # boards that run towards the camera
        depth = np.maximum(y - line, 0) / (rows - line) + 0.25
        across = (x - columns / 2) / depth / rng.uniform(60, 130)
        lower *= 1 + 0.06 * np.sign(np.sin(2 * np.pi * across))[..., None]
    image[line:] = lower[line:]
    if style in ("stripes", "bricks", "pictures"):
        image[line - 7 : line] = tint(wall, 0.35)  # skirting board
    image[line : line + 3] *= 0.75
    image *= 1 + rng.uniform(0.03, 0.09) * _noise(rows, columns, rng)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _decorate(
    image: np.ndarray, style: str, line: int, wall: Color, rng: np.random.Generator
) -> None:
    """Decorates the part above the floor, in place."""
    import cv2

    rows, columns = image.shape[:2]
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    if style == "stripes":
        image *= 1 + 0.07 * np.sign(np.sin(2 * np.pi * x / rng.uniform(24, 70)))[..., None]
    elif style == "bricks":
        tall = rng.uniform(16, 34)
        shifted = x + tall * (np.floor(y / tall) % 2)
        joint = (y % tall < 2) | (shifted % (2 * tall) < 2)
        image[joint] *= 0.86
    elif style == "hills":
        for k in range(3):
            wave = np.sin(x / rng.uniform(40, 110) + rng.uniform(0, 9))
            green = _color(rng.uniform(0.2, 0.45), 0.35, 0.75 - 0.12 * k)
            image[y > line * (0.45 + 0.18 * k) + 24 * wave] = tint(green, 0.1)
    elif style == "pictures":
        for _ in range(int(rng.integers(2, 5))):
            left, top = int(rng.integers(columns)), int(rng.integers(line // 2))
            right, bottom = left + int(rng.integers(40, 110)), top + int(rng.integers(30, 90))
            inside = _color(rng.random(), 0.3, 0.8)
            cv2.rectangle(image, (left, top), (right, bottom), tint(wall, -0.45), -1)
            cv2.rectangle(image, (left + 5, top + 5), (right - 5, bottom - 5), inside, -1)
    elif style == "lights":
        for _ in range(12):
            center = int(rng.integers(columns)), int(rng.integers(line))
            light = tint(_color(rng.random(), 0.35, 0.85), 0.1)
            cv2.circle(image, center, int(rng.integers(12, 60)), light, -1)
        cv2.GaussianBlur(image, (0, 0), 7, dst=image)


def _noise(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, columns) value noise of several scales, about -1 to 1."""
    import cv2

    total = np.zeros((rows, columns), np.float32)
    for cells, weight in ((5, 0.9), (16, 0.6), (60, 0.45), (200, 0.35)):
        grid = rng.uniform(-1, 1, (cells, cells * columns // rows)).astype(np.float32)
        total += weight * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return total


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def make_distractor(
    frames: int, height: int, width: int, floor: float, rng: np.random.Generator
) -> list[Shape]:
    """Makes a moving object behind the actors: a ball, a car, a lamp, balloons or a robot."""
    times = np.linspace(0, 1, frames)
    color = choose_clothes(rng)
    unit = height / 144
    path = np.sort(rng.uniform(-0.1, 1.1, 2))[:: int(rng.choice([-1, 1]))] * width
    x = path[0] + (path[1] - path[0]) * times
    kind = int(rng.integers(5))
    if kind == 0:
        bounce = np.abs(np.sin(np.pi * rng.uniform(1.5, 4) * times + 3 * rng.random()))
        radius = unit * rng.uniform(5, 9)
        y = floor + 6 * unit - radius - rng.uniform(20, 50) * unit * bounce
        center = np.stack([x, y], axis=1)
        return _ball(center, radius, color)
    if kind == 1:
        return _car(x, floor + 3 * unit, unit * rng.uniform(0.9, 1.3), color)
    if kind == 2:
        angle = 0.4 * np.sin(2 * np.pi * rng.uniform(0.7, 2) * times + 6 * rng.random())
        root = np.full((frames, 2), [rng.uniform(0.1, 0.9) * width, -0.2 * height])
        direction = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        end = root + rng.uniform(0.4, 0.55) * height * direction
        cord = Shape(capsule(root, end, 0.8 * unit, 0.8 * unit), (60, 56, 60))
        return [cord, *_ball(end, 8 * unit, color)]
    if kind == 3:
        balloons = []
        for _ in range(3):
            reach = rng.uniform(0.1, 0.5) * height
            rise = reach * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * times)
            center = np.stack([x * 0.4 + rng.uniform(0, 0.6) * width, 0.3 * height - rise], axis=1)
            string = capsule(center, center + np.array([0, 22 * unit]), 0.5 * unit, 0.5 * unit)
            balloons.append(Shape(string, (90, 84, 88)))
            balloons += _ball(center, 6 * unit, choose_clothes(rng))
        return balloons
    return _robot(x, times, floor + 4 * unit, unit * rng.uniform(0.9, 1.3), color, rng)


def _ball(center: np.ndarray, radius: float, color: Color) -> list[Shape]:
    lit = center - 0.15 * radius
    glint = center - 0.35 * radius
    return [
        Shape(ellipse(center, radius, radius), tint(color, -0.3)),
        Shape(ellipse(lit, 0.78 * radius, 0.78 * radius), tint(color, 0.08)),
        Shape(ellipse(glint, 0.25 * radius, 0.25 * radius), tint(color, 0.55)),
    ]


def _car(x: np.ndarray, floor: float, unit: float, color: Color) -> list[Shape]:
    place = np.stack([x, np.full_like(x, floor)], axis=1)
    body = [(-24, -5), (-23, -14), (-14, -16), (22, -14), (25, -5)]
    cabin = [(-14, -15), (-8, -25), (7, -25), (14, -15)]
    window = [(-10, -16), (-6, -23), (5, -23), (10, -16)]
    parts = ((cabin, tint(color, -0.2)), (window, (190, 220, 232)), (body, color))
    shapes = [Shape(polygon(p, place, unit), shade) for p, shade in parts]
    for side in (-14, 14):
        hub = place + np.array([side, -5]) * unit
        shapes.append(Shape(ellipse(hub, 5.5 * unit, 5.5 * unit), (40, 38, 42)))
        shapes.append(Shape(ellipse(hub, 2.2 * unit, 2.2 * unit, 10), (200, 200, 204)))
    return shapes


def _robot(
    x: np.ndarray,
    times: np.ndarray,
    floor: float,
    unit: float,
    color: Color,
    rng: np.random.Generator,
) -> list[Shape]:
    """A box on a wheel, with a square head that moves up and down."""
    bob = 6 * unit * np.sin(2 * np.pi * rng.uniform(1, 3) * times + 6 * rng.random())
    place = np.stack([x, np.full_like(x, floor)], axis=1)
    head = place + np.stack([np.zeros_like(bob), bob], axis=1)

    def box(center: np.ndarray, y: float, half_x: float, half_y: float, shade: Color) -> Shape:
        corners = rectangle(-half_x, y - half_y, half_x, y + half_y)
        return Shape(polygon(corners, center, unit), shade)

    return [
        Shape(ellipse(place - np.array([0, 6 * unit]), 7 * unit, 7 * unit), (50, 48, 54)),
        box(head, -45, 1.5, 12, (110, 110, 116)),
        box(place, -22, 13, 13, tint(color, -0.3)),
        box(place, -23, 11, 11, tint(color, 0.1)),
        box(head, -52, 10, 7, tint(color, -0.15)),
        box(head, -53, 7, 3, (230, 240, 210)),
    ]


def make_occluder(frames: int, height: int, width: int, rng: np.random.Generator) -> list[Shape]:
    """Makes an object that hides the actors for a while: a post, a plant or a sign.

    It is nearer to the camera than the actors, so it drifts past them.
    """
    times = np.linspace(-0.5, 0.5, frames)
    drift = rng.uniform(0.1, 0.5) * width * rng.choice([-1, 1])
    x = rng.uniform(0.15, 0.85) * width + drift * times
    unit = height / 144
    color = choose_clothes(rng)
    place = np.stack([x, np.full_like(x, height)], axis=1)
    kind = int(rng.integers(3))

    def box(x1: float, y1: float, x2: float, y2: float, shade: Color) -> Shape:
        return Shape(polygon(rectangle(x1, y1, x2, y2), place, unit), shade)

    if kind == 0:
        half = rng.uniform(5, 9)
        gray = tint(_color(rng.random(), 0.15, 0.5), -0.2)
        return [
            box(-half, -200, half, 40, tint(gray, -0.35)),
            box(-0.7 * half, -200, 0.4 * half, 40, gray),
            box(-0.6 * half, -200, -0.2 * half, 40, tint(gray, 0.25)),
        ]
    if kind == 1:
        shapes = []
        sway = np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * times + 6 * rng.random())
        for angle in rng.permutation(np.linspace(-1.1, 1.1, 9)):
            bent = angle + 0.06 * sway
            reach = rng.uniform(32, 58) * unit
            tip = np.stack([np.sin(bent), -np.cos(bent)], axis=1) * reach
            root = place - [0, 18 * unit]
            green = _color(rng.uniform(0.25, 0.42), 0.55, rng.uniform(0.35, 0.6))
            middle = root + 0.6 * tip
            shapes.append(Shape(capsule(root, middle, 1.5 * unit, 5 * unit), tint(green, -0.2)))
            shapes.append(Shape(capsule(middle, root + tip, 5 * unit, 1 * unit), green))
        pot = [(-14.0, -24.0), (14, -24), (10, 30), (-10, 30)]
        return [*shapes, Shape(polygon(pot, place, unit), tint(color, -0.25))]
    top = -rng.uniform(55, 80)
    return [
        box(-2, top, 2, 40, (80, 78, 84)),
        box(-17, top - 14, 17, top + 10, tint(color, -0.35)),
        box(-15, top - 12, 15, top + 8, tint(color, 0.15)),
        box(-10, top - 6, 10, top - 3, (250, 250, 246)),
        box(-10, top + 0, 6, top + 3, (250, 250, 246)),
    ]
