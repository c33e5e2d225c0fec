"""The tubes of one video, kept on disk until all are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from ....datasets.tables import Tubes, select_rows
from ...linking.actions import Spans
from .row_file import RowFile, StoredRows

_ROW = np.dtype([("frame", np.int32), ("score", np.float64), ("box", np.float64, 4)])
_ROWS_AT_ONCE = 1 << 14


class _StoredTube(NamedTuple):
    """What stays in memory of a tube, sorted by falling score."""

    minus_score: float
    label: int
    first: int
    last: int
    person: int
    rows: tuple[StoredRows, ...]

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class TubeStore:
    """Keeps the tubes of one video on disk until all are known, to sort them by score.

    A few numbers of each tube stay in memory.

    Args:
        file: empty, open for writing and reading.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._rows = RowFile(file, _ROW)
        self._tubes: list[_StoredTube] = []
        self._latest: dict[tuple[int, int], int] = {}  # index by person and label

    def __len__(self) -> int:
        return len(self._tubes)

    def add(self, tubes: Tubes) -> None:
        """Adds whole tubes with scores, one label each, those of a person by time.

        A tube without a person is taken for somebody of their own. What follows a tube of the same
        person and label without a gap is part of it; the score is the mean by length.
        """
        tubes = select_rows(tubes, np.lexsort((tubes.frame, tubes.tube)))
        assert tubes.score is not None and tubes.tube_score is not None
        starts = np.flatnonzero(np.diff(tubes.tube, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tubes)]):
            rows = slice(start, stop)
            stored = self._rows.append(
                frame=tubes.frame[rows], score=tubes.score[rows], box=tubes.boxes[rows]
            )
            person = len(self._tubes) + 1 if tubes.person is None else int(tubes.person[start])
            tube = _StoredTube(
                -float(tubes.tube_score[start]), int(tubes.label[start]),
                int(tubes.frame[start]), int(tubes.frame[stop - 1]), person, (stored,),
            )  # fmt: skip
            index = self._latest.get((person, tube.label))
            if index is not None and self._tubes[index].last + 1 == tube.first:
                self._tubes[index] = _join(self._tubes[index], tube)
                continue
            self._latest[person, tube.label] = len(self._tubes)
            self._tubes.append(tube)

    def spans(self) -> Spans:
        """Person, label, first and last frame and score of each tube, in the order of `add`."""
        columns = np.array([tube[:5] for tube in self._tubes], np.float64).reshape(-1, 5)
        label, first, last, person = columns[:, 1:].astype(np.int64).T
        return Spans(person, label, first, last, -columns[:, 0])

    def iter_by_score(
        self, name: str, labels: tuple[str, ...], person_of: dict[int, int]
    ) -> Iterator[Tubes]:
        """The tubes, numbered from 0 by falling score, then label and first frame, some at a time.

        Args:
            name: of the video.
            labels: the names that the tubes' labels index.
            person_of: the number of each person in the table, by that of `add`; tubes of others
                are left out.
        """
        numbered = sorted(tube for tube in self._tubes if tube.person in person_of)
        batch: list[tuple[int, _StoredTube, StoredRows]] = []
        count = 0
        for number, tube in enumerate(numbered):
            for part in tube.rows:
                batch.append((number, tube, part))
                count += part.length
                if count >= _ROWS_AT_ONCE:
                    yield self._table(batch, name, labels, person_of)
                    batch, count = [], 0
        if batch or not numbered:
            yield self._table(batch, name, labels, person_of)

    def _table(
        self,
        batch: list[tuple[int, _StoredTube, StoredRows]],
        name: str,
        labels: tuple[str, ...],
        person_of: dict[int, int],
    ) -> Tubes:
        tubes = [tube for _, tube, _ in batch]
        rows = np.concatenate([np.empty(0, _ROW), *(self._rows.read(part) for *_, part in batch)])
        counts = [part.length for *_, part in batch]
        persons = [person_of[tube.person] for tube in tubes]
        return Tubes(
            video=np.zeros(len(rows), np.int32),
            frame=rows["frame"].copy(),
            label=np.repeat(np.array([tube.label for tube in tubes], np.int32), counts),
            boxes=rows["box"].copy(),
            tube=np.repeat(np.array([number for number, *_ in batch], np.int64), counts),
            video_names=(name,),
            label_names=labels,
            score=rows["score"].copy(),
            tube_score=np.repeat(-np.array([tube.minus_score for tube in tubes]), counts),
            person=np.repeat(np.array(persons, np.int32), counts),
        )


def _join(tube: _StoredTube, other: _StoredTube) -> _StoredTube:
    total = tube.minus_score * tube.length + other.minus_score * other.length
    minus_score = total / (tube.length + other.length)
    return tube._replace(minus_score=minus_score, last=other.last, rows=(*tube.rows, *other.rows))
