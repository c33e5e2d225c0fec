"""What every table of boxes must fulfil, whatever file it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .box_coordinates import has_swapped_corners
from .errors import InputError, more_rows
from .tables import Actions, AnyTable, Column, Detections, Tracks, Tubes, Videos, table_fields

Place = Callable[[int], str]
"""How messages name a row: its number in the file, or its video and frame."""
_Faults = Iterator[tuple[np.ndarray, np.ndarray | None, str]]
"""(R,) bool, whether a row is bad; (R,) or (R, 4) its values, which
replace {} in the message; and the message."""


def check_table(table: AnyTable, source: object, *, by_number: bool = False) -> None:
    """Refuses a table that breaks the conventions of its kind.

    Boxes are finite and have x1 <= x2, y1 <= y2; frames are 0 or more; scores are finite and
    between 0 and 1; labels are not empty; a tube has one box a frame, one label and one score; a
    person has one box a frame in `Tracks`; a video is listed once.

    Args:
        table: what was read.
        source: the file, for messages.
        by_number: whether messages name rows by their number, from 1, as in a file of rows; else by
            video and frame.

    Raises:
        InputError: names the first bad row and its value, and counts the others.
    """
    place: Place = (lambda row: f"row {row + 1}") if by_number else row_place(table)
    for bad, values, rule in _faults(table):
        if bad.any():
            row = int(bad.argmax())
            value = "" if values is None else _shown(values[row])
            more = more_rows(int(bad.sum()))
            raise InputError(f"{source}: {place(row)}{more}: {rule.replace('{}', value)}")


def _shown(value: np.ndarray | float | str) -> str:
    if isinstance(value, str):
        return value
    return " ".join(f"{number:g}" for number in np.atleast_1d(value))


def row_place(table: AnyTable) -> Place:
    """Names the rows of a table by video and frame."""

    def place(row: int) -> str:
        if isinstance(table, Videos):
            return f"video {table.video[row]}"
        frame = "" if isinstance(table, Actions) else f", frame {table.frame[row]}"
        return f"video {table.video_names[table.video[row]]}{frame}"

    return place


def as_integers(values: np.ndarray, dtype: type, what: str, source: object) -> np.ndarray:
    """Numbers as integers of a type, none of them rounded or cut to fit.

    Args:
        values: of any numeric type and shape.
        dtype: of the result, such as np.int32.
        what: what one of them is, for messages.
        source: the file, perhaps with the entry.

    Raises:
        InputError: a number is not finite, not whole, or does not fit.
    """
    values = np.asarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        integers: np.ndarray = values.astype(dtype)
        bad = integers != values
    if bad.any():
        value = values[bad].reshape(-1)[0]
        is_whole = np.isfinite(value) and value % 1 == 0
        why = "too large or too small" if is_whole else "not a whole number"
        raise InputError(f"{source}: {what} {value:.15g} is {why}")
    return integers


def _faults(table: AnyTable) -> _Faults:
    for each, column in table_fields(type(table)).items():
        values = getattr(table, each.name)
        if each.name == "boxes":
            yield ~np.isfinite(values).all(axis=1), values, "the box {} is not finite"
            why = "x2 < x1 or y2 < y1 in {}; write corners x1, y1, x2, y2, not x, y, width, height"
            yield has_swapped_corners(values), values, why
        elif isinstance(values, np.ndarray) and column.dtype is not None:
            yield from _out_of_range(each.name, values, column)
        elif isinstance(values, np.ndarray):
            names = getattr(table, f"{each.name}_names")
            blank = [code for code, text in enumerate(names) if not text.strip()]
            yield np.isin(values, blank), None, f"{each.name} is empty"
    if isinstance(table, Tubes):
        yield from _group_faults(table, (table.tube,), "tube", ("label", "tube_score", "person"))
    elif isinstance(table, Tracks):
        yield from _group_faults(table, (table.person, table.video), "person", ())
    elif isinstance(table, Actions):
        bad = (table.end < table.start) | (table.last_frame < table.first_frame)
        yield bad, None, "the action ends before it starts"
    elif isinstance(table, Videos):
        repeated = np.ones(len(table), bool)
        repeated[np.unique(table.video, return_index=True)[1]] = False
        yield repeated, np.array(table.video, object), "video {} is listed twice"


def _out_of_range(name: str, values: np.ndarray, column: Column) -> _Faults:
    bad = np.isinf(values) if column.default is not None else ~np.isfinite(values)
    yield bad, values, f"{name} is {{}}"
    least, most = column.least, column.most
    if column.above is not None:
        yield (
            values <= column.above,
            values,
            f"{name} must be greater than {column.above}, not {{}}",
        )
    if least is not None and most is not None:
        bad = (values < least) | (values > most)
        yield bad, values, f"{name} must be between {least} and {most}, not {{}}"
    elif least is not None:
        bad = (values < least) & (column.is_written | (values != column.default))
        yield bad, values, f"{name} must be {least} or more, not {{}}"


def _group_faults(
    table: Tubes | Tracks, keys: tuple[np.ndarray, ...], group: str, constant: tuple[str, ...]
) -> _Faults:
    """A second box of a tube or person on a frame, and values that differ within a tube."""
    sort = np.lexsort((table.frame, *keys))
    # Most files are sorted, and a slice copies nothing.
    order = slice(None) if (sort[1:] > sort[:-1]).all() else sort
    same = np.all([np.diff(key[order]) == 0 for key in keys], axis=0)

    def rows(differs: np.ndarray) -> np.ndarray:
        bad = np.zeros(len(table), bool)
        bad[order] = np.append(False, same & differs)
        return bad

    why = f"this {group} has this frame twice; a {group} has one box a frame"
    yield rows(np.diff(table.frame[order]) == 0), None, why
    for name in constant:
        values = getattr(table, name)
        if values is not None:
            why = f"{name} must be the same in all rows of a tube"
            yield rows(np.diff(values[order]) != 0), None, why


def detections_from_rows(
    rows: np.ndarray,
    videos: tuple[str, ...],
    labels: tuple[str, ...],
    source: str | Callable[[int], str],
) -> Detections:
    """Makes a table of rows, and checks them.

    Args:
        rows: (N, 8) video, frame from 0, label, score, x1, y1, x2, y2.
        videos, labels: the names that video and label index.
        source: the file, for messages that number the rows from 1; or a function that names a row.

    Raises:
        InputError: a row with an unknown video or label, or with another invalid value.
    """
    whole = rows[:, :3]
    for bad, why in (
        (~np.isfinite(rows).all(axis=1), "a value is NaN or infinite"),
        ((whole % 1 != 0).any(axis=1), "video, frame and label must be whole numbers"),
        (
            (rows[:, 0] < 0) | (rows[:, 0] >= len(videos)),
            f"the video number must be 0 to {len(videos) - 1}",
        ),
        (rows[:, 1] < 0, "the frame is before the first of the video"),
        (rows[:, 1] > np.iinfo(np.int32).max, "the frame number is too large"),
        (
            (rows[:, 2] < 0) | (rows[:, 2] >= len(labels)),
            f"the label number must be 0 to {len(labels) - 1}",
        ),
        ((rows[:, 3] < 0) | (rows[:, 3] > 1), "score must be between 0 and 1"),
        (has_swapped_corners(rows[:, 4:]), "x2 < x1 or y2 < y1"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            place = source(row) if callable(source) else f"{source}: row {row + 1}"
            raise InputError(f"{place}{more_rows(int(bad.sum()))}: {why}: {rows[row].tolist()}")
    return Detections(
        video=rows[:, 0].astype(np.int32),
        frame=rows[:, 1].astype(np.int32),
        label=rows[:, 2].astype(np.int32),
        score=rows[:, 3].copy(),
        boxes=rows[:, 4:8].copy(),
        video_names=videos,
        label_names=labels,
    )
