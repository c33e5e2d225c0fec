"""Boxes, labels and trails drawn into one frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ...datasets.video.writer import MAX_SIDE

# RGB. Okabe & Ito, "Color universal design" (2008): distinguishable for color-blind people.
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
_DARK_GRAY = (60, 60, 60)
# Text is readable from about this many pixels on the frame's short side.
_READABLE_SIDE = 480
_MAX_SCALE = 4
# Coordinates are clipped this many pixels outside the canvas, more than a line is wide.
_OUTSIDE = 100

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]


def readable_scale(width: int, height: int) -> int:
    """The smallest integer scale that makes the short side 480 pixels or more.

    At most 4, and no more than H.264 takes.
    """
    largest = min(_MAX_SCALE, MAX_SIDE // max(width, height))
    return max(1, min(largest, math.ceil(_READABLE_SIDE / min(width, height))))


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
    others: Mapping[int, np.ndarray] | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """Draws the boxes of one frame, each with a tag that shows its label and score.

    Tags never lie on each other: one that finds no place is left out.

    Args:
        frame: (H, W, 3) uint8 RGB; not modified.
        boxes: (R, 4) x1 y1 x2 y2 in pixels of `frame`; clipped to it.
        labels: R names.
        scores: R numbers, or None for tags without scores.
        tubes: R tube numbers, which choose the colors; None uses the order of the boxes.
        truth_boxes: (G, 4) ground truth, drawn as dashed white lines.
        truth_labels: G names, or None for ground truth without tags.
        trails: by tube number, (N, 2) centers x y of the tube's box in this and earlier frames, in
            pixels of `frame`, oldest first. Later trails are drawn over earlier ones.
        others: by number, (4,) boxes of people without a label, drawn thin with their number; the
            numbers choose the colors, too.
        scale: integer factor by which the frame is enlarged before drawing, so that text stays
            small compared with the frame; None uses `readable_scale`.

    Returns:
        (scale * H, scale * W, 3) uint8 RGB.
    """
    height, width = frame.shape[:2]
    scale = scale or readable_scale(width, height)
    canvas = cv2.resize(frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    tubes = range(len(boxes)) if tubes is None else tubes
    colors = [PALETTE[int(tube) % len(PALETTE)] for tube in tubes]
    for tube, trail in (trails or {}).items():
        _draw_trail(canvas, trail, scale, PALETTE[int(tube) % len(PALETTE)])
    canvas_boxes = _scale_boxes(boxes, scale, canvas)
    line = _line_width(canvas)
    thin = [
        (str(number), PALETTE[number % len(PALETTE)], _scale_boxes(box, scale, canvas)[0])
        for number, box in (others or {}).items()
    ]
    for _, color, (x1, y1, x2, y2) in thin:
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, max(1, line // 3))
    # High scores are drawn last, on top of the others, but their tags are placed first.
    by_score = np.argsort(scores, kind="stable") if scores is not None else np.arange(len(boxes))
    for i in by_score:
        for color, thickness in ((_BLACK, line + 2), (colors[i], line)):
            cv2.rectangle(canvas, canvas_boxes[i][:2], canvas_boxes[i][2:], color, thickness)
    # The gaps between the dashes leave a box below visible.
    truth = [] if truth_boxes is None else _scale_boxes(truth_boxes, scale, canvas)
    for box in truth:
        _draw_dashed(canvas, box)
    tags: list[Box] = []
    for i in by_score[::-1]:
        text = labels[i] if scores is None else f"{labels[i]} {scores[i]:.2f}"
        _draw_tag(canvas, canvas_boxes[i], text, colors[i], tags)
    for number, color, box in thin:
        _draw_tag(canvas, box, number, color, tags)
    for box, label in zip(truth, truth_labels or ()):
        _draw_tag(canvas, box, label, _DARK_GRAY, tags, below=True)
    return canvas


def draw_status(canvas: np.ndarray, text: str) -> None:
    """Writes a line of text into the bottom left corner of (H, W, 3) uint8 RGB, in place."""
    bottom = canvas.shape[0] - 1
    _draw_tag(canvas, (0, bottom, 0, bottom), text, _DARK_GRAY, [])


def _scale_boxes(boxes: np.ndarray, scale: int, canvas: np.ndarray) -> list[Box]:
    """Boxes in whole pixels of the canvas; a side outside it stays outside."""
    height, width = canvas.shape[:2]
    scaled = np.round(np.asarray(boxes, np.float64).reshape(-1, 4) * scale)
    limits = np.array([width, height, width, height]) + _OUTSIDE
    return [tuple(box) for box in np.clip(scaled, -_OUTSIDE, limits).astype(int).tolist()]


def _line_width(canvas: np.ndarray) -> int:
    return max(1, round(min(canvas.shape[:2]) / 200))


def _draw_dashed(canvas: np.ndarray, box: Box) -> None:
    width = _line_width(canvas)
    dash = 6 * width
    x1, y1, x2, y2 = box
    dashes = [((x, y), (min(x + dash, x2), y)) for y in (y1, y2) for x in range(x1, x2, 2 * dash)]
    dashes += [((x, y), (x, min(y + dash, y2))) for x in (x1, x2) for y in range(y1, y2, 2 * dash)]
    for color, thickness in ((_BLACK, width + 2), (_WHITE, width)):
        for start, end in dashes:
            cv2.line(canvas, start, end, color, thickness)


def _draw_trail(canvas: np.ndarray, centers: np.ndarray, scale: int, color: Color) -> None:
    if not len(centers):
        return
    width = _line_width(canvas)
    points = np.asarray(centers, np.float64) * scale
    points = np.clip(points, -_OUTSIDE, max(canvas.shape) + _OUTSIDE).round().astype(np.int32)
    for drawn_color, extra in ((_BLACK, 2), (color, 0)):
        cv2.polylines(canvas, [points], False, drawn_color, width + extra, cv2.LINE_AA)
        center = points[-1].tolist()
        cv2.circle(canvas, center, 2 * width + extra // 2, drawn_color, -1, cv2.LINE_AA)


def _draw_tag(
    canvas: np.ndarray, box: Box, text: str, color: Color, tags: list[Box], below: bool = False
) -> None:
    """Writes text on a filled rectangle near the box, and adds the rectangle to `tags`.

    The tag stays inside the canvas and off the rectangles in `tags`; where it finds no place
    near the box, it is left out.
    """
    height, width = canvas.shape[:2]
    outside = box[2] < 0 or box[3] < 0 or box[0] >= width or box[1] >= height
    if outside or not text:
        return
    # Text stays readable, and in tiny frames does not hide most of them.
    short = min(height, width)
    size = max(short / _READABLE_SIDE, min(0.75, max(0.5, 2 * short / _READABLE_SIDE)))
    font, font_scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.6 * size, max(1, round(1.6 * size))
    (text_width, text_height), baseline = cv2.getTextSize(text, font, font_scale, thickness)
    padding = max(2, round(4 * size))
    tag_width, tag_height = text_width + 2 * padding, text_height + baseline + 2 * padding
    place = _place_tag(box, (tag_width, tag_height), (width, height), tags, below)
    if place is None:
        return
    x, y = place
    tags.append((x, y, x + tag_width, y + tag_height))
    cv2.rectangle(canvas, (x, y), (x + tag_width - 1, y + tag_height - 1), color, -1)
    origin = (x + padding, y + padding + text_height)
    cv2.putText(canvas, text, origin, font, font_scale, text_color(color), thickness, cv2.LINE_AA)


def text_color(background: Color) -> Color:
    """Black or white, whichever is easier to read on a color."""
    # At this relative luminance (WCAG 2) black and white text have the same contrast.
    luminance = np.dot([0.2126, 0.7152, 0.0722], (np.array(background) / 255) ** 2.2)
    return _BLACK if luminance > 0.179 else _WHITE


def _place_tag(
    box: Box, tag: tuple[int, int], canvas: tuple[int, int], tags: list[Box], below: bool
) -> tuple[int, int] | None:
    """The tag's top left corner: near the box, inside the canvas, on no other tag; None for none.

    Args:
        box: x1 y1 x2 y2 in pixels of the canvas.
        tag, canvas: width and height.
        tags: x1 y1 x2 y2 of the tags placed so far.
        below: prefer positions below the box to those above it.
    """
    x1, y1, x2, y2 = box
    width, height = tag
    rows = range(3)
    above = [(x, y1 - (row + 1) * height) for row in rows for x in (x1, x2 - width)]
    under = [(x, y2 + row * height) for row in rows for x in (x1, x2 - width)]
    inside = [(x, y) for y in range(y1, y2 - height, height) for x in (x1, x2 - width)]
    beside = [(x2, y) for y in range(y1, max(y2, y1 + 1), height)]
    beside += [(x1 - width, y) for y in range(y1, max(y2, y1 + 1), height)]
    candidates = np.array([*(under + above if below else above + under), *inside, *beside])
    # Moving a tag sideways keeps it at its box's edge; moving it up or down does not, and costs.
    corners = np.clip(candidates, 0, np.maximum(np.subtract(canvas, tag), 0))
    others = np.array(tags, int).reshape(-1, 4)
    overlap = np.minimum(corners[:, None] + tag, others[:, 2:])
    overlap -= np.maximum(corners[:, None], others[:, :2])
    covered = np.maximum(overlap, 0).prod(axis=2).sum(axis=1)
    cost = abs(corners - candidates).astype(np.float64)[:, 1]
    cost[covered > 0] = np.inf
    if np.isinf(cost).all():
        return None
    x, y = corners[cost.argmin()].tolist()
    return x, y
