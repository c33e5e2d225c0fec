"""AVA-style CSV files, which have no header: ground truth and detections on key frames.

A row is video, second, x1, y1, x2, y2 (fractions of the picture), action, and a person's number or
a score. The second becomes the table's frame, and the fractions stay fractions: protocols without
a pixel rule score them as they are.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np

from ..errors import InputError, more_rows
from ..tables import Detections, Tubes
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions

_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "action", "person or score")


class AvaFormat(AnnotationFormat):
    """AVA's CSV files."""

    name = "AVA's CSV"

    def matches(self, path: Path) -> bool:
        return path.suffix == ".csv" and path.is_file() and is_ava(path)

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        tubes = read_ava_ground_truth(path)
        return GroundTruth(path=path, tubes=tubes, box_unit="fraction", frame_unit="second")

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_ava_detections(path)


def is_ava(path: Path) -> bool:
    """Whether a CSV file's first row has eight values or so, but is no header."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first = next(csv.reader(file), [])
    return len(first) in (7, 8) and "video" not in first and "frame" not in first


def read_ava_ground_truth(path: Path) -> Tubes:
    """Reads ava_val_v2.2.csv or a file like it.

    Args:
        path: eight columns, the last a person's number within the video.

    Returns:
        one tube a person and action. Labels are the action numbers as strings.

    Raises:
        InputError: a row that is not of that form.

    Warns:
        how many rows have no box or action.
    """
    table = _read(path)
    person = table["last"].astype(np.int64)
    columns = (table["label"], person, table["video"])
    order = np.lexsort(columns)
    tube = np.empty(len(order), np.int64)
    steps = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
    tube[order] = np.concatenate([[0], np.cumsum(steps)])[: len(order)]
    tubes = Tubes(
        table["video"].astype(np.int32),
        table["frame"].astype(np.int32),
        table["label"].astype(np.int32),
        table["boxes"],
        tube,
        tuple(table["video_names"]),
        tuple(table["label_names"]),
    )
    order = np.lexsort((tubes.frame, tubes.tube))
    same = (np.diff(tubes.tube[order]) == 0) & (np.diff(tubes.frame[order]) == 0)
    if same.any():
        row = int(table["row"][order[int(np.argmax(same)) + 1]])
        raise InputError(
            f"{path}: row {row}: repeats an action of the same person in the same second"
        )
    return tubes


def read_ava_detections(path: Path) -> Detections:
    """Reads detections for AVA: eight columns, the last a score in 0 to 1.

    Raises:
        InputError: a row that is not of that form.
    """
    table = _read(path)
    bad = (table["last"] < 0) | (table["last"] > 1)
    if bad.any():
        row = int(table["row"][int(np.argmax(bad))])
        raise InputError(
            f"{path}: row {row}{more_rows(int(bad.sum()))}: score must be between 0 and 1"
        )
    return Detections(
        table["video"].astype(np.int32),
        table["frame"].astype(np.int32),
        table["label"].astype(np.int32),
        table["last"],
        table["boxes"],
        tuple(table["video_names"]),
        tuple(table["label_names"]),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    rows, numbers, incomplete = [], [], 0
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
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
    for bad, why in (
        (~np.isfinite(values).all(axis=1), "contains NaN or infinity"),
        ((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]), "x2 < x1 or y2 < y1"),
        (
            (values[:, 0] < 0) | (values[:, 0] % 1 != 0),
            "the second must be a whole number of 0 or more",
        ),
    ):
        if bad.any():
            raise InputError(
                f"{path}: row {numbers[int(np.argmax(bad))]}{more_rows(int(bad.sum()))}: {why}"
            )
    video_names, video = np.unique([row[0] for row in rows], return_inverse=True)
    actions = sorted({row[6] for row in rows}, key=lambda name: (len(name), name))
    place = {name: index for index, name in enumerate(actions)}
    return {
        "video": video,
        "video_names": video_names.astype(object) if len(rows) else np.empty(0, object),
        "frame": values[:, 0],
        "label": np.array([place[row[6]] for row in rows], np.int64),
        "label_names": np.array(actions, dtype=object),
        "boxes": boxes.copy(),
        "last": values[:, 5].copy(),
        "row": np.array(numbers, np.int64),
    }
