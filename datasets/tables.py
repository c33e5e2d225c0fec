"""The three tables that all parts of the project exchange, and their files.

Conventions, stated here once:

* Frames count from 0.
* Boxes are float (x1, y1, x2, y2) in pixels of the original video, as the data set's own files
  give them. Whether a box of x1 = x2 has width 0 or 1 is a rule of the evaluation protocol.
* On disk a table is a Parquet or CSV file with just the columns named below; `video` and `label`
  are strings there. In memory they are integer codes into a tuple of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from .errors import InputError, more_rows

# Frames of a tube: video code, label code, (n, 5) frame from 0 and box, tube score or None.
TubeRows = tuple[int, int, np.ndarray, float | None]

BOX_COLUMNS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class Detections:
    """Scored, labelled boxes, one row each, R rows in all.

    Attributes:
        video: (R,) int32, index into `unique_names`.
        frame: (R,) int32, counted from 0.
        label: (R,) int32, index into `label_names`.
        score: (R,) float64, 0 to 1.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        video_names: names that `video` indexes; a name may have no row.
        label_names: names that `label` indexes; a name may have no row.
    """

    video: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    boxes: np.ndarray
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True, eq=False)
class Tubes:
    """Boxes grouped into tubes, one row a box, R in all. Ground truth is `Tubes` without scores.

    Attributes:
        video: (R,) int32, index into `unique_names`.
        frame: (R,) int32, counted from 0; at most one row for a frame of a tube.
        label: (R,) int32, index into `label_names`; the same in all rows of a tube.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        tube: (R,) int64, the tube's number, unique in the table.
        video_names: names that `video` indexes; a name may have no row.
        label_names: names that `label` indexes; a name may have no row.
        score: (R,) float64, the box's own score, or None.
        tube_score: (R,) float64, the same in all rows of a tube, or None.
    """

    video: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    tube: np.ndarray
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]
    score: np.ndarray | None = None
    tube_score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True, eq=False)
class Videos:
    """One row a video, V rows in all.

    Attributes:
        video: names, relative to the data set's folder, without extension.
        num_frames: (V,) int64.
        width, height: (V,) int64, pixels as shown (after the rotation flag).
        fps: (V,) float64, mean frames per second; NaN where unknown.
        split: one string each, such as "train" or "test"; "" where there is none.
    """

    video: tuple[str, ...]
    num_frames: np.ndarray
    width: np.ndarray
    height: np.ndarray
    fps: np.ndarray
    split: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.video)


AnyTable = TypeVar("AnyTable", Detections, Tubes, Videos)


Rows = TypeVar("Rows")


def select_rows(table: Rows, rows: np.ndarray) -> Rows:
    """The table with only some rows, or with its rows in another order; all names stay.

    Args:
        table: detections, tubes, or another dataclass of columns.
        rows: (R,) bool, or row numbers.
    """
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    columns = {
        name: values for name, values in vars(table).items() if isinstance(values, np.ndarray)
    }
    # np.take, for it is several times as fast as indexing for boxes.
    return replace(table, **{name: values.take(rows, axis=0) for name, values in columns.items()})  # type: ignore[type-var]


def concatenate(tables: Sequence[Detections] | Sequence[Tubes]) -> Detections | Tubes:
    """Several tables of one kind, one after the other; tubes are numbered anew in that order."""
    first = tables[0]
    joined: dict[str, Any] = {}
    for column in ("video", "label"):
        names = sorted({name for table in tables for name in getattr(table, f"{column}_names")})
        place = {name: code for code, name in enumerate(names)}
        codes = [
            np.array([place[name] for name in getattr(table, f"{column}_names")], np.int32)
            for table in tables
        ]
        parts = [new[getattr(table, column)] for new, table in zip(codes, tables)]
        joined[column], joined[f"{column}_names"] = np.concatenate(parts), tuple(names)
    for column in ("frame", "boxes", "score", "tube_score"):
        if getattr(first, column, None) is not None:
            joined[column] = np.concatenate([getattr(table, column) for table in tables])
    if isinstance(first, Tubes):
        numbers, used = [], 0
        for table in tables:
            assert isinstance(table, Tubes)
            known, number = np.unique(table.tube, return_inverse=True)
            numbers.append(number.astype(np.int64) + used)
            used += len(known)
        joined["tube"] = np.concatenate(numbers)
    return type(first)(**joined)


@dataclass(frozen=True, eq=False)
class Tubelets:
    """Boxes on K frames in a row, one score each. Detections are tubelets of K = 1.

    Attributes:
        video: (R,) int32, index into `unique_names`.
        frame: (R,) int32, the first of the K, from 0.
        label: (R,) int32, index into `label_names`.
        score: (R,) float64.
        boxes: (R, K, 4) float64, x1 y1 x2 y2 in pixels.
        video_names, label_names: the names.
    """

    video: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray
    boxes: np.ndarray
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]

    def as_detections(self) -> Detections:
        """Every box by itself, with its tubelet's score."""
        length = self.boxes.shape[1]
        frame = self.frame[:, None] + np.arange(length, dtype=np.int32)
        return Detections(
            *(np.repeat(self.video, length), frame.reshape(-1), np.repeat(self.label, length)),
            np.repeat(self.score, length),
            self.boxes.reshape(-1, 4),
            self.video_names,
            self.label_names,
        )


