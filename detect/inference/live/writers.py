"""The files of a live run: a table that tubes are appended to, and drawn video in parts."""

from __future__ import annotations

import csv
import io
import os
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from ....datasets.errors import InputError
from ....datasets.tables import Tubes
from ....datasets.video.writer import VideoWriter, open_video_writer

COLUMNS = (
    "video", "frame", "label", "score", "x1", "y1", "x2", "y2", "tube", "tube_score",
    "person", "time",
)  # fmt: skip
MINUTES = 10.0
"""Length of a part of the drawn video; a run that is killed loses its last part."""
_FRAME_RATE = 30.0  # of a part; its frames have times of their own, in thousandths of 1 / 30 s


class TubeCsvWriter:
    """A CSV file that tubes are appended to; `read_table` reads it.

    Its additional column, time, is when the frame of the row came, in seconds since 1970.

    Args:
        path: must not exist yet.

    Raises:
        InputError: it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # What the clock of `LiveFrame.time` started at, in seconds since 1970.
        self._epoch = time.time() - time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(",".join(COLUMNS) + "\n")
        except FileExistsError as error:
            raise InputError(f"{path}: already exists; choose another --out") from error

    def append(self, tubes: Tubes, times: np.ndarray) -> None:
        """Appends tubes, all their rows or none.

        Args:
            tubes: with scores; their numbers are not in the file yet.
            times: (R,) when each row's frame came, in seconds of `time.monotonic`.

        Raises:
            InputError: the disk is full.
        """
        assert tubes.score is not None and tubes.tube_score is not None
        assert tubes.person is not None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row, (time_, box) in enumerate(zip(times, tubes.boxes)):
            writer.writerow(
                (
                    tubes.video_names[tubes.video[row]], tubes.frame[row],
                    tubes.label_names[tubes.label[row]], f"{tubes.score[row]:.6f}",
                    *(f"{side:.3f}" for side in box), tubes.tube[row],
                    f"{tubes.tube_score[row]:.6f}", tubes.person[row], f"{self._epoch + time_:.3f}",
                )
            )  # fmt: skip
        data, size = text.getvalue().encode(), self.path.stat().st_size
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(data)
                new_size = file.tell()
        except OSError as error:
            os.truncate(self.path, size)
            raise InputError(
                f"{self.path}: could not be written ({error.strerror}); check that there is "
                "free disk space"
            ) from error
        # A raw write to a full disk may write a part and raise nothing.
        if new_size != size + len(data):
            os.truncate(self.path, size)
            raise InputError(
                f"{self.path}: could not be written completely; check that there is free disk space"
            )


class VideoPartWriter:
    """Drawn frames as MP4 files live-0001.mp4, live-0002.mp4, ..., which are always complete.

    A part ends after so many minutes, or where the frame size changes. Frames keep the times at
    which they came, so that a part plays as long as it took.

    Args:
        folder: where to write.
        minutes: length of a part.
        pixel_aspect: width of a pixel of the source over its height.
    """

    def __init__(
        self, folder: Path, minutes: float = MINUTES, *, pixel_aspect: Fraction = Fraction(1)
    ) -> None:
        self.folder, self.minutes, self.parts = folder, minutes, 0
        self._pixel_aspect = pixel_aspect
        self._open = ExitStack()
        self._writer: VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._start = 0.0

    def __enter__(self) -> VideoPartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        # Whatever ended the run, the file is completed.
        self._open.close()

    def write(self, frame: np.ndarray, time_: float) -> None:
        """Appends a frame, (H, W, 3) uint8 RGB, that came at `time_` seconds.

        Raises:
            InputError: the disk is full.
        """
        is_over = time_ - self._start >= 60 * self.minutes
        if self._writer is None or is_over or frame.shape != self._shape:
            self._open.close()
            self.parts += 1
            path = self.folder / f"live-{self.parts:04d}.mp4"
            self._writer = self._open.enter_context(
                open_video_writer(path, _FRAME_RATE, pixel_aspect=self._pixel_aspect)
            )
            self._shape, self._start = frame.shape, time_
        self._writer.write(frame, time_)
