"""Precomputed person boxes, read from a `Detections` table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError, some_of
from ...datasets.table_io import read_table
from ...datasets.tables import Detections, select_rows
from ...datasets.video.reader import VideoInfo
from ...datasets.video_names import VideoIndex
from .person_boxes import FunctionSource, PersonBoxes, clean_boxes

_NMS_IOU = 0.95  # only removes boxes of one person under several labels


def table_source(name: str, *, device: str, threshold: float) -> TableSource:
    """The boxes of the .parquet or .csv file of that name; all are used, whatever their score.

    Raises:
        InputError: there is no such file, or it is not a table of detections.
    """
    return TableSource(read_table(Detections, Path(name)), name=name)


class TableSource:
    """Precomputed boxes of any number of videos.

    Args:
        table: boxes in pixels of the original videos; labels are ignored.
        name: how messages call the table.
    """

    def __init__(self, table: Detections, *, name: str = "the table") -> None:
        self.table, self.name = table, name

    def open(self, video: VideoInfo) -> FunctionSource:
        """The boxes of one video, found by its path; see `VideoIndex.find_file`.

        Raises:
            InputError: the video is not in the table, or a score is not in [0, 1].
        """
        table, size = self.table, (video.height, video.width)
        code = VideoIndex(table.video_names).find_file(video.path)
        if code is None:
            raise InputError(
                f"{self.name}: contains no video of the name of {video.path}; it has "
                f"{some_of(table.video_names) or 'no videos'}"
            )
        rows = np.flatnonzero(table.video == code)
        is_bad = ~((table.score[rows] >= 0) & (table.score[rows] <= 1))
        if is_bad.any():
            bad = int(rows[is_bad.argmax()]) + 1
            raise InputError(f"{self.name}: row {bad}: score must be between 0 and 1")
        by_frame = select_rows(table, rows[np.argsort(table.frame[rows], kind="stable")])

        def propose(frames: np.ndarray, first_frame: int) -> Iterator[PersonBoxes]:
            numbers = np.arange(first_frame, first_frame + len(frames) + 1)
            scale = np.array(frames.shape[2:0:-1]) / size[::-1]
            for start, stop in pairwise(np.searchsorted(by_frame.frame, numbers)):
                boxes, score = by_frame.boxes[start:stop], by_frame.score[start:stop]
                people = clean_boxes(boxes, score, size, nms_iou=_NMS_IOU)
                yield people if frames.shape[1:3] == size else people.scaled(scale)

        return FunctionSource(propose)
