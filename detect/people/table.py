"""Precomputed person boxes, read from a `Detections` table."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from ...datasets.errors import InputError, some_of
from ...datasets.table_io import read_table
from ...datasets.tables import Detections
from ...datasets.video.reader import VideoInfo
from ...datasets.video_names import VideoIndex
from .person_boxes import PersonBoxes, clean_boxes

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

    def open(self, video: VideoInfo) -> OpenTable:
        """The boxes of one video, found by its path; see `VideoIndex.find_file`.

        Raises:
            InputError: the video is not in the table, or a score is not in [0, 1].
        """
        code = VideoIndex(self.table.video_names).find_file(video.path)
        if code is None:
            raise InputError(
                f"{self.name}: contains no video of the name of {video.path}; it has "
                f"{some_of(self.table.video_names) or 'no videos'}"
            )
        rows = np.flatnonzero(self.table.video == code)
        scores = self.table.score[rows]
        if len(rows) and not (scores.min() >= 0 and scores.max() <= 1):
            bad = int(rows[np.argmax((scores < 0) | (scores > 1))]) + 1
            raise InputError(f"{self.name}: row {bad}: score must be between 0 and 1")
        rows = rows[np.argsort(self.table.frame[rows], kind="stable")]
        return OpenTable(self.table, rows, (video.height, video.width))


class OpenTable:
    """The boxes of one video.

    Args:
        table: see `TableSource`.
        rows: (R,) rows of the video, by frame.
        size: (height, width) of the video, in whose pixels the boxes are.
    """

    def __init__(self, table: Detections, rows: np.ndarray, size: tuple[int, int]) -> None:
        self.table, self.rows, self.size = table, rows, size
        self._frames = table.frame[rows]

    def propose(self, frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
        numbers = np.arange(first_frame, first_frame + len(frames) + 1)
        found = []
        for start, stop in pairwise(np.searchsorted(self._frames, numbers)):
            rows = self.rows[start:stop]
            found.append(
                clean_boxes(
                    self.table.boxes[rows], self.table.score[rows], self.size, nms_iou=_NMS_IOU
                )
            )
        frame_size = frames.shape[1:3]
        if frame_size != self.size:
            scale = np.array(frame_size[::-1]) / self.size[::-1]
            found = [boxes.scaled(scale) for boxes in found]
        return found
