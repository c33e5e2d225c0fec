"""Precomputed person boxes, read from a table that another program may have written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...datasets.box_coordinates import (
    BoxUnit,
    require_declared_unit,
    rescale_boxes,
    same_aspect,
    to_pixels,
)
from ...datasets.errors import InputError, more_of, refuse_rows, some_of
from ...datasets.file_options import FileOptions
from ...datasets.formats.exchange.people import read_people
from ...datasets.tables import Detections, concatenate_rows, select_rows
from ...datasets.video.media import count_frames_to
from ...datasets.video.reader import VideoInfo
from ...datasets.video_names import VideoIndex
from ..boxes.interpolation import average_frames, fill_gaps
from .person_boxes import FunctionSource, PersonBoxes, clean_boxes

_NMS_IOU = 0.95  # only removes boxes of one person under several labels
_MAX_OVERHANG = 2.0  # pixels by which a box may extend beyond the frame without a warning
_LINKED_GAP = 5  # frames without a box that every linker bridges
_FILLED_GAP = 20
"""Frames that a person may miss and still be interpolated, as in ByteTrack (arXiv 2110.06864)."""
_MANY_LATE = 0.5  # share of boxes after the end of their videos
_REGULAR_SHARE = 0.8  # of the steps from one frame with boxes to the next


def table_source(
    name: str, *, device: str, threshold: float, files: FileOptions | None = None
) -> TableSource:
    """The boxes of the file or folder of that name; all are used, whatever their score.

    Args:
        name: the file, see `read_people`.
        device, threshold: of other sources.
        files: what the file leaves open.

    Raises:
        InputError: there is no such file, or it has no person boxes.
    """
    files = files or FileOptions()
    people = read_people(Path(name), files)
    return TableSource(
        people.boxes, name=name, unit=files.box_unit, frame_size=people.frame_size,
        shows_absence=people.shows_absence,
    )  # fmt: skip


class TableSource:
    """Precomputed boxes of any number of videos.

    Args:
        table: boxes in pixels of the original videos; labels are ignored.
        name: how messages call the table.
        unit: of the boxes; None refuses fractions of the frame.
        frame_size: width and height of the frames that boxes refer to, of videos of which they may
            differ from the video's own.
        shows_absence: whether frames between a person's boxes without one are not interpolated,
            unless boxes are on every n-th frame only.

    Raises:
        InputError: a score is not in [0, 1], or boxes are fractions without `unit` "fraction".
    """

    def __init__(
        self, table: Detections, *, name: str = "the table", unit: BoxUnit | None = None,
        frame_size: Mapping[str, tuple[int, int]] | None = None, shows_absence: bool = False,
    ) -> None:  # fmt: skip
        if unit is None:
            require_declared_unit(table.boxes, name)
        bad = ~((table.score >= 0) & (table.score <= 1))
        refuse_rows(bad, name, "score must be between 0 and 1")
        self.table, self.name, self.unit = table, name, unit or "pixel"
        self.frame_size, self.shows_absence = frame_size or {}, shows_absence

    def open(self, video: VideoInfo) -> FunctionSource:
        """The boxes of one video, found by its path; see `VideoIndex.find_file`.

        Raises:
            InputError: the video is not in the table.

        Warns:
            See `select`; and once where frames between those with boxes are asked for, and boxes
            are too far apart to be linked.
        """
        table, size = self.select([video]), (video.height, video.width)
        is_sparse = frame_interval(table.frame, 1) > _LINKED_GAP
        first, last = (int(table.frame[0]), int(table.frame[-1])) if len(table) else (0, 0)

        def propose(frames: np.ndarray, first_frame: int) -> Iterator[PersonBoxes]:
            nonlocal is_sparse
            numbers = np.arange(first_frame, first_frame + len(frames) + 1)
            scale = np.array(frames.shape[2:0:-1]) / size[::-1]
            bounds = np.searchsorted(table.frame, numbers)
            between = (numbers[:-1] > first) & (numbers[:-1] < last)
            if is_sparse and (between & (np.diff(bounds) == 0)).any():
                is_sparse = False
                self.warn_of_intervals(table)
            for start, stop in pairwise(bounds):
                rows = select_rows(table, np.arange(start, stop))
                people = clean_boxes(
                    rows.boxes, rows.score, size, nms_iou=_NMS_IOU, person=rows.person
                )
                yield people if frames.shape[1:3] == size else people.scaled(scale)

        return FunctionSource(propose)

    def check_files(self, paths: Sequence[Path]) -> None:
        """Compares the table with all the files that are to be opened.

        Raises:
            InputError: two of them are the same video of the table.

        Warns:
            The table has boxes of other videos.
        """
        index, file_of = VideoIndex(self.table.video_names), dict[int, Path]()
        for path in paths:
            codes, _ = index.match_file(path)
            if len(codes) == 1 and file_of.setdefault(codes[0], path) != path:
                raise InputError(
                    f"{self.name}: video {index.names[codes[0]]} could be {file_of[codes[0]]}, "
                    f"{path}; write their folders before the name in the table"
                )
        others = np.flatnonzero(~np.isin(self.table.video, list(file_of)))
        if file_of and len(others):
            warnings.warn(
                f"{self.name}: ignoring {len(others)} boxes of other videos, such as "
                f"{index.names[self.table.video[others[0]]]}",
                stacklevel=2,
            )

    def select(self, videos: Sequence[VideoInfo]) -> Detections:
        """The boxes of some videos, in pixels of these.

        Where persons are told apart, each person's boxes are interpolated over gaps of up to 20
        frames, and where boxes are on every n-th frame only, from one of these to the next.

        Returns:
            sorted by video and frame; `video_names` are the paths of `videos`.

        Raises:
            InputError: a video is not in the table, or has another shape of frames than it says.

        Warns:
            In one line each: boxes after the end of their video, and boxes outside its frame, which
            are left out; boxes that extend beyond the frame, which are clipped; boxes that were
            scaled or interpolated.
        """
        table = self._of_videos(videos)
        sizes = np.array([(video.width, video.height) for video in videos])[table.video]
        table = replace(table, boxes=to_pixels(table.boxes, sizes, self.name, self.unit))
        table = self._scale(table, videos)
        last = np.full(len(videos), -1)
        np.maximum.at(last, table.video, table.frame)
        num_frames = np.array([count_frames_to(*pair) for pair in zip(videos, last.tolist())])
        late = table.frame >= num_frames[table.video]
        hint = ""
        if len(late) and late.mean() >= _MANY_LATE:
            hint = "; check that frames count from 0 and that the videos have this frame rate"
        elif (table.frame[late] == num_frames[table.video[late]]).all() and table.frame.all():
            hint = "; give --first-frame 1 if the table counts from 1"
        self._warn_of(table, late, f"are after the end of their video and are left out{hint}")
        outside = (table.boxes[:, :2] >= sizes) | (table.boxes[:, 2:] <= 0)
        outside = outside.any(axis=1) & ~late
        self._warn_of(table, outside, "are outside the frame of their video and are left out")
        over = (table.boxes < -_MAX_OVERHANG) | (table.boxes > np.tile(sizes, 2) + _MAX_OVERHANG)
        over = over.any(axis=1) & ~late & ~outside
        self._warn_of(table, over, "extend beyond the frame of their video and are clipped")
        table = select_rows(table, ~(late | outside))
        return table if table.person is None else self._interpolate(table)

    def _of_videos(self, videos: Sequence[VideoInfo]) -> Detections:
        """The rows of some videos, by video and frame; `video` becomes the index into these."""
        index = VideoIndex(self.table.video_names)
        by_video = np.argsort(self.table.video, kind="stable")
        bounds = np.searchsorted(self.table.video[by_video], np.arange(len(index.names) + 1))
        parts = []
        for video in videos:
            code = index.find_file(video.path)
            if code is None:
                raise InputError(
                    f"{self.name}: contains no video of the name of {video.path}; it has "
                    f"{some_of(index.names) or 'no videos'}"
                )
            rows = by_video[bounds[code] : bounds[code + 1]]
            parts.append(rows[np.argsort(self.table.frame[rows], kind="stable")])
        table = select_rows(self.table, np.concatenate([np.empty(0, np.int64), *parts]))
        position = np.repeat(np.arange(len(videos), dtype=np.int32), list(map(len, parts)))
        names = tuple(str(video.path) for video in videos)
        return replace(table, video=position, video_names=names)

    def _scale(self, table: Detections, videos: Sequence[VideoInfo]) -> Detections:
        """Boxes of frames of another size than the video's in pixels of the video."""
        if self.unit == "fraction" or not self.frame_size:
            return table
        index, boxes, changed = VideoIndex(tuple(self.frame_size)), table.boxes.copy(), []
        for code, video in enumerate(videos):
            row = index.find_file(video.path)
            size, own = (video.width, video.height), table.video == code
            if row is None or (stated := [*self.frame_size.values()][row]) == size:
                continue
            words = f"{video.path} is {size[0]}x{size[1]}, its boxes are of frames of "
            words += f"{stated[0]}x{stated[1]}"
            if not same_aspect(stated, size):
                raise InputError(f"{self.name}: {words}; give the video that the boxes are for")
            boxes[own] = rescale_boxes(boxes[own], stated, size)
            changed.append(words)
        if changed:
            warnings.warn(
                f"{self.name}: {changed[0]}{more_of(len(changed), 'video')}; they are scaled",
                stacklevel=4,
            )
        return replace(table, boxes=boxes)

    def _interpolate(self, table: Detections) -> Detections:
        parts, filled, gaps, added = [], [], 0, 0
        longest = 1 if self.shows_absence else _FILLED_GAP
        for rows in _split_by_video(table):
            interval = frame_interval(rows.frame)
            whole = interpolate_people(rows, max(interval, longest))
            if interval > 1:
                filled.append(f"{rows.video_names[rows.video[0]]}, {interval} frames apart")
            elif len(whole) > len(rows):
                gaps += count_gaps(rows, _FILLED_GAP)
                added += len(whole) - len(rows)
            parts.append(whole if interval > 1 or len(whole) > len(rows) else rows)
        if gaps:
            warnings.warn(
                f"{self.name}: {gaps} gaps of up to {_FILLED_GAP} frames in the boxes of a person "
                f"are interpolated, {added} boxes in all; longer ones stay",
                stacklevel=4,
            )
        if filled:
            warnings.warn(
                f"{self.name}: boxes are on every n-th frame only ({some_of(filled)}); between "
                "these frames the boxes of each person are interpolated",
                stacklevel=4,
            )
        return concatenate_rows(parts) if parts else table

    def _warn_of(self, table: Detections, bad: np.ndarray, what: str) -> None:
        """Warns of some rows, with their number and the first of them."""
        if bad.any():
            row = int(bad.argmax())
            box = ", ".join(f"{side:.4g}" for side in table.boxes[row])
            warnings.warn(
                f"{self.name}: {int(bad.sum())} of {len(bad)} boxes {what} (the first: "
                f"{table.video_names[table.video[row]]}, frame {table.frame[row]}, {box})",
                stacklevel=4,
            )

    def warn_of_intervals(self, table: Detections) -> None:
        """Warns of boxes of `select` that are on every n-th frame only, too far to be linked."""
        far = {}
        for rows in _split_by_video(table):
            interval = frame_interval(rows.frame, 1)
            if interval > _LINKED_GAP:
                far[rows.video_names[rows.video[0]]] = interval, int(rows.frame[0])
        if far:
            video, (interval, first) = next(iter(far.items()))
            option = "" if first % interval else f"--key-frame-step {interval}, "
            warnings.warn(
                f"{self.name}: boxes of {video}{more_of(len(far), 'video')} are {interval} frames "
                f"apart, too far to be linked into tubes; give {option}boxes on more frames, or a "
                "column person (boxes of one person are interpolated)",
                stacklevel=4,
            )


