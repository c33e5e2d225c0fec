"""AVA's list of time stamps that are left out of an evaluation."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...datasets.errors import InputError
from ...datasets.storage.text_files import read_csv
from ...datasets.tables import Detections, Tubes, select_rows
from ...datasets.video_names import VideoIndex
from .align import AlignedTables

Table = TypeVar("Table", Detections, Tubes)


def leave_out_excluded(tables: AlignedTables, path: Path) -> AlignedTables:
    """The tables without the frames that a file excludes.

    Args:
        tables: in seconds, or in frames of videos whose rates are known.
        path: AVA's ava_val_excluded_timestamps: rows of video and second.

    Raises:
        InputError: the file has other rows, or the rate of a video is not known.

    Warns:
        how many boxes of the ground truth are left out.
    """
    index = VideoIndex(tables.ground_truth.video_names)
    excluded: dict[int, set[int]] = {}
    for number, cells in enumerate(read_csv(path), 1):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            name, second = cells[0], float(cells[1])
        except (ValueError, IndexError):
            raise InputError(f"--excluded {path}: row {number}: must be video, second") from None
        code = index.find(name.strip(), f"{path}: row {number}: ")
        if code is not None:
            excluded.setdefault(code, set()).add(round(second * _rate(tables, code, path)))
    parts = {
        kind: _without(table, excluded)
        for kind in ("ground_truth", "detections", "tubes", "persons")
        if (table := getattr(tables, kind)) is not None
    }
    left_out = len(tables.ground_truth) - len(parts["ground_truth"])
    warnings.warn(
        f"{path}: leaving out {left_out} of {len(tables.ground_truth)} boxes of the ground truth, "
        f"on {sum(map(len, excluded.values()))} key frames",
        stacklevel=3,
    )
    return replace(tables, **parts)


def _rate(tables: AlignedTables, code: int, path: Path) -> float:
    """Units of `frame` in a second: 1 where it is a second."""
    if tables.box_unit == "fraction":
        return 1.0
    name = tables.ground_truth.video_names[code]
    row = None if tables.videos is None else VideoIndex(tables.videos.video).find(name)
    if row is None or tables.videos is None or not np.isfinite(tables.videos.fps[row]):
        raise InputError(
            f"--excluded {path}: holds seconds, and the rate of video {name} is not known; write "
            "it into videos.csv"
        )
    return float(tables.videos.fps[row])


def _without(table: Table, excluded: dict[int, set[int]]) -> Table:
    pairs = zip(table.video.tolist(), table.frame.tolist())
    kept = np.array([frame not in excluded.get(video, ()) for video, frame in pairs], bool)
    return select_rows(table, kept)
