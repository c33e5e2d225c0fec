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
from ..errors import InputError, refuse_rows
from ..tables import Detections, Tubes
from ..text_files import read_csv
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions

_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "action", "person or score")


class AvaFormat(AnnotationFormat):
    """AVA's CSV files."""

    name = "AVA's CSV"

    def matches(self, path: Path) -> bool:
        """Whether a CSV file's first row has seven or eight values and is not a header."""
        if path.suffix != ".csv" or not path.is_file():
            return False
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = next(csv.reader([file.readline(10_000)]), [])
        return len(first) in (7, 8) and "video" not in first and "frame" not in first

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        tubes = read_ava_ground_truth(path)
        return GroundTruth(path=path, tubes=tubes, box_unit="fraction", frame_unit="second")

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_ava_detections(path)


def read_ava_ground_truth(path: Path) -> Tubes:
    """Reads ava_val_v2.2.csv or a file like it.

    Args:
        path: eight columns, the last a person's number within the video.

    Returns:
        one tube for each person and action. Labels are the action numbers as text.

    Raises:
        InputError: a row has another form.

    Warns:
        how many rows have no box or action.
    """
    columns, last, row_numbers = _read_rows(path)
    keys = np.stack([columns["video"], last.astype(np.int64), columns["label"]], axis=1)
    tube = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    tubes = Tubes(**columns, tube=tube.astype(np.int64))
    order = np.lexsort((tubes.frame, tubes.tube))
    same = (np.diff(tubes.tube[order]) == 0) & (np.diff(tubes.frame[order]) == 0)
    if same.any():
        row = row_numbers[order[int(np.argmax(same)) + 1]]
        raise InputError(
            f"{path}: row {row}: repeats an action of the same person in the same second"
        )
    return tubes


def read_ava_detections(path: Path) -> Detections:
    """Reads detections for AVA: eight columns, the last a score from 0 to 1.

    Raises:
        InputError: a row that is not of that form.
    """
    columns, score, row_numbers = _read_rows(path)
    bad = (score < 0) | (score > 1)
    refuse_rows(bad, path, "score must be between 0 and 1", row_numbers)
    return Detections(**columns, score=score)


def _read_rows(path: Path) -> tuple[dict[str, Any], np.ndarray, list[int]]:
    """The columns of a table, the last value of each row, and the rows' numbers in the file."""
    rows, numbers, incomplete = [], [], 0
    for number, row in enumerate(read_csv(path), 1):
        if len(row) != 8:
            raise InputError(
                f"{path}: row {number}: has {len(row)} columns instead of {len(_COLUMNS)} "
                f"({', '.join(_COLUMNS)})"
            )
        if not all(row[2:7]):
            incomplete += 1
            continue
        rows.append(row)
        numbers.append(number)
    if incomplete:
        warnings.warn(f"{path}: ignoring {incomplete} rows without a box or action", stacklevel=3)
    values = np.empty((len(rows), 6))
    for i, row in enumerate(rows):
        try:
            values[i] = [float(row[j]) for j in (1, 2, 3, 4, 5, 7)]
        except ValueError:
            raise InputError(
                f"{path}: row {numbers[i]}: contains text where a number belongs"
            ) from None
    boxes = values[:, 1:5]
    second = values[:, 0]
    refuse_rows(~np.all(np.isfinite(values), axis=1), path, "contains NaN or infinity", numbers)
    refuse_rows(has_swapped_corners(boxes), path, "x2 < x1 or y2 < y1", numbers)
    bad = (second < 0) | (second % 1 != 0)
    refuse_rows(bad, path, "the second must be a whole number of 0 or more", numbers)
    video_names, video = np.unique([row[0] for row in rows], return_inverse=True)
    actions = sorted({row[6] for row in rows}, key=lambda name: (len(name), name))
    place = {name: index for index, name in enumerate(actions)}
    columns = {
        "video": video.astype(np.int32),
        "frame": second.astype(np.int32),
        "label": np.array([place[row[6]] for row in rows], np.int32),
        "boxes": boxes.copy(),
        "video_names": tuple(map(str, video_names)),
        "label_names": tuple(actions),
    }
    return columns, values[:, 5].copy(), numbers
