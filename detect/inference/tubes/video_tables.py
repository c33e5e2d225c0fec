"""The tables of one video, from what linking finds: they wait on disk until all is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from ....datasets.table_io import write_table
from ....datasets.table_writer import OUTPUT_FILES, open_table_writer
from ....datasets.tables import (
    Actions,
    Detections,
    Tracks,
    Tubes,
    make_videos,
    select_rows,
)
from ...linking.actions import Spans, choose_actions
from ...linking.interface import LinkResult
from ..video_input import FrameTimes, VideoInput
from .row_file import RowFile, StoredRows
from .tube_store import TubeStore
from .video_output import VideoSummary, summarize

LABELS_KEPT = 5
"""Labels of each person in labels.csv."""
_TRACK_ROW = np.dtype([("frame", np.int32), ("score", np.float64), ("box", np.float64, 4)])
_DETECTION_ROW = np.dtype(
    [("frame", np.int32), ("label", np.int32), ("track", np.int64), ("score", np.float64),
     ("box", np.float64, 4)]
)  # fmt: skip

_Span = tuple[float, int, int]
"""Score, first and last frame."""


@dataclass
class _Person:
    """What stays in memory of somebody who is followed.

    Attributes:
        parts: first frame and rows of each stretch in which they are in sight.
        total: sum of their scores.
        labels: by label, the score, first and last frame of each tube.
        is_named: whether one of their tubes is written.
    """

    parts: list[tuple[int, StoredRows]] = field(default_factory=list)
    total: float = 0.0
    labels: dict[int, list[_Span]] = field(default_factory=dict)
    is_named: bool = False

    @property
    def first(self) -> int:
        return min(first for first, _ in self.parts)

    @property
    def mean(self) -> float:
        return self.total / sum(rows.length for _, rows in self.parts)


class VideoTables:
    """Takes what a linker finds in one video, and writes the `RESULT_FILES`.

    In memory stay a few numbers of each tube and person. A person is somebody whose track has a
    mean score of `least_person` or more, or of `least_followed` and a tube; they are numbered in
    the order in which they appear. Each tube of a linker that does not know persons is of somebody
    of their own.

    Args:
        folder: where rows wait, in files without names.
        stack: closes these files.
        least_tube: the lowest score of a tube that is written.
        least_person, least_followed: see above.

    Attributes:
        least_tube: see above.
        best_tube: the highest score of a tube so far, -1 without any.
        num_below: tubes that are not written.
        num_dropped: what the linker left out, see `LinkResult`.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        least_tube: float,
        least_person: float,
        least_followed: float = 0.0,
    ) -> None:
        self.least_tube = least_tube
        self._least_person, self._least_followed = least_person, least_followed

        def file() -> IO[bytes]:
            return stack.enter_context(TemporaryFile(dir=folder))

        self._tubes = TubeStore(file())
        self._tracks = RowFile(file(), _TRACK_ROW)
        self._detections = RowFile(file(), _DETECTION_ROW)
        self._persons: dict[int, _Person] = {}
        self._person_of: dict[int, int] = {}  # by track
        self._knows_tracks = True
        self.best_tube, self.num_below, self.num_dropped = -1.0, 0, 0

    @property
    def num_left_out(self) -> int:
        """People who are not written."""
        return sum(not self._is_kept(person) for person in self._persons.values())

    def _is_kept(self, person: _Person) -> bool:
        return person.mean >= (self._least_followed if person.is_named else self._least_person)

    def add_detections(self, detections: Detections, track: np.ndarray | None = None) -> None:
        """Adds rows of the table of detections.

        Args:
            detections: of this video.
            track: (R,) of each, by the linker's numbers, -1 for none; None where it knows none.
        """
        self._knows_tracks = track is not None
        self._detections.append(
            frame=detections.frame, label=detections.label, score=detections.score,
            box=detections.boxes, track=np.full(len(detections), -1) if track is None else track,
        )  # fmt: skip

    def add(self, linked: LinkResult) -> None:
        """Adds whole tubes, and the tracks of the people in them."""
        self.num_dropped += linked.num_dropped
        tubes, tracks = linked.tubes, linked.tracks
        if tracks is None:
            number = np.unique(tubes.tube, return_inverse=True)[1] + len(self._persons) + 1
            tubes = replace(tubes, person=number.astype(np.int32))
            assert tubes.score is not None and tubes.person is not None
            tracks = Tracks(
                tubes.video, tubes.person, tubes.frame, tubes.score, tubes.boxes, tubes.video_names
            )
        self._person_of.update(linked.person_of)
        self._add_tracks(tracks)
        self._add_tubes(tubes)

    def _add_tracks(self, tracks: Tracks) -> None:
        starts = np.flatnonzero(
            (np.diff(tracks.person, prepend=-1) != 0) | (np.diff(tracks.frame, prepend=-1) != 1)
        ).tolist()
        for start, stop in zip(starts, [*starts[1:], len(tracks)]):
            rows = slice(start, stop)
            stored = self._tracks.append(
                frame=tracks.frame[rows], score=tracks.score[rows], box=tracks.boxes[rows]
            )
            person = self._persons.setdefault(int(tracks.person[start]), _Person())
            person.parts.append((int(tracks.frame[start]), stored))
            person.total += float(tracks.score[rows].sum())

    def _add_tubes(self, tubes: Tubes) -> None:
        assert tubes.tube_score is not None and tubes.person is not None
        _, start, count = np.unique(tubes.tube, return_index=True, return_counts=True)
        for row, length in zip(start.tolist(), count.tolist()):
            score, first = float(tubes.tube_score[row]), int(tubes.frame[row])
            person, label = self._persons[int(tubes.person[row])], int(tubes.label[row])
            person.is_named |= score >= self.least_tube
            spans, span = person.labels.setdefault(label, []), (score, first, first + length - 1)
            if spans and self._is_same(spans[-1], span):
                span = _join_spans(spans.pop(), span)
            spans.append(span)
        kept = select_rows(tubes, tubes.tube_score >= self.least_tube)
        self.best_tube = max(self.best_tube, tubes.tube_score.max(initial=-1.0))
        self.num_below += len(start) - len(np.unique(kept.tube))
        self._tubes.add(kept)

    def _is_same(self, span: _Span, other: _Span) -> bool:
        """Whether `other` is the next part of the same tube, and both or none are written."""
        is_kept, other_is_kept = (each[0] >= self.least_tube for each in (span, other))
        return span[2] + 1 == other[1] and is_kept == other_is_kept

    def write(
        self, video: VideoInput, labels: tuple[str, ...], times: FrameTimes, folder: Path, note: str
    ) -> VideoSummary:
        """Writes all tables.

        Args:
            video: see `open_video`.
            labels: the names that labels index.
            times: of all its frames.
            folder: where to write.
            note: what was left out, in words.
        """
        person_of = self._number_persons()
        with open_table_writer(folder / OUTPUT_FILES.tubes) as table:
            for tubes in self._tubes.iter_by_score(video.name, labels, person_of):
                table.write(tubes)
        with open_table_writer(folder / OUTPUT_FILES.tracks) as table:
            for tracks in self._iter_tracks(video.name, person_of):
                table.write(tracks)
        with open_table_writer(folder / OUTPUT_FILES.detections) as table:
            for detections in self._iter_detections(video.name, labels, person_of):
                table.write(detections)

        def as_actions(spans: Spans) -> Actions:
            start, end = times.seconds(spans.first, spans.last)
            return Actions(
                video=np.zeros(len(start), np.int32), person=spans.person.astype(np.int32),
                label=spans.label.astype(np.int32), start=start, end=end,
                first_frame=spans.first.astype(np.int32), last_frame=spans.last.astype(np.int32),
                score=spans.score, video_names=(video.name,), label_names=labels,
            )  # fmt: skip

        spans = self._tubes.spans()
        number = np.array([person_of.get(each, 0) for each in spans.person.tolist()], np.int64)
        spans = select_rows(replace(spans, person=number), number > 0)
        actions = as_actions(choose_actions(spans))
        write_table(actions, folder / OUTPUT_FILES.actions)
        write_table(as_actions(self._best_labels(person_of)), folder / OUTPUT_FILES.labels)
        info, num_frames = video.info, len(times)
        videos = make_videos([video.name], num_frames, info.width, info.height, info.fps)
        write_table(videos, folder / OUTPUT_FILES.videos)
        return summarize(
            actions, num_people=len(person_of), num_tubes=len(spans.score), num_frames=num_frames,
            note=note,
        )  # fmt: skip

    def _number_persons(self) -> dict[int, int]:
        """The numbers in the tables, by those of the linker; nobody else is in the tables."""
        kept = [
            (person.first, number)
            for number, person in self._persons.items()
            if self._is_kept(person)
        ]
        return {number: index for index, (_, number) in enumerate(sorted(kept), 1)}

    def _iter_tracks(self, name: str, person_of: dict[int, int]) -> Iterator[Tracks]:
        parts = [
            (index, rows)
            for number, index in person_of.items()
            for _, rows in sorted(self._persons[number].parts)
        ]
        for index, part in parts or [(1, StoredRows(0, 0))]:
            rows = self._tracks.read(part)
            yield Tracks(
                video=np.zeros(len(rows), np.int32), person=np.full(len(rows), index, np.int32),
                frame=rows["frame"], score=rows["score"], boxes=rows["box"], video_names=(name,),
            )  # fmt: skip

    def _iter_detections(
        self, name: str, labels: tuple[str, ...], person_of: dict[int, int]
    ) -> Iterator[Detections]:
        last = max(self._person_of, default=-1)
        person = np.full(last + 2, -1, np.int32)  # the last one, -1, for those in no track
        for track, number in self._person_of.items():
            person[track] = person_of.get(number, -1)
        for rows in self._detections.read_all():
            track = np.minimum(rows["track"], last + 1)
            yield Detections(
                video=np.zeros(len(rows), np.int32), frame=rows["frame"], label=rows["label"],
                score=rows["score"], boxes=rows["box"], video_names=(name,), label_names=labels,
                person=person[track] if self._knows_tracks else None,
            )  # fmt: skip

    def _best_labels(self, person_of: dict[int, int]) -> Spans:
        """The best labels of those who do something."""
        rows = [
            (index, label, first, last, score)
            for number, index in person_of.items()
            if self._persons[number].is_named
            for label, (score, first, last) in sorted(
                ((label, max(spans)) for label, spans in self._persons[number].labels.items()),
                key=lambda item: -item[1][0],
            )[:LABELS_KEPT]
        ]
        columns = np.array(rows, np.float64).reshape(-1, 5)
        person, label, first, last = columns[:, :4].astype(np.int64).T
        return Spans(person, label, first, last, columns[:, 4])


def _join_spans(span: _Span, other: _Span) -> _Span:
    """One span of two that follow each other; its score is the mean by length."""
    length, other_length = (last - first + 1 for _, first, last in (span, other))
    score = (span[0] * length + other[0] * other_length) / (length + other_length)
    return score, span[1], other[2]


@contextmanager
def open_video_tables(
    folder: Path, least_tube: float, least_person: float, least_followed: float = 0.0
) -> Iterator[VideoTables]:
    """Tables whose rows wait in the folder until the block ends."""
    with ExitStack() as stack:
        yield VideoTables(folder, stack, least_tube, least_person, least_followed)