def _split_by_video(table: Detections) -> list[Detections]:
    """The rows of each video that has some, of a table sorted by video."""
    starts = np.flatnonzero(np.diff(table.video, prepend=-1))
    pairs = pairwise([*starts.tolist(), len(table)])
    return [select_rows(table, np.arange(start, stop)) for start, stop in pairs]


def frame_interval(frame: np.ndarray, least_steps: int = 2) -> int:
    """The distance of the frames with boxes where it is regular, else 1.

    Args:
        frame: (R,) of one video.
        least_steps: from one frame with boxes to the next; with fewer, nothing is known.
    """
    steps = np.diff(np.unique(frame))
    if len(steps) < least_steps:
        return 1
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[counts.argmax()])
    return usual if (steps % usual == 0).mean() >= _REGULAR_SHARE else 1


def count_gaps(table: Detections, longest: int) -> int:
    """How often a person of a video has no box for some frames, up to `longest` from box to box."""
    assert table.person is not None
    order = np.lexsort((table.frame, table.person))
    order = order[table.person[order] >= 0]
    same = np.diff(table.person[order]) == 0
    steps = np.diff(table.frame[order])
    return int((same & (steps > 1) & (steps <= longest)).sum())


def interpolate_people(table: Detections, interval: int) -> Detections:
    """The boxes with those of the frames between, where a person's next box is `interval` later.

    Args:
        table: of one video, with persons; rows without a person (-1) stay as they are.
        interval: frames.

    Returns:
        sorted by frame.
    """
    assert table.person is not None
    known = table.person >= 0
    order = np.lexsort((table.frame, table.person))
    order = order[known[order]]
    frame, person = table.frame[order], table.person[order]
    # Where the person was away, another stretch begins.
    begins = (np.diff(person, prepend=-1) != 0) | (np.diff(frame, prepend=0) > interval)
    columns = np.column_stack([table.boxes, table.score, table.person])[order]
    frame, _, columns = fill_gaps(*average_frames(frame, np.cumsum(begins), columns))
    rest = select_rows(table, ~known)
    frame = np.concatenate([rest.frame, frame]).astype(np.int32)
    by_frame = np.argsort(frame, kind="stable")
    return replace(
        table,
        video=np.full(len(frame), table.video[0]),
        frame=frame[by_frame],
        label=np.zeros(len(frame), np.int32),
        boxes=np.concatenate([rest.boxes, columns[:, :4]])[by_frame],
        score=np.concatenate([rest.score, columns[:, 4]])[by_frame],
        person=np.concatenate([rest.person, columns[:, 5].astype(np.int64)])[by_frame],
    )
