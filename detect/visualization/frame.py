"""Action tubes drawn into frames and videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

# RGB. Okabe & Ito, "Color universal design" (2008): told apart by colour-blind people too.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
_BLACK = (0, 0, 0)
_WHITE = (255, 255, 255)
_DARK_GREY = (60, 60, 60)
# Text is readable from about this many pixels on the picture's short side.
_LEGIBLE_SIDE = 480
_LARGEST_SCALE = 4
# What lies farther outside the canvas is drawn at this many pixels: more than a line is wide.
_OUTSIDE = 100

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]


def readable_scale(width: int, height: int) -> int:
    """The whole factor, at most 4, that brings a picture's short side to 480 pixels or more."""
    return min(_LARGEST_SCALE, max(1, math.ceil(_LEGIBLE_SIDE / min(width, height))))


def draw_frame(
    frame: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    scores: Sequence[float] | np.ndarray | None = None,
    tubes: Sequence[int] | np.ndarray | None = None,
    *,
    truth_boxes: np.ndarray | None = None,
    truth_labels: Sequence[str] | None = None,
    trails: Mapping[int, np.ndarray] | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """Draws the boxes of one frame, each with a tag of its label and score.

    Args:
        frame: (H, W, 3) uint8 RGB; left as it is.
        boxes: (R, 4) x1 y1 x2 y2 in pixels of `frame`; parts outside it are cut off.
        labels: R names.
        scores: R numbers, or None for tags without.
        tubes: R tube numbers, which choose the colour; None numbers the boxes by their order.
        truth_boxes: (G, 4) ground truth, drawn dashed and white.
        truth_labels: G names, or None for boxes without tags.
        trails: for a tube number, the (N, 2) past and present centres of its box, x y in pixels of
            `frame`, oldest first; drawn as lines, later ones on top.
        scale: the whole factor by which the picture is enlarged first, so that text stays small
            beside the picture; None takes `readable_scale`.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB.
    """
    height, width = frame.shape[:2]
    scale = scale or readable_scale(width, height)
    canvas = frame.copy()
    if scale > 1:
        size = (width * scale, height * scale)
        canvas = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    numbers = range(len(boxes)) if tubes is None else tubes
    colours = [PALETTE[int(number) % len(PALETTE)] for number in numbers]
    for number, trail in (trails or {}).items():
        colour = PALETTE[int(number) % len(PALETTE)]
        _draw_trail(canvas, np.asarray(trail, np.float64) * scale, colour)
    pixels = _pixels(boxes, scale, canvas)
    # The surest come last, on top of the others, but choose the place of their tags first.
    by_score = np.argsort(scores, kind="stable") if scores is not None else np.arange(len(boxes))
    for i in by_score:
        _draw_box(canvas, pixels[i], colours[i])
    # The gaps of its dashes leave a box beneath in sight.
    truth = _pixels(truth_boxes, scale, canvas)
    for box in truth:
        _draw_dashed(canvas, box)
    taken: list[Box] = []
    for i in by_score[::-1]:
        text = labels[i] if scores is None else f"{labels[i]} {scores[i]:.2f}"
        _draw_tag(canvas, pixels[i], text, colours[i], taken)
    for box, label in zip(truth, truth_labels or ()):
        _draw_tag(canvas, box, label, _DARK_GREY, taken, below=True)
    return canvas


def _pixels(boxes: np.ndarray | None, scale: int, canvas: np.ndarray) -> list[Box]:
    """Boxes as whole pixels of the canvas; a side outside it stays outside."""
    if boxes is None:
        return []
    height, width = canvas.shape[:2]
    scaled = np.round(np.asarray(boxes, np.float64).reshape(-1, 4) * scale)
    limits = np.array([width, height, width, height]) + _OUTSIDE
    return [tuple(box) for box in np.clip(scaled, -_OUTSIDE, limits).astype(int).tolist()]


def _line_width(canvas: np.ndarray) -> int:
    return max(1, round(min(canvas.shape[:2]) / 200))


def _draw_box(canvas: np.ndarray, box: Box, colour: Colour) -> None:
    """A coloured rectangle with a thin dark rim, to stand out from any background."""
    width = _line_width(canvas)
    cv2.rectangle(canvas, box[:2], box[2:], _BLACK, width + 2)
    cv2.rectangle(canvas, box[:2], box[2:], colour, width)


def _draw_dashed(canvas: np.ndarray, box: Box) -> None:
    width = _line_width(canvas)
    dash = 6 * width
    x1, y1, x2, y2 = box
    dashes = [((x, y), (min(x + dash, x2), y)) for y in (y1, y2) for x in range(x1, x2, 2 * dash)]
    dashes += [((x, y), (x, min(y + dash, y2))) for x in (x1, x2) for y in range(y1, y2, 2 * dash)]
    for colour, thickness in ((_BLACK, width + 2), (_WHITE, width)):
        for begin, end in dashes:
            cv2.line(canvas, begin, end, colour, thickness)


def _draw_trail(canvas: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    if not len(points):
        return
    width = _line_width(canvas)
    pixels = np.clip(points, -_OUTSIDE, max(canvas.shape) + _OUTSIDE).round().astype(np.int32)
    x, y = pixels[-1].tolist()
    for drawn, extra in ((_BLACK, 2), (colour, 0)):
        cv2.polylines(canvas, [pixels], False, drawn, width + extra, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), 2 * width + extra // 2, drawn, -1, cv2.LINE_AA)


def _draw_tag(
    canvas: np.ndarray, box: Box, text: str, colour: Colour, taken: list[Box], below: bool = False
) -> None:
    """Text on a filled ground at the box, inside the picture and clear of the `taken` places."""
    height, width = canvas.shape[:2]
    outside = box[2] < 0 or box[3] < 0 or box[0] >= width or box[1] >= height
    if outside or not text:
        return
    size = max(0.75, min(height, width) / _LEGIBLE_SIDE)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(1.6 * size))
    font_scale = 0.6 * size
    (text_width, text_height), baseline = cv2.getTextSize(text, font, font_scale, thickness)
    pad = max(2, round(4 * size))
    tag = (text_width + 2 * pad, text_height + baseline + 2 * pad)
    x, y = _place_tag(box, tag, (width, height), taken, below)
    taken.append((x, y, x + tag[0], y + tag[1]))
    cv2.rectangle(canvas, (x, y), (x + tag[0] - 1, y + tag[1] - 1), colour, -1)
    # WCAG 2's relative luminance, at which black and white text have the same contrast.
    red, green, blue = ((value / 255) ** 2.2 for value in colour)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179
    origin = (x + pad, y + pad + text_height)
    ink = _BLACK if light else _WHITE
    cv2.putText(canvas, text, origin, font, font_scale, ink, thickness, cv2.LINE_AA)


def draw_status(canvas: np.ndarray, text: str) -> None:
    """Writes a line into the bottom left corner of a (H, W, 3) uint8 RGB picture, in place."""
    bottom = canvas.shape[0] - 1
    _draw_tag(canvas, (0, bottom, 0, bottom), text, _DARK_GREY, [])


def _place_tag(
    box: Box, tag: tuple[int, int], canvas: tuple[int, int], taken: list[Box], below: bool
) -> tuple[int, int]:
    """The tag's top left corner: near the box, inside the canvas, over as few tags as can be."""
    x1, y1, x2, y2 = box
    width, height = tag
    rows = range(3)
    above = [(x, y1 - (row + 1) * height) for row in rows for x in (x1, x2 - width)]
    under = [(x, y2 + row * height) for row in rows for x in (x1, x2 - width)]
    inner = [(x, y) for y in range(y1, y2 - height, height) for x in (x1, x2 - width)]
    wanted = np.array([*(under + above if below else above + under), *inner])
    # Sideways a tag may slide along its edge; upright it would leave it.
    start = np.clip(wanted, 0, np.maximum(np.subtract(canvas, tag), 0))
    others = np.array(taken, int).reshape(-1, 4)
    shared = np.minimum(start[:, None] + tag, others[:, 2:])
    shared -= np.maximum(start[:, None], others[:, :2])
    cost = np.maximum(shared, 0).prod(axis=2).sum(axis=1) + abs(start - wanted)[:, 1] * width
    x, y = start[cost.argmin()].tolist()
    return x, y
