"""CVAT's tracks as ground truth: each stretch of an action is a tube of its person.

Frame numbers in CVAT's files are the video's own, from 0: the start frame and the step of a task
are already applied.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...class_list import ClassList
from ...errors import InputError, some_of
from ...storage.files import allowed_memory
from ...tables import Tubes
from ..annotation_format import GroundTruth, ReadOptions
from ..exchange.person_tracks import tubes_of_tracks
from .actions import ActionRule, choose_rule, label_rule
from .content import CvatContent, Task, Track, is_cvat, read_content
from .shapes import fill_between

_ROW_BYTES = 80  # of a table's row, with what is made on the way
_MAX_ANNOTATED = 20_000_000  # frames of all tasks


def read_cvat(path: Path, options: ReadOptions) -> GroundTruth:
    """Reads CVAT for video 1.1.

    Args:
        path: its XML, a zip file with it, or a folder that holds some of these.
        options: `label_attribute` says what the actions are; `first_frame` the number of a video's
            first frame, 0 without it.

    Returns:
        tubes with persons; `annotated_frames` are those of the tasks. There are no `videos`: a task
        may have only a part of its video's frames.

    Raises:
        InputError: not such a file, or one that can be read in several ways.

    Warns:
        what was interpolated, replaced by its bounding box, or left out.
    """
    files = cvat_files(path) if path.is_dir() else [path]
    parts = [(file, content) for file in files for content in read_content(file)]
    contents = [content for _, content in parts]
    rule = (
        label_rule(contents) if options.only_people
        else choose_rule(contents, options.label_attribute, path)
    )  # fmt: skip
    names = sorted({task.video for content in contents for task in content.tasks.values()})
    rows = _Rows(path, {name: code for code, name in enumerate(names)}, options.first_frame or 0)
    tasks: dict[str, list[Task]] = {name: [] for name in names}
    for file, content in parts:
        for task in content.tasks.values():
            tasks[task.video].append(task)
        _add_tracks(rows, content, rule, file)
    rows.warn()
    for content in contents[1:]:
        contents[0].reshaped.update(content.reshaped)
    if reshaped := contents[0].reshaped:
        kinds = some_of(f"{count} of kind {kind}" for kind, count in reshaped.most_common())
        warnings.warn(f"{path}: shapes became their bounding boxes: {kinds}", stacklevel=3)
    return _ground_truth(rows, tasks, rule)


def cvat_files(folder: Path) -> list[Path]:
    """CVAT's files in a folder, and <video>.cvat.xml in those below it."""
    inside = [file for file in folder.iterdir() if file.is_file() and is_cvat(file)]
    return sorted({*inside, *folder.rglob("*.cvat.xml")})


class _Part(NamedTuple):
    """The boxes of one action of a track."""

    video: int
    person: int
    label: str
    frames: np.ndarray
    boxes: np.ndarray


@dataclass
class _Rows:
    """What tracks are collected in, and what is counted on the way."""

    path: Path
    videos: dict[str, int]
    first_frame: int
    parts: list[_Part] = field(default_factory=list)
    persons: Counter[int] = field(default_factory=Counter)
    count: int = 0
    between: int = 0
    held: int = 0
    idle: int = 0
    idle_persons: int = 0
    empty: int = 0

    def reserve(self, count: int) -> None:
        """Refuses a file whose few keyframes would become more boxes than memory can hold."""
        self.count += count
        if self.count * _ROW_BYTES > allowed_memory(0):
            raise InputError(
                f"{self.path}: its keyframes are so far apart that {self.count:,} boxes lie "
                "between them; check the frame numbers"
            )

    def warn(self) -> None:
        """Says what was counted."""
        for count, words in (
            (self.between, "boxes between keyframes were interpolated"),
            (self.held, "boxes after the last keyframe of a track were held, as CVAT shows them"),
            (self.idle, f"boxes of {self.idle_persons} tracks show no action, and are left out"),
            (self.empty, "tracks have no box that is not outside, and are left out"),
        ):
            if count:
                warnings.warn(f"{self.path}: {count} {words}", stacklevel=4)


def _add_tracks(rows: _Rows, content: CvatContent, rule: ActionRule, file: Path) -> None:
    numbers = [(content.tasks[track.task].video, track.number) for track in content.tracks]
    repeated = len(set(numbers)) < len(numbers)
    is_sparse = not content.has_all_frames and any(
        _has_gaps(track, content.tasks[track.task].step) for track in content.tracks
    )
    # A second task of the same video has other people, whatever their numbers.
    first = {video: rows.persons[video] for video in rows.videos.values()}
    for index, track in enumerate(content.tracks):
        task = content.tasks[track.task]
        video = rows.videos[task.video]
        person = first[video] + 1 + (index if repeated else track.number)
        rows.persons[video] = max(rows.persons[video], person)
        _add_track(rows, track, task, video, person, rule, is_sparse, file)


def _has_gaps(track: Track, step: int) -> bool:
    return bool(((np.diff(track.frames) > step) & ~track.outside[:-1]).any())


