"""AVA's CSV files without a header: ground truth and detections on key frames.

A row is video, second, x1, y1, x2, y2 (fractions of the frame), action, and a person's number or a
score. The second becomes the table's `frame`, and boxes stay fractions, which protocols with
continuous boxes score as they are.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..box_coordinates import has_swapped_corners
from ..checks import as_integers
from ..errors import InputError, refuse_rows
from ..storage.text_files import read_csv
from ..tables import Detections, Tubes
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions

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
        tubes = read_ava_ground_truth(path)
        return GroundTruth(path=path, tubes=tubes, box_unit="fraction", frame_unit="second")

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_ava_detections(path)


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


def _read_rows(path: Path) -> tuple[dict[str, Any], np.ndarray, list[int]]:
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
    if without_box:
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
