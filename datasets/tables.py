"""The tables that all parts of the project exchange, one dataclass each.

Conventions:

* Frames count from 0.
* Boxes are float (x1, y1, x2, y2) in pixels of the original video, as the data set's own files
  give them. Whether a box of x1 = x2 has width 0 or 1 is a choice of the evaluation protocol.
* A person is a whole number from 1, unique in its video: one human being, whatever they do.
* In memory, names of videos and labels are integer codes into a tuple of names.
* A file has one column for each field below, in this order, with names written out and boxes as
  x1, y1, x2, y2. The fields' metadata say what a file's column holds; `table_io` reads and writes
  by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np

TubeRows = tuple[int, int, np.ndarray, float | None]
"""A tube: video code, label code, (n, 5) frame from 0 and box, tube score or None."""

BOX_COLUMNS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Column:
    """What a file's column holds.

    Attributes:
        dtype: of the numbers; None for names (text that is coded in memory), and str for text that
            is not.
        least, most: the limits of the numbers.
        above: a limit that the numbers must exceed.
        default: what stands in memory for a missing value, or a missing column.
        is_written: whether the default is written; else the file has no value there.
        any_text: text is taken for a number, and numbered.
    """

    dtype: type | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    default: Any = None
    is_written: bool = True
    any_text: bool = False


def _column(*args: Any, **options: Any) -> dict[str, Column]:
    return {"column": Column(*args, **options)}


_NAMES = _column()
_FRAME = _column(np.int32, least=0, most=100_000_000)  # 38 days at 30 frames a second
_PERSON = _column(np.int32, least=1, any_text=True)
_PERSON_OR_NOBODY = _column(np.int32, least=1, default=-1, is_written=False, any_text=True)
_SECONDS = _column(np.float64, default=np.nan, is_written=False)
_FINITE = _column(np.float64)
_SCORE = _column(np.float64, least=0, most=1)
_COUNT = _column(np.int64, least=1, most=100_000_000)
_TRACK = _column(np.int64, default=-1, any_text=True)


class _Rows:
    """A table, whose length is the number of its rows."""

    video: Sequence[str] | np.ndarray

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True, eq=False)
class Detections(_Rows):
    """Scored, labelled boxes, one row each, R rows in all.

    Attributes:
        video: (R,) int32, index into `video_names`.
        frame: (R,) int32, counted from 0.
        label: (R,) int32, index into `label_names`.
        score: (R,) float64, 0 to 1.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        video_names: names that `video` indexes; a name may have no row.
        label_names: names that `label` indexes; a name may have no row.
        person: (R,) int32, -1 for a box of nobody who was followed; or None where persons are not
            known.
    """

    video: np.ndarray = field(metadata=_NAMES)
    frame: np.ndarray = field(metadata=_FRAME)
    label: np.ndarray = field(metadata=_NAMES)
    score: np.ndarray = field(metadata=_SCORE)
    boxes: np.ndarray = field(metadata=_FINITE)
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]
    person: np.ndarray | None = field(default=None, kw_only=True, metadata=_PERSON_OR_NOBODY)


@dataclass(frozen=True, eq=False)
class Tubes(_Rows):
    """Boxes grouped into tubes, one row a box, R in all. Ground truth is `Tubes` without scores.

    Attributes:
        video: (R,) int32, index into `video_names`.
        frame: (R,) int32, counted from 0; at most one row for a frame of a tube.
        label: (R,) int32, index into `label_names`; the same in all rows of a tube.
        score: (R,) float64, 0 to 1, the box's own score, or None.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        tube: (R,) int64, the tube's number, unique in the table.
        tube_score: (R,) float64, 0 to 1, the same in all rows of a tube, or None.
        video_names: names that `video` indexes; a name may have no row.
        label_names: names that `label` indexes; a name may have no row.
        person: (R,) int32, or None where persons are not known.
    """

    video: np.ndarray = field(metadata=_NAMES)
    frame: np.ndarray = field(metadata=_FRAME)
    label: np.ndarray = field(metadata=_NAMES)
    score: np.ndarray | None = field(default=None, kw_only=True, metadata=_SCORE)
    boxes: np.ndarray = field(metadata=_FINITE)
    tube: np.ndarray = field(metadata=_column(np.int64, any_text=True))
    tube_score: np.ndarray | None = field(default=None, kw_only=True, metadata=_SCORE)
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]
    person: np.ndarray | None = field(default=None, kw_only=True, metadata=_PERSON)


@dataclass(frozen=True, eq=False)
class Tracks(_Rows):
    """Where each person is, whatever they do; one row a person and frame, R in all.

    Attributes:
        video: (R,) int32, index into `video_names`.
        person: (R,) int32, from 1, unique in its video.
        frame: (R,) int32, counted from 0; at most one row for a frame of a person.
        score: (R,) float64, 0 to 1, that this is a person.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        video_names: names that `video` indexes; a name may have no row.
    """

    video: np.ndarray = field(metadata=_NAMES)
    person: np.ndarray = field(metadata=_PERSON)
    frame: np.ndarray = field(metadata=_FRAME)
    score: np.ndarray = field(metadata=_SCORE)
    boxes: np.ndarray = field(metadata=_FINITE)
    video_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PersonRows(_Rows):
    """Person boxes as other programs write them; one row a box, R in all.

    Attributes:
        video: (R,) int32, index into `video_names`.
        frame: (R,) int32, counted from 0.
        score: (R,) float64, 0 to 1; 1 where the file has none.
        boxes: (R, 4) float64, x1 y1 x2 y2 in pixels.
        person, track_id, tube: (R,) int64, three names for what tells the persons of a video apart,
            -1 in a row without it; or None.
        video_names: names that `video` indexes; a name may have no row.
    """

    video: np.ndarray = field(metadata=_NAMES)
    frame: np.ndarray = field(metadata=_FRAME)
    score: np.ndarray = field(metadata=_column(np.float64, least=0, most=1, default=1.0))
    boxes: np.ndarray = field(metadata=_FINITE)
    video_names: tuple[str, ...]
    person: np.ndarray | None = field(default=None, kw_only=True, metadata=_TRACK)
    track_id: np.ndarray | None = field(default=None, kw_only=True, metadata=_TRACK)
    tube: np.ndarray | None = field(default=None, kw_only=True, metadata=_TRACK)


@dataclass(frozen=True, eq=False)
class Actions(_Rows):
    """Who does what from when to when; one row an action of a person, R in all.

    Attributes:
        video: (R,) int32, index into `video_names`.
        person: (R,) int32, from 1, unique in its video.
        label: (R,) int32, index into `label_names`.
        start, end: (R,) float64, seconds by the video's own timestamps; `end` is the end of the
            last frame. NaN where nothing says when frames are shown.
        first_frame, last_frame: (R,) int32, counted from 0.
        score: (R,) float64, 0 to 1, the probability that this person does this here.
        video_names: names that `video` indexes; a name may have no row.
        label_names: names that `label` indexes; a name may have no row.
    """

    video: np.ndarray = field(metadata=_NAMES)
    person: np.ndarray = field(metadata=_PERSON)
    label: np.ndarray = field(metadata=_NAMES)
    start: np.ndarray = field(metadata=_SECONDS)
    end: np.ndarray = field(metadata=_SECONDS)
    first_frame: np.ndarray = field(metadata=_FRAME)
    last_frame: np.ndarray = field(metadata=_FRAME)
    score: np.ndarray = field(metadata=_SCORE)
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Videos(_Rows):
    """One row a video, V rows in all.

    Attributes:
        video: names, relative to the data set's folder, without extension.
        num_frames: (V,) int64.
        width, height: (V,) int64, pixels as shown (after the rotation flag).
        fps: (V,) float64, mean frames per second; NaN where unknown.
        split: one string each, such as "train" or "test"; "" where there is none.
    """

    video: tuple[str, ...] = field(metadata=_column(str))
    num_frames: np.ndarray = field(metadata=_COUNT)
    width: np.ndarray = field(metadata=_COUNT)
    height: np.ndarray = field(metadata=_COUNT)
    fps: np.ndarray = field(metadata=_column(np.float64, above=0, default=np.nan))
    split: tuple[str, ...] = field(metadata=_column(str, default=""))


def make_videos(
    names: Sequence[str],
    num_frames: Any,
    width: Any,
    height: Any,
    fps: Any = np.nan,
    split: Sequence[str] | None = None,
) -> Videos:
    """Makes a table of V videos.

    Args:
        names: V names.
        num_frames, width, height, fps: (V,) numbers, or one number for all.
        split: V names, or None where there are no splits.
    """
    counts = {"num_frames": num_frames, "width": width, "height": height}
    return Videos(
        video=tuple(names),
        **{name: np.full(len(names), numbers, np.int64) for name, numbers in counts.items()},
        fps=np.full(len(names), fps, np.float64),
        split=("",) * len(names) if split is None else tuple(split),
    )


AnyTable = Detections | Tubes | Tracks | PersonRows | Actions | Videos
Table = TypeVar("Table", Detections, Tubes, Tracks, PersonRows, Actions, Videos)
Rows = TypeVar("Rows")


def table_fields(kind: type) -> dict[Field, Column]:
    """The fields of a table that are columns of its file, boxes as one, in the file's order."""
    return {each: each.metadata["column"] for each in fields(kind) if "column" in each.metadata}


