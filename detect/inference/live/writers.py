"""What a live run leaves: tubes appended to a table, and drawn video in parts of some minutes."""

from __future__ import annotations

import csv
import io
import os
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from ....datasets.errors import InputError
from ....datasets.tables import Tubes
from ....datasets.video.writer import VideoWriter, open_video_writer

COLUMNS = ("video", "frame", "label", "score", "x1", "y1", "x2", "y2", "tube", "tube_score", "time")
MINUTES = 10.0
"""Length of a part of the drawn video; a run that is killed loses the part it was at."""
_TICKS = 30.0  # frames a second that a part's times are counted in thousandths of


class TubeCsvWriter:
    """A CSV file of tubes, which `tables.read_table` reads, to which others are appended.

    Its further column, time, is when the row's frame came, in seconds since 1970.

    Args:
        path: the file; it must not be there yet.

    Raises:
        InputError: it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Between the clock of `LiveFrame.time` and the calendar.
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
            InputError: the disk refuses.
        """
        assert tubes.score is not None and tubes.tube_score is not None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row, (when, box) in enumerate(zip(times, tubes.boxes)):
            writer.writerow(
                (
                    tubes.video_names[tubes.video[row]], tubes.frame[row],
                    tubes.label_names[tubes.label[row]], f"{tubes.score[row]:.6f}",
                    *(f"{side:.3f}" for side in box), tubes.tube[row],
                    f"{tubes.tube_score[row]:.6f}", f"{self._epoch + when:.3f}",
                )
            )  # fmt: skip
        whole = self.path.stat().st_size
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(text.getvalue().encode())
                complete = file.tell()
        except OSError as error:
            os.truncate(self.path, whole)
            raise InputError(
                f"{self.path}: could not be written ({error.strerror}); check that there is "
                "free disk space"
            ) from error
        # A raw write that meets the end of the disk may write a part, and raise nothing.
        if complete != whole + len(text.getvalue().encode()):
            os.truncate(self.path, whole)
            raise InputError(
                f"{self.path}: could not be written completely; check that there is free disk space"
            )


class VideoPartWriter:
    """Drawn pictures as MP4 files live-0001.mp4, live-0002.mp4, ..., each whole or not there.

    A part ends after so many minutes, or where the picture's size changes. Frames are shown as far
    apart as they came, so that a part is as long as what it shows took.

    Args:
        folder: to write to.
        minutes: length of a part.
    """

    def __init__(self, folder: Path, minutes: float = MINUTES) -> None:
        self.folder, self.minutes, self.parts = folder, minutes, 0
        self._open = ExitStack()
        self._writer: VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._begin = 0.0

    def __enter__(self) -> VideoPartWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What was written is whole, whatever has ended the run.
        self._open.close()

    def write(self, picture: np.ndarray, when: float) -> None:
        """Appends a picture, (H, W, 3) uint8 RGB, of a frame that came at `when` seconds.

        Raises:
            InputError: the disk refuses.
        """
        over = when - self._begin >= 60 * self.minutes
        if self._writer is None or over or picture.shape != self._shape:
            self._open.close()
            self.parts += 1
            path = self.folder / f"live-{self.parts:04d}.mp4"
            self._writer = self._open.enter_context(open_video_writer(path, _TICKS))
            self._shape, self._begin = picture.shape, when
        self._writer.write(picture, when)
