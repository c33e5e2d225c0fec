"""What detection leaves of one video, as the files of a folder, and a few words about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ..datasets.table_files import TABLES, open_labels
from ..datasets.tables import Tubes, Videos, select_rows, write_table
from ..datasets.video import VideoInfo
from .video_tubes import LABELS_KEPT, VideoTubes

Array = np.ndarray
_TOLD = 5  # tubes in a summary
_TOLD_LABELS = 3
_ROW = np.dtype([("frame", np.int32), ("score", np.float64), ("box", np.float64, 4)])
_ROWS_AT_ONCE = 1 << 16


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


def write_video_tubes(found: VideoTubes, name: str, folder: Path) -> VideoSummary:
    """Writes the `TABLES` of one video.

    In labels.csv stand each tube's best `LABELS_KEPT` labels, without those of score 0.
    """
    write_table(found.detections, folder / TABLES[0])
    write_table(found.tubes, folder / TABLES[1])
    write_table(one_video(name, found.info), folder / TABLES[2])
    names, best = found.tubes.label_names, []
    with open_labels(folder / TABLES[3]) as labels:
        for tube, scores in enumerate(found.label_scores):
            order = np.argsort(-scores, kind="stable")[:LABELS_KEPT]
            given = [(names[label], float(scores[label])) for label in order[scores[order] > 0]]
            labels.writerows((name, tube, label, f"{score:.6f}") for label, score in given)
            if tube < _TOLD:
                frames = found.tubes.frame[found.tubes.tube == tube]
                score = float(found.tube_scores[tube])
                told = tuple(given[:_TOLD_LABELS])
                best.append(BestTube(score, int(frames[0]), int(frames[-1]), told))
    count = len(found.label_scores)
    return VideoSummary(name, found.info.num_frames or 0, count, tuple(best))


class _Known(NamedTuple):
    """What stays in memory of a tube; sorted, the best comes first."""

    minus_score: float
    label: int
    first: int
    start: int
    rows: int
    last: int


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
        assert tubes.tube_score is not None
        tube_score = tubes.tube_score
        rows = np.empty(len(tubes), _ROW)
        rows["frame"], rows["score"], rows["box"] = tubes.frame, tubes.score, tubes.boxes
        self._file.write(rows.tobytes())
        starts = np.flatnonzero(np.diff(tubes.tube, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(tubes)]):
            first, last = int(tubes.frame[start]), int(tubes.frame[stop - 1])
            self._known.append(
                _Known(-float(tube_score[start]), int(tubes.label[start]), first,
                       self._rows + int(start), int(stop - start), last)
            )  # fmt: skip
        self._rows += len(tubes)

    def best_first(self, name: str, labels: tuple[str, ...]) -> Iterator[Tubes]:
        """The tubes, numbered from 0 by falling score, then label and begin, some at a time.

        Args:
            name: of the video.
            labels: the names that the tubes' labels index.
        """
        self._known.sort()
        first, batch, size = 0, [], 0
        for number, tube in enumerate(self._known):
            batch.append(self._read(tube))
            size += tube.rows
            if size >= _ROWS_AT_ONCE or number + 1 == len(self._known):
                yield self._table(batch, first, name, labels)
                first, batch, size = number + 1, [], 0
        if not self._known:
            yield self._table([], 0, name, labels)

    def _read(self, tube: _Known) -> Array:
        self._file.seek(tube.start * _ROW.itemsize)
        return np.frombuffer(self._file.read(tube.rows * _ROW.itemsize), _ROW)

    def _table(self, batch: list[Array], first: int, name: str, labels: tuple[str, ...]) -> Tubes:
        known = self._known[first : first + len(batch)]
        rows = np.concatenate([np.empty(0, _ROW), *batch])
        counts = [len(one) for one in batch]
        return Tubes(
            np.zeros(len(rows), np.int32),
            rows["frame"].copy(),
            np.repeat(np.array([tube.label for tube in known], np.int32), counts),
            rows["box"].copy(),
            np.repeat(np.arange(first, first + len(batch), dtype=np.int64), counts),
            (name,),
            labels,
            rows["score"].copy(),
            np.repeat(np.array([-tube.minus_score for tube in known], np.float64), counts),
        )

    def labels(self, labels: tuple[str, ...]) -> Iterator[tuple[int, str, float]]:
        """After `best_first`: number, label and score of each tube."""
        for number, tube in enumerate(self._known):
            yield number, labels[tube.label], -tube.minus_score

    def summary(self, name: str, labels: tuple[str, ...], num_frames: int) -> VideoSummary:
        """After `best_first`."""
        best = [
            BestTube(-tube.minus_score, tube.first, tube.last,
                     ((labels[tube.label], -tube.minus_score),))
            for tube in self._known[:_TOLD]
        ]  # fmt: skip
        return VideoSummary(name, num_frames, len(self._known), tuple(best))