def file_columns(kind: type, optional: bool = True) -> tuple[str, ...]:
    """The names of the columns of a table's file, with or without those that may be missing."""
    names: list[str] = []
    for each, column in table_fields(kind).items():
        if optional or (each.default is not None and column.default is None):
            names += BOX_COLUMNS if each.name == "boxes" else [each.name]
    return tuple(names)


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
    # np.take is several times as fast as indexing for boxes.
    return replace(table, **{name: values.take(rows, axis=0) for name, values in columns.items()})  # type: ignore[type-var]


def concatenate_rows(tables: Sequence[Rows]) -> Rows:
    """The rows of several tables of one kind and with the same names, one after the other.

    Args:
        tables: one at least: detections, tubes, or another dataclass of columns.
    """
    columns = [name for name, values in vars(tables[0]).items() if isinstance(values, np.ndarray)]
    joined = {name: np.concatenate([getattr(table, name) for table in tables]) for name in columns}
    return replace(tables[0], **joined)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Tubelets:
    """Boxes on K frames in a row, one score each. Detections are tubelets of K = 1.

    Attributes:
        video: (R,) int32, index into `video_names`.
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

    @classmethod
    def from_detections(cls, detections: Detections) -> Tubelets:
        """Detections as tubelets of one frame."""
        columns = {each.name: getattr(detections, each.name) for each in fields(cls)}
        return cls(**columns | {"boxes": detections.boxes[:, None]})

    def as_detections(self) -> Detections:
        """Every box by itself, with its tubelet's score."""
        length = self.boxes.shape[1]
        frame = self.frame[:, None] + np.arange(length, dtype=np.int32)
        return Detections(
            video=np.repeat(self.video, length),
            frame=frame.reshape(-1),
            label=np.repeat(self.label, length),
            score=np.repeat(self.score, length),
            boxes=self.boxes.reshape(-1, 4),
            video_names=self.video_names,
            label_names=self.label_names,
        )


def tubes_from_rows(
    entries: Sequence[TubeRows], video_names: tuple[str, ...], label_names: tuple[str, ...]
) -> Tubes:
    """Makes a table of tubes, numbered from 0 in their order.

    Args:
        entries: (video, label, (n, 5) frame and box, score) of each tube; either all have a score
            or none.
        video_names, label_names: the names that video and label index.
    """
    lengths = np.array([len(rows) for _, _, rows, _ in entries], np.int64)
    rows = np.concatenate([np.empty((0, 5)), *(rows for _, _, rows, _ in entries)])

    def repeat(values: Iterable[Any], dtype: type) -> np.ndarray:
        return np.repeat(np.fromiter(values, dtype, len(entries)), lengths)

    scores = [score for _, _, _, score in entries]
    return Tubes(
        video=repeat((video for video, _, _, _ in entries), np.int32),
        frame=rows[:, 0].astype(np.int32),
        label=repeat((label for _, label, _, _ in entries), np.int32),
        boxes=rows[:, 1:5].astype(np.float64),
        tube=repeat(range(len(entries)), np.int64),
        video_names=video_names,
        label_names=label_names,
        tube_score=None if None in scores else repeat(scores, np.float64),
    )
