"""The results of one video: the files of its folder, and a summary in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from tqdm import tqdm

from ....datasets.table_io import write_table
from ....datasets.table_writer import OUTPUT_FILES, open_label_writer
from ....datasets.tables import Tubes, make_videos, select_rows
from ....datasets.video.reader import VideoInfo
from ..video_input import VideoInput

_SHOWN_TUBES = 5  # in a summary
_SHOWN_LABELS = 3
_ROW = np.dtype([("frame", np.int32), ("score", np.float64), ("box", np.float64, 4)])
_LABEL = np.dtype([("label", np.int32), ("score", np.float64)])
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class VideoSummary:
    """What the user reads about one video.

    Attributes:
        name: as in the tables.
        num_frames: frames read.
        tubes: number of tubes.
        best: a line for each of those with the highest scores.
        note: what was left out, in words.
    """

    name: str
    num_frames: int
    tubes: int
    best: tuple[str, ...]
    note: str = ""

    def text(self) -> str:
        """A line for the video and one for each of the best tubes."""
        tubes, more = f"{self.tubes} tube{'s' * (self.tubes != 1)}", self.tubes - len(self.best)
        note = f" ({self.note})" if self.note else ""
        lines = [f"{self.name}: {tubes}, {self.num_frames} frames{note}", *self.best]
        return "\n".join(lines + [f"  and {more} more"] * (more > 0))


WriteTables = Callable[[Path], VideoSummary]
"""Writes the tables of a video, the `RESULT_FILES`, to a folder."""


def frames_bar(info: VideoInfo, progress: bool) -> tqdm:
    """A progress bar for the frames of a video; it appears after a second."""
    return tqdm(
        desc=info.path.name, total=info.num_frames, unit=" frames", disable=not progress,
        leave=False, delay=1,
    )  # fmt: skip


def write_video_info(
    store: TubeStore,
    video: VideoInput,
    labels: tuple[str, ...],
    num_frames: int,
    folder: Path,
    note: str = "",
) -> VideoSummary:
    """Writes the table of the video and the labels of its tubes.

    Args:
        store: with all tubes, after `iter_by_score`.
        video: see `open_video`.
        labels: the names that the tubes' labels index.
        num_frames: of the video.
        folder: where to write.
        note: see `VideoSummary`.
    """
    info = video.info
    videos = make_videos([video.name], num_frames, info.width, info.height, info.fps)
    write_table(videos, folder / OUTPUT_FILES.videos)
    with open_label_writer(folder / OUTPUT_FILES.labels) as writer:
        writer.writerows(
            (video.name, number, label, f"{score:.6f}")
            for number, label, score in store.labels(labels)
        )
    return store.summary(video.name, labels, num_frames, note)


class StoredRows(NamedTuple):
    """Consecutive rows of one tube in the file: number of the first, and how many."""

    start: int
    length: int


class _StoredTube(NamedTuple):
    """What stays in memory of a tube, sorted by falling score; `labels` are bytes of `_LABEL`s."""

    minus_score: float
    label: int
    first: int
    parts: tuple[StoredRows, ...]
    last: int
    labels: bytes
    person: int | None = None

    def top_labels(self, names: tuple[str, ...]) -> list[tuple[str, float]]:
        """Names and scores of its labels: the best, then all others above 0."""
        labels = np.frombuffer(self.labels, _LABEL).tolist()
        return [(names[label], score) for i, (label, score) in enumerate(labels) if not i or score]


class TubeStore:
    """Keeps the tubes of one video on disk until all are known, to sort them by score.

    A few numbers of each tube stay in memory.

    Args:
        file: empty, open for writing and reading.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._tubes: list[_StoredTube] = []
        self._has_persons = False  # also where there are no tubes: the tables of a run are joined

    def add(self, tubes: Tubes) -> None:
        """Adds whole tubes with scores, one label each."""
        tubes = select_rows(tubes, np.lexsort((tubes.frame, tubes.tube)))
        assert tubes.score is not None and tubes.tube_score is not None
        self._has_persons = tubes.person is not None
        starts = np.flatnonzero(np.diff(tubes.tube, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tubes)]):
            rows = slice(start, stop)
            part = self.add_boxes(tubes.frame[rows], tubes.score[rows], tubes.boxes[rows])
            span = int(tubes.frame[start]), int(tubes.frame[stop - 1])
            score = float(tubes.tube_score[start])
            person = None if tubes.person is None else int(tubes.person[start])
            self.add_tube([part], span, score, [(int(tubes.label[start]), score)], person)

    def add_boxes(self, frame: np.ndarray, score: np.ndarray, boxes: np.ndarray) -> StoredRows:
        """Writes rows of one tube, which counts once `add_tube` gets all its parts.

        Args:
            frame: (R,), rising.
            score: (R,) of each box.
            boxes: (R, 4).
        """
        rows = np.empty(len(frame), _ROW)
        rows["frame"], rows["score"], rows["box"] = frame, score, boxes
        self._file.write(rows.tobytes())
        stored = StoredRows(self._rows, len(rows))
        self._rows += len(rows)
        return stored

    def add_tube(
        self,
        parts: Sequence[StoredRows],
        span: tuple[int, int],
        score: float,
        labels: Sequence[tuple[int, float]],
        person: int | None = None,
    ) -> None:
        """Adds a tube whose rows are written.

        Args:
            parts: what `add_boxes` returned for it, in the order of its frames.
            span: its first frame and its last.
            score: of the tube.
            labels: labels and scores, highest score first.
            person: whose tube it is, where that is known.
        """
        packed = np.array(labels, _LABEL).tobytes()
        self._tubes.append(
            _StoredTube(-score, labels[0][0], span[0], tuple(parts), span[1], packed, person)
        )

    def iter_by_score(self, name: str, labels: tuple[str, ...]) -> Iterator[Tubes]:
        """The tubes, numbered from 0 by falling score, then label and first frame, some at a time.

        Each tube has its best label, and its rows have the scores that `add_boxes` got.

        Args:
            name: of the video.
            labels: the names that the tubes' labels index.
        """
        self._tubes.sort()
        parts = ((number, part) for number, tube in enumerate(self._tubes) for part in tube.parts)
        numbers: list[int] = []
        batch: list[np.ndarray] = []
        rows = 0
        for number, part in parts:
            numbers.append(number)
            batch.append(self._read(part))
            rows += part.length
            if rows >= _ROWS_AT_ONCE:
                yield self._table(numbers, batch, name, labels)
                numbers, batch, rows = [], [], 0
        if batch or not self._tubes:
            yield self._table(numbers, batch, name, labels)

    def _read(self, part: StoredRows) -> np.ndarray:
        self._file.seek(part.start * _ROW.itemsize)
        return np.frombuffer(self._file.read(part.length * _ROW.itemsize), _ROW)

    def _table(
        self, numbers: list[int], batch: list[np.ndarray], name: str, labels: tuple[str, ...]
    ) -> Tubes:
        tubes = [self._tubes[number] for number in numbers]
        rows = np.concatenate([np.empty(0, _ROW), *batch])
        counts = [len(part) for part in batch]
        persons = [tube.person or 0 for tube in tubes]
        return Tubes(
            person=np.repeat(np.array(persons, np.int32), counts) if self._has_persons else None,
            video=np.zeros(len(rows), np.int32),
            frame=rows["frame"].copy(),
            label=np.repeat(np.array([tube.label for tube in tubes], np.int32), counts),
            boxes=rows["box"].copy(),
            tube=np.repeat(np.array(numbers, np.int64), counts),
            video_names=(name,),
            label_names=labels,
            score=rows["score"].copy(),
            tube_score=np.repeat(-np.array([tube.minus_score for tube in tubes]), counts),
        )

    def label_scores(self, numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """After `iter_by_score`: (N, count) labels and scores of N tubes that have `count` each."""
        packed = b"".join(self._tubes[number].labels for number in numbers)
        labels = np.frombuffer(packed, _LABEL).reshape(len(numbers), count)
        return labels["label"], labels["score"]

    def labels(self, labels: tuple[str, ...]) -> Iterator[tuple[int, str, float]]:
        """After `iter_by_score`: tube number, label and score, highest score of each tube first."""
        for number, tube in enumerate(self._tubes):
            for label, score in tube.top_labels(labels):
                yield number, label, score

    def summary(
        self, name: str, labels: tuple[str, ...], num_frames: int, note: str = ""
    ) -> VideoSummary:
        """After `iter_by_score`: what the user reads."""
        lines = []
        for tube in self._tubes[:_SHOWN_TUBES]:
            shown = tube.top_labels(labels)[:_SHOWN_LABELS]
            words = ", ".join(f"{label} {score:.2f}" for label, score in shown)
            span = f"frames {tube.first}-{tube.last}"
            lines.append(f"  {-tube.minus_score:.2f}  {span:18} {words}")
        return VideoSummary(
            name=name, num_frames=num_frames, tubes=len(self._tubes), best=tuple(lines), note=note
        )