def tubes_from_rows(
    entries: Sequence[TubeRows], video_names: tuple[str, ...], label_names: tuple[str, ...]
) -> Tubes:
    """One table of many tubes, numbered from 0 in their order.

    Args:
        entries: (video, label, (n, 5) frame and box, score) each; all scores or none.
        video_names, label_names: what the first two index.
    """
    lengths = np.array([len(rows) for _, _, rows, _ in entries], np.int64)
    rows = np.concatenate([np.empty((0, 5)), *(rows for _, _, rows, _ in entries)])

    def spread(values: Iterable[Any], dtype: type) -> np.ndarray:
        return np.repeat(np.fromiter(values, dtype, len(entries)), lengths)

    scores = [score for _, _, _, score in entries]
    return Tubes(
        video=spread((video for video, _, _, _ in entries), np.int32),
        frame=rows[:, 0].astype(np.int32),
        label=spread((label for _, label, _, _ in entries), np.int32),
        boxes=rows[:, 1:5].astype(np.float64),
        tube=spread(range(len(entries)), np.int64),
        video_names=video_names,
        label_names=label_names,
        tube_score=None if None in scores else spread(scores, np.float64),
    )


def detections_from_rows(
    rows: np.ndarray, videos: tuple[str, ...], labels: tuple[str, ...], source: str
) -> Detections:
    """(N, 8) video, frame from 0, label, score, x1, y1, x2, y2 as a table; checked."""
    finite = np.isfinite(rows).all(axis=1)
    for bad, why in (
        (~finite, "a value is NaN or infinite"),
        (
            (rows[:, 0] < 0) | (rows[:, 0] >= len(videos)),
            f"the video number must be 0 to {len(videos) - 1}",
        ),
        (rows[:, 1] < 0, "frame must be 1 or more"),
        (
            (rows[:, 2] < 0) | (rows[:, 2] >= len(labels)),
            f"the label number must be 0 to {len(labels) - 1}",
        ),
        ((rows[:, 3] < 0) | (rows[:, 3] > 1), "score must be between 0 and 1"),
        ((rows[:, 6] < rows[:, 4]) | (rows[:, 7] < rows[:, 5]), "x2 < x1 or y2 < y1"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"{source}: row {row + 1}{more_rows(int(bad.sum()))}: {why}: {rows[row].tolist()}"
            )
    return Detections(
        video=rows[:, 0].astype(np.int32),
        frame=rows[:, 1].astype(np.int32),
        label=rows[:, 2].astype(np.int32),
        score=rows[:, 3].copy(),
        boxes=rows[:, 4:8].copy(),
        video_names=videos,
        label_names=labels,
    )
