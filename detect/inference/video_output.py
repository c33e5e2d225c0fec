"""What detection leaves of one video, as the files of a folder, and a few words about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ...datasets.table_io import write_table
from ...datasets.table_writer import OUTPUT_FILES, open_label_writer
from ...datasets.tables import Tubes, Videos, select_rows
from ...datasets.video.reader import VideoInfo

_TOLD = 5  # tubes in a summary
_TOLD_LABELS = 3
_ROW = np.dtype([("frame", np.int32), ("score", np.float64), ("box", np.float64, 4)])
_LABEL = np.dtype([("label", np.int32), ("score", np.float64)])
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class BestTube:
    """One tube in a summary.

    Attributes:
        score: of the tube.
        first, last: its frames.
        labels: name and score, the best first.
    """

    score: float
    first: int
    last: int
    labels: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class VideoSummary:
    """What is told of one video.

    Attributes:
        name: as in the tables.
        num_frames: that were read.
        tubes: how many were found.
        best: the best of them.
    """

    name: str
    num_frames: int
    tubes: int
    best: tuple[BestTube, ...]

    def text(self) -> str:
        """A line for the video and one for each of the best tubes."""
        lines = [f"{self.name}: {self.tubes} tube{'s' * (self.tubes != 1)}, "
                 f"{self.num_frames} frames"]  # fmt: skip
        for tube in self.best:
            labels = ", ".join(f"{name} {score:.2f}" for name, score in tube.labels)
            span = f"frames {tube.first}-{tube.last}"
            lines.append(f"  {tube.score:.2f}  {span:18} {labels}")
        if self.tubes > len(self.best):
            lines.append(f"  and {self.tubes - len(self.best)} more")
        return "\n".join(lines)


def one_video(name: str, info: VideoInfo) -> Videos:
    """The table of one video, without a split; `info` has the number of its frames."""
    assert info.num_frames is not None
    frames, width, height = (
        np.array([value], np.int64) for value in (info.num_frames, info.width, info.height)
    )
    return Videos((name,), frames, width, height, np.array([info.fps]), ("",))


def write_video_info(
    store: TubeStore, name: str, labels: tuple[str, ...], info: VideoInfo, folder: Path
) -> VideoSummary:
    """Writes what stands of a video beside its boxes, its size and its tubes' labels.

    Args:
        store: with all tubes, after `best_first`.
        name: of the video.
        labels: the names that the tubes' labels index.
        info: with the number of frames.
        folder: the folder to write to.
    """
    write_table(one_video(name, info), folder / OUTPUT_FILES.videos)
    with open_label_writer(folder / OUTPUT_FILES.labels) as listed:
        listed.writerows(
            (name, number, label, f"{score:.6f}") for number, label, score in store.labels(labels)
        )
    return store.summary(name, labels, info.num_frames or 0)


class Part(NamedTuple):
    """Rows of one tube that stand together on disk: the first one's number, and how many."""

    start: int
    rows: int


class _Known(NamedTuple):
    """What stays in memory of a tube; sorted, the best comes first. `labels` holds `_LABEL`s."""

    minus_score: float
    label: int
    first: int
    parts: tuple[Part, ...]
    last: int
    labels: bytes

    def told(self, names: tuple[str, ...]) -> list[tuple[str, float]]:
        """Names and scores of its labels, the best first, then those above 0."""
        given = np.frombuffer(self.labels, _LABEL).tolist()
        return [(names[label], score) for i, (label, score) in enumerate(given) if not i or score]


