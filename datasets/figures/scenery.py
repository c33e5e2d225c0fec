"""What is around the demo's actors: backgrounds, things that move but act not, things in front."""

from __future__ import annotations

import colorsys

import numpy as np

from .drawing import CLOTHES, Camera, Colour, Shape, capsule, ellipse, polygon, rectangle, tint

_MARGIN = 0.15  # of the frame, on each side of a background
_STYLES = ("stripes", "bricks", "hills", "pictures", "lights")


def make_camera(frames: int, width: int, rng: np.random.Generator) -> Camera:
    """A slow pan and zoom, a shaking hand (1 to 3 pixels), and light that changes."""
    times = np.arange(frames)
    from_start = np.linspace(-1, 1, frames)
    pan = from_start[:, None] * rng.uniform(-0.03, 0.03, 2) * width * [1, 0.2]
    zoom = 1.02 + 0.035 * rng.uniform(-1, 1) * from_start
    shake = np.stack([_wobble(times, rng) for _ in range(2)], axis=1) * rng.uniform(0.5, 1.5)
    gain = 1 + 0.08 * rng.uniform(-1, 1) + 0.05 * rng.uniform(0, 1) * _wobble(times, rng, 0.4)
    return Camera(zoom, pan + shake, gain)


def _wobble(times: np.ndarray, rng: np.random.Generator, speed: float = 1.0) -> np.ndarray:
    """(T,) in about -1 to 1, the same in distribution forwards and backwards."""
    rates = speed * rng.uniform(0.01, 0.14, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * rates * times[:, None] + phases).mean(axis=1) * 1.5


