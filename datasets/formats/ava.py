"""AVA's CSV files without a header: ground truth and detections on key frames.

A row is video, second, x1, y1, x2, y2 (fractions of the frame), action, and a person's number or a
score. The second becomes the table's `frame`, and boxes stay fractions, which protocols with
continuous boxes score as they are; `exchange/seconds.py` makes frames and pixels of them.
"""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..box_coordinates import has_swapped_corners
from ..checks import as_integers
from ..class_list import ClassList, read_class_list
from ..errors import InputError, refuse_rows, some_of
from ..storage.files import atomic_write
from ..storage.text_files import read_csv
from ..tables import Detections, Tubes, select_rows
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .exchange.person_tracks import number_tracks

Table = TypeVar("Table", Detections, Tubes)

_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "action", "person or score")
_BOX = slice(2, 6)
_BOX_NAMES = (["x1", "y1", "x2", "y2"], ["xmin", "ymin", "xmax", "ymax"])
"""What a header may call the corners, without underscores."""
_MAX_FRACTION = 2.0
"""Boxes that reach further than this are in pixels: a detector's are outside the frame by less."""


class AvaFormat(AnnotationFormat):
    """AVA's CSV files."""

    name = "AVA's CSV"

    def matches(self, path: Path) -> bool:
        """Whether a CSV file's first row is of AVA's seven or eight columns, or their header."""
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        return _separator(path) is not None

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        classes = options.classes or _own_classes(path)
        tubes = name_classes(read_ava_ground_truth(path), classes, path)
        return GroundTruth(
            path=path, tubes=tubes, box_unit="fraction", frame_unit="second", classes=classes
        )

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return name_classes(read_ava_detections(path), options.classes or _own_classes(path), path)


def holds_scores(path: Path) -> bool:
    """Whether the last column of a file has scores, and not persons."""
    last = _read_rows(path, quiet=True)[1]
    return any(_is_number(text) and float(text or 0) % 1 != 0 for text in last)


def _own_classes(path: Path) -> ClassList | None:
    """The label map beside a file, of the same name with .pbtxt."""
    file = path.with_suffix(".pbtxt")
    return read_class_list(file) if file.is_file() else None


def name_classes(table: Table, classes: ClassList | None, path: Path) -> Table:
    """The table with the names of the classes; AVA's lists name those that count.

    Args:
        table: its label names are numbers as text.
        classes: None changes nothing.
        path: for messages.

    Warns:
        how many rows are of classes that are not listed, which are left out.
    """
    if classes is None or not all(name.isdecimal() for name in table.label_names):
        return table
    by_number = classes.by_number()
    numbers = [int(name) for name in table.label_names]
    if classes.numbers is None and 0 not in numbers:
        by_number = {number + 1: name for number, name in by_number.items()}
    names = list(dict.fromkeys(by_number.values()))
    codes = np.array([names.index(by_number[each]) if each in by_number else -1
                      for each in numbers] or [-1], np.int32)  # fmt: skip
    label = codes[table.label]
    if (bad := label < 0).any():
        unlisted = some_of(number for number in numbers if number not in by_number)
        warnings.warn(
            f"{path}: leaving out {int(bad.sum())} of {len(bad)} rows of classes that "
            f"{classes.source} does not list ({unlisted})",
            stacklevel=4,
        )
    kept = select_rows(table, ~bad)
    return replace(kept, label=label[~bad], label_names=tuple(names))