class TubeStore:
    """Tubes of one video on disk until all are known, since the best comes first in the table.

    Of each tube a few numbers stay in memory.

    Args:
        file: an empty one, open for writing and reading.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._known: list[_Known] = []

    def add(self, tubes: Tubes) -> None:
        """Takes whole tubes, with scores, one label each."""
        tubes = select_rows(tubes, np.lexsort((tubes.frame, tubes.tube)))
        assert tubes.score is not None and tubes.tube_score is not None
        starts = np.flatnonzero(np.diff(tubes.tube, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tubes)]):
            rows = slice(start, stop)
            part = self.put(tubes.frame[rows], tubes.score[rows], tubes.boxes[rows])
            span = int(tubes.frame[start]), int(tubes.frame[stop - 1])
            score = float(tubes.tube_score[start])
            self.keep([part], span, score, [(int(tubes.label[start]), score)])

    def put(self, frame: np.ndarray, score: np.ndarray, boxes: np.ndarray) -> Part:
        """Writes rows of one tube, which counts once `keep` gets all its parts.

        Args:
            frame: (R,), rising.
            score: (R,) of each box.
            boxes: (R, 4).
        """
        rows = np.empty(len(frame), _ROW)
        rows["frame"], rows["score"], rows["box"] = frame, score, boxes
        self._file.write(rows.tobytes())
        part = Part(self._rows, len(rows))
        self._rows += len(rows)
        return part

    def keep(
        self,
        parts: Sequence[Part],
        span: tuple[int, int],
        score: float,
        labels: Sequence[tuple[int, float]],
    ) -> None:
        """Takes a tube whose rows are written.

        Args:
            parts: what `put` returned for it, in the order of its frames.
            span: its first frame and its last.
            score: of the tube.
            labels: label and score, the best first.
        """
        packed = np.array(labels, _LABEL).tobytes()
        self._known.append(_Known(-score, labels[0][0], span[0], tuple(parts), span[1], packed))

    def best_first(self, name: str, labels: tuple[str, ...]) -> Iterator[Tubes]:
        """The tubes, numbered from 0 by falling score, then label and begin, some rows at a time.

        Each tube has its best label, and its rows the scores that `put` got.

        Args:
            name: of the video.
            labels: the names that the tubes' labels index.
        """
        self._known.sort()
        parts = ((number, part) for number, tube in enumerate(self._known) for part in tube.parts)
        numbers: list[int] = []
        batch: list[np.ndarray] = []
        size = 0
        for number, part in parts:
            numbers.append(number)
            batch.append(self._read(part))
            size += part.rows
            if size >= _ROWS_AT_ONCE:
                yield self._table(numbers, batch, name, labels)
                numbers, batch, size = [], [], 0
        if batch or not self._known:
            yield self._table(numbers, batch, name, labels)

    def _read(self, part: Part) -> np.ndarray:
        self._file.seek(part.start * _ROW.itemsize)
        return np.frombuffer(self._file.read(part.rows * _ROW.itemsize), _ROW)

    def _table(
        self, numbers: list[int], batch: list[np.ndarray], name: str, labels: tuple[str, ...]
    ) -> Tubes:
        known = [self._known[number] for number in numbers]
        rows = np.concatenate([np.empty(0, _ROW), *batch])
        counts = [len(one) for one in batch]
        return Tubes(
            np.zeros(len(rows), np.int32),
            rows["frame"].copy(),
            np.repeat(np.array([tube.label for tube in known], np.int32), counts),
            rows["box"].copy(),
            np.repeat(np.array(numbers, np.int64), counts),
            (name,),
            labels,
            score=rows["score"].copy(),
            tube_score=np.repeat(
                np.array([-tube.minus_score for tube in known], np.float64), counts
            ),
        )

    def label_scores(self, numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """After `best_first`: labels and scores, both (N, count), of N tubes with so many each."""
        packed = b"".join(self._known[number].labels for number in numbers)
        given = np.frombuffer(packed, _LABEL).reshape(len(numbers), count)
        return given["label"], given["score"]

    def labels(self, labels: tuple[str, ...]) -> Iterator[tuple[int, str, float]]:
        """After `best_first`: number, label and score of each tube's labels, the best first."""
        for number, tube in enumerate(self._known):
            for label, score in tube.told(labels):
                yield number, label, score

    def summary(self, name: str, labels: tuple[str, ...], num_frames: int) -> VideoSummary:
        """After `best_first`."""
        best = [
            BestTube(-tube.minus_score, tube.first, tube.last,
                     tuple(tube.told(labels)[:_TOLD_LABELS]))
            for tube in self._known[:_TOLD]
        ]  # fmt: skip
        return VideoSummary(name, num_frames, len(self._known), tuple(best))