def make_background(height: int, width: int, floor: float, rng: np.random.Generator) -> np.ndarray:
    """A room or a landscape, uint8 RGB of twice the resolution and with a margin for the camera.

    Args:
        height, width: of the frame in pixels.
        floor: y of the line where the floor begins, in pixels of the frame.
        rng: drawn from.
    """
    rows, columns = (round(2 * (1 + 2 * _MARGIN) * side) for side in (height, width))
    line = round(2 * (floor + _MARGIN * height))
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    style = str(rng.choice(_STYLES))
    outdoors = style == "hills"
    hue = rng.uniform(0.5, 0.62) if outdoors else rng.random()
    wall = _colour(hue, rng.uniform(0.1, 0.35), rng.uniform(0.75, 0.95))
    # Grass, sand or earth; boards or carpet.
    floor_hue = rng.uniform(0.08, 0.3) if outdoors else hue + rng.uniform(0.3, 0.7)
    ground = _colour(floor_hue % 1, rng.uniform(0.15, 0.4), rng.uniform(0.45, 0.7))
    picture = np.array(wall, np.float32) * (1.1 - 0.3 * (y / line)[..., None])
    _decorate(picture, style, line, wall, rng)
    lower = np.array(ground, np.float32) * (0.85 + 0.3 * ((y - line) / (rows - line)))[..., None]
    if rng.random() < 0.5:  # boards that run towards the eye
        depth = np.maximum(y - line, 0) / (rows - line) + 0.25
        across = (x - columns / 2) / depth / rng.uniform(60, 130)
        lower *= 1 + 0.06 * np.sign(np.sin(2 * np.pi * across))[..., None]
    picture[line:] = lower[line:]
    if style in ("stripes", "bricks", "pictures"):
        picture[line - 7 : line] = tint(wall, 0.35)  # skirting board
    picture[line : line + 3] *= 0.75
    picture *= 1 + rng.uniform(0.03, 0.09) * _noise(rows, columns, rng)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _decorate(
    picture: np.ndarray, style: str, line: int, wall: Colour, rng: np.random.Generator
) -> None:
    """Draws what is above the floor's line, in place."""
    import cv2

    rows, columns = picture.shape[:2]
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    if style == "stripes":
        picture *= 1 + 0.07 * np.sign(np.sin(2 * np.pi * x / rng.uniform(24, 70)))[..., None]
    elif style == "bricks":
        tall = rng.uniform(16, 34)
        shifted = x + tall * (np.floor(y / tall) % 2)
        joint = (y % tall < 2) | (shifted % (2 * tall) < 2)
        picture[joint] *= 0.86
    elif style == "hills":
        for k in range(3):
            wave = np.sin(x / rng.uniform(40, 110) + rng.uniform(0, 9))
            green = _colour(rng.uniform(0.2, 0.45), 0.35, 0.75 - 0.12 * k)
            picture[y > line * (0.45 + 0.18 * k) + 24 * wave] = tint(green, 0.1)
    elif style == "pictures":
        for _ in range(int(rng.integers(2, 5))):
            left, top = int(rng.integers(columns)), int(rng.integers(line // 2))
            right, bottom = left + int(rng.integers(40, 110)), top + int(rng.integers(30, 90))
            inside = _colour(rng.random(), 0.3, 0.8)
            cv2.rectangle(picture, (left, top), (right, bottom), tint(wall, -0.45), -1)
            cv2.rectangle(picture, (left + 5, top + 5), (right - 5, bottom - 5), inside, -1)
    elif style == "lights":
        for _ in range(12):
            centre = int(rng.integers(columns)), int(rng.integers(line))
            light = tint(_colour(rng.random(), 0.35, 0.85), 0.1)
            cv2.circle(picture, centre, int(rng.integers(12, 60)), light, -1)
        cv2.GaussianBlur(picture, (0, 0), 7, dst=picture)


def _noise(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Value noise of several scales, about -1 to 1."""
    import cv2

    total = np.zeros((rows, columns), np.float32)
    for cells, weight in ((5, 0.9), (16, 0.6), (60, 0.45), (200, 0.35)):
        grid = rng.uniform(-1, 1, (cells, cells * columns // rows)).astype(np.float32)
        total += weight * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return total


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _any_colour(rng: np.random.Generator) -> Colour:
    return CLOTHES[int(rng.integers(len(CLOTHES)))]


def make_distractor(
    frames: int, height: int, width: int, floor: float, rng: np.random.Generator
) -> list[Shape]:
    """Something that moves behind the actors: a ball, a car, a lamp, balloons or a robot."""
    times = np.linspace(0, 1, frames)
    colour = _any_colour(rng)
    unit = height / 144
    way = np.sort(rng.uniform(-0.1, 1.1, 2))[:: int(rng.choice([-1, 1]))] * width
    x = way[0] + (way[1] - way[0]) * times
    kind = int(rng.integers(5))
    if kind == 0:
        bounce = np.abs(np.sin(np.pi * rng.uniform(1.5, 4) * times + 3 * rng.random()))
        radius = unit * rng.uniform(5, 9)
        y = floor + 6 * unit - radius - rng.uniform(20, 50) * unit * bounce
        centre = np.stack([x, y], axis=1)
        return _ball(centre, radius, colour)
    if kind == 1:
        return _car(x, floor + 3 * unit, unit * rng.uniform(0.9, 1.3), colour)
    if kind == 2:
        angle = 0.4 * np.sin(2 * np.pi * rng.uniform(0.7, 2) * times + 6 * rng.random())
        root = np.full((frames, 2), [rng.uniform(0.1, 0.9) * width, -0.2 * height])
        end = root + rng.uniform(0.4, 0.55) * height * np.stack(
            [np.sin(angle), np.cos(angle)], axis=1
        )
        cord = Shape(capsule(root, end, 0.8 * unit, 0.8 * unit), (60, 56, 60))
        return [cord, *_ball(end, 8 * unit, colour)]
    if kind == 3:
        balloons = []
        for _ in range(3):
            rise = (
                rng.uniform(0.1, 0.5) * height * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * times)
            )
            centre = np.stack([x * 0.4 + rng.uniform(0, 0.6) * width, 0.3 * height - rise], axis=1)
            string = capsule(centre, centre + np.array([0, 22 * unit]), 0.5 * unit, 0.5 * unit)
            balloons += [Shape(string, (90, 84, 88)), *_ball(centre, 6 * unit, _any_colour(rng))]
        return balloons
    return _robot(x, times, floor + 4 * unit, unit * rng.uniform(0.9, 1.3), colour, rng)


def _ball(centre: np.ndarray, radius: float, colour: Colour) -> list[Shape]:
    lit = centre - 0.15 * radius
    glint = centre - 0.35 * radius
    return [
        Shape(ellipse(centre, radius, radius), tint(colour, -0.3)),
        Shape(ellipse(lit, 0.78 * radius, 0.78 * radius), tint(colour, 0.08)),
        Shape(ellipse(glint, 0.25 * radius, 0.25 * radius), tint(colour, 0.55)),
    ]


def _car(x: np.ndarray, floor: float, unit: float, colour: Colour) -> list[Shape]:
    place = np.stack([x, np.full_like(x, floor)], axis=1)
    body = [(-24, -5), (-23, -14), (-14, -16), (22, -14), (25, -5)]
    cabin = [(-14, -15), (-8, -25), (7, -25), (14, -15)]
    window = [(-10, -16), (-6, -23), (5, -23), (10, -16)]
    parts = ((cabin, tint(colour, -0.2)), (window, (190, 220, 232)), (body, colour))
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
    colour: Colour,
    rng: np.random.Generator,
) -> list[Shape]:
    """A chest on a wheel whose square head goes up and down."""
    bob = 6 * unit * np.sin(2 * np.pi * rng.uniform(1, 3) * times + 6 * rng.random())
    place = np.stack([x, np.full_like(x, floor)], axis=1)
    head = place + np.stack([np.zeros_like(bob), bob], axis=1)

    def box(centre: np.ndarray, y: float, half_x: float, half_y: float, shade: Colour) -> Shape:
        corners = rectangle(-half_x, y - half_y, half_x, y + half_y)
        return Shape(polygon(corners, centre, unit), shade)

    return [
        Shape(ellipse(place - np.array([0, 6 * unit]), 7 * unit, 7 * unit), (50, 48, 54)),
        box(head, -45, 1.5, 12, (110, 110, 116)),
        box(place, -22, 13, 13, tint(colour, -0.3)),
        box(place, -23, 11, 11, tint(colour, 0.1)),
        box(head, -52, 10, 7, tint(colour, -0.15)),
        box(head, -53, 7, 3, (230, 240, 210)),
    ]


def make_occluder(frames: int, height: int, width: int, rng: np.random.Generator) -> list[Shape]:
    """Something in front that hides a part of the scene for a while: a post, a plant or a sign.

    It is nearer to the camera than the actors, so it drifts past them.
    """
    times = np.linspace(-0.5, 0.5, frames)
    drift = rng.uniform(0.1, 0.5) * width * rng.choice([-1, 1])
    x = rng.uniform(0.15, 0.85) * width + drift * times
    unit = height / 144
    colour = _any_colour(rng)
    place = np.stack([x, np.full_like(x, height)], axis=1)
    kind = int(rng.integers(3))

    def box(x1: float, y1: float, x2: float, y2: float, shade: Colour) -> Shape:
        return Shape(polygon(rectangle(x1, y1, x2, y2), place, unit), shade)

    if kind == 0:
        half = rng.uniform(5, 9)
        grey = tint(_colour(rng.random(), 0.15, 0.5), -0.2)
        return [
            box(-half, -200, half, 40, tint(grey, -0.35)),
            box(-0.7 * half, -200, 0.4 * half, 40, grey),
            box(-0.6 * half, -200, -0.2 * half, 40, tint(grey, 0.25)),
        ]
    if kind == 1:
        shapes = []
        sway = np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * times + 6 * rng.random())
        for angle in rng.permutation(np.linspace(-1.1, 1.1, 9)):
            bent = angle + 0.06 * sway
            reach = rng.uniform(32, 58) * unit
            tip = np.stack([np.sin(bent), -np.cos(bent)], axis=1) * reach
            root = place - [0, 18 * unit]
            green = _colour(rng.uniform(0.25, 0.42), 0.55, rng.uniform(0.35, 0.6))
            middle = root + 0.6 * tip
            shapes.append(Shape(capsule(root, middle, 1.5 * unit, 5 * unit), tint(green, -0.2)))
            shapes.append(Shape(capsule(middle, root + tip, 5 * unit, 1 * unit), green))
        pot = [(-14.0, -24.0), (14, -24), (10, 30), (-10, 30)]
        return [*shapes, Shape(polygon(pot, place, unit), tint(colour, -0.25))]
    top = -rng.uniform(55, 80)
    return [
        box(-2, top, 2, 40, (80, 78, 84)),
        box(-17, top - 14, 17, top + 10, tint(colour, -0.35)),
        box(-15, top - 12, 15, top + 8, tint(colour, 0.15)),
        box(-10, top - 6, 10, top - 3, (250, 250, 246)),
        box(-10, top + 0, 6, top + 3, (250, 250, 246)),
    ]