def write_ava(
    table: Detections | Tubes, path: Path, classes: ClassList | None = None
) -> list[Path]:
    """Writes a table as AVA's CSV, and its label map beside it, of the same name with .pbtxt.

    Args:
        table: frames are seconds, boxes fractions of the frame. Without scores, the last column is
            the person (or the tube, where persons are not known); with them, the score.
        path: the CSV file.
        classes: the numbers of the classes; without them, classes are numbered from 1.

    Warns:
        what the file cannot hold.
    """
    numbers = _class_numbers(table.label_names, classes)
    score = None if isinstance(table, Tubes) and table.score is None else table.score
    if isinstance(table, Tubes):
        lost = [name for name in ("tube_score",) if getattr(table, name) is not None]
        lost += ["tube", "person"] if score is not None else []
        if lost:
            warnings.warn(f"{path}: AVA has no {', no '.join(lost)}; left out", stacklevel=3)
    if score is not None:
        last = [repr(float(each)) for each in score]
    else:
        assert isinstance(table, Tubes)
        last = [str(number - 1) for number in number_tracks(table, path, one_box=False)]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        for row, end in enumerate(last):
            box = [repr(float(side)) for side in table.boxes[row]]
            name = table.video_names[table.video[row]]
            number = numbers[table.label[row]]
            writer.writerow([name, f"{table.frame[row]:04d}", *box, number, end])
    label_map = path.with_suffix(".pbtxt")
    with atomic_write(label_map) as temporary:
        names = (re.sub(r'(["\\])', r"\\\1", name) for name in table.label_names)
        items = (
            f'item {{\n  name: "{name}"\n  id: {number}\n}}\n'
            for name, number in zip(names, numbers)
        )
        temporary.write_text("".join(items), encoding="utf-8")
    return [path, label_map]


def _class_numbers(names: tuple[str, ...], classes: ClassList | None) -> list[int]:
    if classes is not None:
        known = {name: number for number, name in classes.by_number().items()}
        if set(names) <= set(known) and 0 not in known.values():
            return [known[name] for name in names]
    if all(name.isdecimal() and name == str(int(name)) for name in names):
        return [int(name) for name in names]
    return list(range(1, len(names) + 1))


def read_ava_ground_truth(path: Path) -> Tubes:
    """Reads ava_val_v2.2.csv or a file like it.

    Args:
        path: eight columns, the last a person's number within the video, or another name for them.

    Returns:
        one tube for each person and action. Labels are the action numbers as text.

    Raises:
        InputError: a row has another form.

    Warns:
        how many rows have no box or action.
    """
    columns, last, numbers = _read_rows(path)
    persons, person = _number_names(last)
    is_score = np.array([_is_number(text) and float(text) % 1 != 0 for text in persons], bool)
    why = "the last column must be a person, not a score; are these detections?"
    refuse_rows(is_score[person], path, why, numbers)
    keys = np.stack([columns["video"], person, columns["label"]], axis=1)
    tube = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    tubes = Tubes(**columns, tube=tube.astype(np.int64))
    order = np.lexsort((tubes.frame, tubes.tube))
    repeated = np.zeros(len(tubes), bool)
    repeated[order[1:]] = (np.diff(tubes.tube[order]) == 0) & (np.diff(tubes.frame[order]) == 0)
    refuse_rows(repeated, path, "repeats an action of the same person in the same second", numbers)
    return tubes


def read_ava_detections(path: Path) -> Detections:
    """Reads detections for AVA: eight columns, the last a score from 0 to 1.

    Raises:
        InputError: a row that is not of that form.
    """
    columns, last, numbers = _read_rows(path)
    score = _as_numbers(last[:, None], ("score",), path, numbers)[:, 0]
    bad = ~((score >= 0) & (score <= 1))
    refuse_rows(bad, path, "score must be between 0 and 1", numbers)
    if (score == 0).any() and (score % 1 == 0).all():
        raise InputError(
            f"{path}: all scores are 0 or 1, so the last column seems to be a person; is this the "
            "ground truth?"
        )
    return Detections(**columns, score=score)


