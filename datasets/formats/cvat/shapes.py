"""The bounding boxes of the shapes that CVAT draws, and the frames between its keyframes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from ...errors import InputError

SHAPES = ("box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid", "skeleton")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_CUBOID = ("xtl1", "ytl1", "xbl1", "ybl1", "xtr1", "ytr1", "xbr1", "ybr1",
           "xtl2", "ytl2", "xbl2", "ybl2", "xtr2", "ytr2", "xbr2", "ybr2")  # fmt: skip


def bounding_box(shape: Element, place: str) -> tuple[list[float], str | None]:
    """A shape's box x1, y1, x2, y2, and what the shape is where it is no upright box.

    Args:
        shape: one of `SHAPES`.
        place: where it stands, for messages.

    Raises:
        InputError: a coordinate is missing or not a finite number.
    """
    if shape.tag == "box":
        x1, y1, x2, y2 = (number(shape, name, place) for name in _CORNERS)
        angle = number(shape, "rotation", place) if shape.get("rotation") else 0.0
        if angle % 360 == 0:
            return [x1, y1, x2, y2], None
        return _rotated(x1, y1, x2, y2, angle, is_ellipse=False), "rotated box"
    if shape.tag == "ellipse":
        x, y, rx, ry = (number(shape, name, place) for name in ("cx", "cy", "rx", "ry"))
        angle = number(shape, "rotation", place) if shape.get("rotation") else 0.0
        return _rotated(x - rx, y - ry, x + rx, y + ry, angle, is_ellipse=True), "ellipse"
    if shape.tag == "mask":
        left, top, width, height = (
            number(shape, name, place) for name in ("left", "top", "width", "height")
        )
        return [left, top, left + width, top + height], "mask"
    if shape.tag == "cuboid":
        values = [number(shape, name, place) for name in _CUBOID]
        return _around(values[::2], values[1::2]), "cuboid"
    if shape.tag == "skeleton":
        parts = [each for each in shape if each.tag == "points" and each.get("outside") != "1"]
        points = [point for each in parts for point in _points(each, place)]
    else:
        points = _points(shape, place)
    if not points:
        raise InputError(f"{place}: the {shape.tag} has no points")
    return _around([x for x, _ in points], [y for _, y in points]), shape.tag


def number(shape: Element, name: str, place: str) -> float:
    """A finite number of an attribute.

    Raises:
        InputError: it is missing, or is none.
    """
    text = shape.get(name)
    if text is None:
        raise InputError(f"{place}: the {shape.tag} has no {name}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {name} must be a number, not {text[:40]!r}")
    return value


def fill_between(
    frames: np.ndarray, boxes: np.ndarray, last: int | None, step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A track on every annotated frame from its first one on, as CVAT shows it.

    Between two boxes a third is interpolated linearly, also where the later one is outside.

    Args:
        frames: (n,) int64, ascending, `step` apart or multiples of it.
        boxes: (n, 4).
        last: the frame to which the last box is held; None ends with it.
        step: frames from one annotated frame to the next.

    Returns:
        (m,) frames; (m, 4) boxes; (m,) index of the box before, or at, each frame.
    """
    stop = frames[-1] if last is None else max(frames[-1], last)
    every = np.arange(frames[0], stop + 1, step)
    before = np.searchsorted(frames, every, side="right") - 1
    after = np.minimum(before + 1, len(frames) - 1)
    length = np.maximum(frames[after] - frames[before], 1)
    share = ((every - frames[before]) / length)[:, None]
    filled = boxes[before] + (boxes[after] - boxes[before]) * share
    given = frames[before] == every
    filled[given] = boxes[before[given]]
    return every, filled, before


def _points(shape: Element, place: str) -> list[tuple[float, float]]:
    pairs = []
    for word in re.split(r"\s*;\s*", (shape.get("points") or "").strip()):
        try:
            x, y = (float(part) for part in word.split(","))
        except ValueError:
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InputError(f"{place}: points must be x,y;x,y;..., not {word[:40]!r}")
        pairs.append((x, y))
    return pairs


def _around(x: Sequence[float], y: Sequence[float]) -> list[float]:
    return [min(x), min(y), max(x), max(y)]


def _rotated(
    x1: float, y1: float, x2: float, y2: float, degrees: float, is_ellipse: bool
) -> list[float]:
    """The upright box around a box, or an ellipse in it, turned around its center."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_width, half_height = (x2 - x1) / 2, (y2 - y1) / 2
    if is_ellipse:
        across = math.hypot(half_width * cos, half_height * sin)
        down = math.hypot(half_width * sin, half_height * cos)
    else:
        across = half_width * cos + half_height * sin
        down = half_width * sin + half_height * cos
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return [x - across, y - down, x + across, y + down]