def _add_track(
    rows: _Rows, track: Track, task: Task, video: int, person: int, rule: ActionRule,
    is_sparse: bool, file: Path,
) -> None:  # fmt: skip
    if track.outside.all():
        rows.empty += 1
        return
    place = f"{file}: track {track.number}"
    if ((track.frames - task.start) % task.step).any() or (track.frames < task.start).any():
        bad = track.frames[
            ((track.frames - task.start) % task.step != 0) | (track.frames < task.start)
        ]
        raise InputError(
            f"{place}: frame {bad[0]} is none of its task, which starts at {task.start} with a "
            f"step of {task.step}; correct start_frame and frame_filter in <meta>"
        )
    # A file that has keyframes alone shows the last one of a track until the task ends.
    last = task.stop if is_sparse and not track.outside[-1] else None
    rows.reserve((max(last or 0, int(track.frames[-1])) - int(track.frames[0])) // task.step + 1)
    frames, boxes, before = fill_between(track.frames, track.boxes, last, task.step)
    seen = ~track.outside[before]
    given = np.isin(frames, track.frames)
    after_last = frames > track.frames[-1]
    rows.held += int((seen & after_last).sum())
    rows.between += int((seen & ~given & ~after_last).sum())
    actions = [rule.actions(track.label, each) for each in track.attributes]
    names = dict.fromkeys(name for each in actions for name in each)
    idle = seen & np.array([not each for each in actions])[before]
    rows.idle += int(idle.sum())
    rows.idle_persons += bool(idle.any())
    for name in names:
        own = seen & np.array([name in each for each in actions])[before]
        part = _Part(video, person, name, frames[own] - rows.first_frame, boxes[own])
        rows.parts.append(part)


def _ground_truth(rows: _Rows, tasks: dict[str, list[Task]], rule: ActionRule) -> GroundTruth:
    parts = [part for part in rows.parts if len(part.frames)]
    used = dict.fromkeys(part.label for part in parts)
    labels = tuple(dict.fromkeys([*(name for name in rule.order if name in used), *used]))
    counts = [len(part.frames) for part in parts]

    def repeat(values: Iterator[int]) -> np.ndarray:
        return np.repeat(np.fromiter(values, np.int32, len(parts)), counts)

    video, person = repeat(part.video for part in parts), repeat(part.person for part in parts)
    code = {name: number for number, name in enumerate(labels)}
    label = repeat(code[part.label] for part in parts)
    frame = np.concatenate([np.empty(0, np.int64), *(part.frames for part in parts)])
    step = np.array([min(task.step for task in tasks[name]) for name in rows.videos], np.int64)
    tubes = Tubes(
        video=video, frame=frame.astype(np.int32), label=label,
        boxes=np.concatenate([np.empty((0, 4)), *(part.boxes for part in parts)]),
        tube=tubes_of_tracks(video, person, label, frame, step), person=person,
        video_names=tuple(rows.videos), label_names=labels,
    )  # fmt: skip
    order = rule.order if set(labels) <= set(rule.order) else labels
    return GroundTruth(
        path=rows.path, tubes=tubes, classes=ClassList(order, source=str(rows.path)),
        annotated_frames=_annotated_frames(tasks, rows), frame_size=_frame_sizes(tasks, rows.path),
    )  # fmt: skip


def _frame_sizes(tasks: dict[str, list[Task]], path: Path) -> dict[str, tuple[int, int]]:
    sizes = {}
    for name, own in tasks.items():
        known = sorted({(task.width, task.height) for task in own if task.width and task.height})
        if len(known) > 1:
            words = " and ".join(f"{width}x{height}" for width, height in known)
            raise InputError(
                f"{path}: tasks of video {name} have frames of {words}; if they are different "
                "videos of one name, convert each task by itself"
            )
        if known:
            sizes[name] = known[0]
    return sizes


def _annotated_frames(tasks: dict[str, list[Task]], rows: _Rows) -> np.ndarray | None:
    """The frames of all tasks; None where a task does not say which they are.

    Raises:
        InputError: two tasks have the same frame of a video.
    """
    parts = []
    total = 0
    for name, code in rows.videos.items():
        spans = sorted(
            (task.start, task.stop, task.step) for task in tasks[name] if task.stop is not None
        )
        if len(spans) < len(tasks[name]):
            if len(tasks[name]) > 1:
                raise InputError(
                    f"{rows.path}: {len(tasks[name])} tasks are of a video {name}, and do not say "
                    "which frames they have; convert them one by one"
                )
            return None
        for (_, stop, _), (start, *_) in pairwise(spans):
            if stop is not None and start <= stop:
                raise InputError(
                    f"{rows.path}: two tasks have frame {start} of video {name}; if they are "
                    "different videos of one name, convert each task by itself"
                )
        for start, stop, step in spans:
            assert stop is not None
            total += (stop - start) // step + 1
            if total > _MAX_ANNOTATED:
                raise InputError(f"{rows.path}: its tasks have more than {_MAX_ANNOTATED:,} frames")
            frames = np.arange(start, stop + 1, step, dtype=np.int32) - rows.first_frame
            parts.append(np.stack([np.full_like(frames, code), frames], axis=1))
    return np.concatenate(parts) if parts else None