def _read_rows(path: Path, quiet: bool = False) -> tuple[dict[str, Any], np.ndarray, list[int]]:
    """The columns of a table, the last value of each row, and the rows' numbers in the file."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    without_box: list[int] = []
    separator = _separator(path) or ","
    for number, cells in enumerate(read_csv(path, separator), 1):
        row = [cell.strip() for cell in cells]
        if separator != ",":
            row[1:6] = [cell.replace(",", ".") for cell in row[1:6]]
            row[7:] = [cell.replace(",", ".") for cell in row[7:]]
        if not any(row) or (not rows and not without_box and _is_header(row)):
            continue
        if len(row) != len(_COLUMNS):
            raise InputError(
                f"{path}: row {number}: has {len(row)} columns instead of {len(_COLUMNS)} "
                f"({', '.join(_COLUMNS)})"
            )
        if not any(row[2:7]):
            without_box.append(number)
            continue
        rows.append(row)
        numbers.append(number)
    if without_box and not quiet:
        count = len(without_box)
        warnings.warn(
            f"{path}: ignoring {count} row{'s' * (count > 1)} without a box or action; the first "
            f"is row {without_box[0]}",
            stacklevel=3,
        )
    table = np.array(rows, object).reshape(-1, len(_COLUMNS))
    empty = table == ""
    for name, is_empty in zip(_COLUMNS, empty.T):
        refuse_rows(is_empty, path, f"{name} is empty", numbers)
    values = _as_numbers(table[:, 1:6], _COLUMNS[1:6], path, numbers)
    second, boxes = values[:, 0], values[:, 1:]
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(second)
    for bad, why in (
        (~finite, "contains NaN or infinity"),
        (has_swapped_corners(boxes), "x2 < x1 or y2 < y1"),
        ((second < 0) | (second % 1 != 0), "the second must be a whole number of 0 or more"),
    ):
        refuse_rows(bad, path, why, numbers)
    video_names, video = np.unique(table[:, 0], return_inverse=True)
    label_names, label = _number_names(table[:, 6])
    columns = {
        "video": video.reshape(-1).astype(np.int32),
        "frame": as_integers(second, np.int32, "the second", path),
        "label": label,
        "boxes": boxes.copy(),
        "video_names": tuple(video_names),
        "label_names": label_names,
    }
    return columns, table[:, 7], numbers


def _as_numbers(
    cells: np.ndarray, names: tuple[str, ...], path: Path, numbers: list[int]
) -> np.ndarray:
    """Texts (R, C) in columns of these names as (R, C) float64; `numbers` are the rows' own."""
    try:
        return cells.astype(np.float64)
    except ValueError:
        for name, column in zip(names, cells.T):
            bad = np.array([not _is_number(text) for text in column], bool)
            refuse_rows(bad, path, f"{name} must be a number", numbers)
        raise


def _number_names(texts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The different texts, numbers in their order and shortest form, and each text's code."""
    plain = {text: _plain_number(text) for text in set(texts)}
    names = sorted(set(plain.values()), key=lambda name: (len(name), name))
    place = {name: i for i, name in enumerate(names)}
    return tuple(names), np.array([place[plain[text]] for text in texts], np.int32)


def _separator(path: Path) -> str | None:
    """The character between the columns, by the first row; None where it is not AVA's."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line for line in iter(lambda: file.readline(10_000), "") if line.strip())
        first = next(lines, "")
    for separator in ",;\t":
        row = next(csv.reader([first], delimiter=separator), [])
        if separator != ",":
            row = [cell.replace(",", ".") for cell in row]
        if _is_header(row) or (len(row) in (7, 8) and all(map(_is_number, row[1:6]))):
            return separator
    return None


def _is_header(row: list[str]) -> bool:
    """Whether the row has AVA's columns by name; our own tables have a column `frame`."""
    names = [cell.strip().lower().replace("_", "") for cell in row]
    return len(row) == len(_COLUMNS) and names[_BOX] in _BOX_NAMES and "frame" not in names


def _is_number(text: str) -> bool:
    """Whether a cell is a number or empty."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _plain_number(text: str) -> str:
    """A whole number in its shortest form, as 12 for 012 and 12.0; other text as it is."""
    if _is_number(text) and float(text) % 1 == 0:
        return f"{float(text):.0f}"
    return text
