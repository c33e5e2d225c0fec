"""What a person wants to know of a data set before training on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..tables import Tubes
from ..video.media import probe_video
from .detection_set import DetectionSet

_DEFAULT_FPS = 25.0


def summarize_sets(train: DetectionSet, test: DetectionSet) -> list[str]:
    """Lines on videos, persons, stretches and seconds of each class, and sizes of boxes.

    Args:
        train, test: of `open_detection_sets`; they may be one set.
    """
    same = train.names == test.names
    parts = {"all videos": train} if same else {"training": train, "test": test}
    rates = {name: _rates(part) for name, part in parts.items()}
    lines = [_size_line(name, part, rates[name]) for name, part in parts.items()]
    lines.append("")
    header = ("class", *(f"{word}, {name}" for name in parts for word in ("stretches", "seconds")))
    rows = [header]
    for code, label in enumerate(train.labels):
        cells = [label]
        for name, part in parts.items():
            own = part.tubes.label == code
            seconds = _seconds(part, own, rates[name]).sum()
            cells += [str(len(np.unique(part.tubes.tube[own]))), f"{seconds:.1f}"]
        rows.append(tuple(cells))
    lines += _columns(rows)
    lines += ["", *(_box_line(name, part) for name, part in parts.items() if len(part.tubes))]
    return lines


def _rates(part: DetectionSet) -> np.ndarray:
    """(V,) frames a second, 25 where a folder of frames does not say."""
    rates = np.array([probe_video(path).fps for path in part.media], np.float64)
    return np.where(np.isfinite(rates) & (rates > 0), rates, _DEFAULT_FPS)


def _size_line(name: str, part: DetectionSet, rates: np.ndarray) -> str:
    tubes = part.tubes
    minutes = (part.num_frames / rates).sum() / 60
    empty = len(part.names) - len(np.unique(tubes.video))
    words = [f"{len(part.names)} videos ({minutes:.1f} min)"]
    if empty:
        words.append(f"{empty} of them without a box")
    persons = _persons(tubes)
    words += [f"{persons} persons"] * (persons > 0)
    words += [f"{len(np.unique(tubes.tube))} stretches", f"{len(tubes)} boxes"]
    if part.annotated_frames is not None:
        words.append(f"{len(part.annotated_frames)} annotated frames")
    return f"{name}: {', '.join(words)}"


def _persons(tubes: Tubes) -> int:
    if tubes.person is None:
        return 0
    return len(np.unique(np.stack([tubes.video, tubes.person], axis=1), axis=0))


def _seconds(part: DetectionSet, rows: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The seconds of each stretch: from its first box to the end of the frame of its last one."""
    tubes = part.tubes
    _, group = np.unique(tubes.tube[rows], return_inverse=True)
    count = int(group.max(initial=-1)) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, group, tubes.frame[rows])
    np.maximum.at(last, group, tubes.frame[rows])
    rate = np.ones(count)
    rate[group] = rates[tubes.video[rows]]
    seconds: np.ndarray = (last + 1 - first) / rate
    return seconds


def _box_line(name: str, part: DetectionSet) -> str:
    boxes = part.tubes.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    low, middle, high = (np.quantile(sides, share, axis=0) for share in (0.05, 0.5, 0.95))
    share = np.median(sides[:, 1] / part.height[part.tubes.video])
    return (
        f"boxes, {name}: median {middle[0]:.0f}x{middle[1]:.0f} pixels (width x height), nine of "
        f"ten from {low[0]:.0f}x{low[1]:.0f} to {high[0]:.0f}x{high[1]:.0f}; median height "
        f"{share:.0%} of the frame"
    )


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
