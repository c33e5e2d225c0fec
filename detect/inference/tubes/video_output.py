"""What the user reads about one video, and a bar while it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ....datasets.tables import Actions
from ....datasets.video.reader import VideoInfo

_SHOWN_ACTIONS = 5  # in a summary


@dataclass(frozen=True)
class VideoSummary:
    """What the user reads about one video.

    Attributes:
        name: as in the tables.
        num_frames: frames read.
        people: number of people.
        actions: number of actions.
        tubes: number of tubes.
        best: a line for each of the actions with the highest scores.
        note: what was left out, in words.
    """

    name: str
    num_frames: int
    people: int
    actions: int
    tubes: int
    best: tuple[str, ...]
    note: str = ""

    def text(self) -> str:
        """A line for the video and one for each of the best actions."""
        people = "1 person" if self.people == 1 else f"{self.people} people"
        actions = f"{self.actions} action{'s' * (self.actions != 1)}"
        note = f" ({self.note})" if self.note else ""
        lines = [f"{self.name}: {people}, {actions}, {self.num_frames} frames{note}", *self.best]
        more = self.actions - len(self.best)
        return "\n".join(lines + [f"  and {more} more"] * (more > 0))


WriteTables = Callable[[Path], VideoSummary]
"""Writes the tables of a video, the `RESULT_FILES`, to a folder."""


def frames_bar(info: VideoInfo, progress: bool) -> tqdm:
    """A progress bar for the frames of a video; it appears after a second."""
    return tqdm(
        desc=info.path.name, total=info.num_frames, unit=" frames", disable=not progress,
        leave=False, delay=1,
    )  # fmt: skip


def summarize(
    actions: Actions, *, num_people: int, num_tubes: int, num_frames: int, note: str
) -> VideoSummary:
    """The summary of a video, whose actions these are.

    Each line has the score, the person, the label and when.
    """
    lines = []
    for row in np.argsort(-actions.score, kind="stable")[:_SHOWN_ACTIONS].tolist():
        span = f"frames {actions.first_frame[row]}-{actions.last_frame[row]}"
        if np.isfinite(actions.start[row]):
            span = f"{actions.start[row]:.2f}-{actions.end[row]:.2f} s, {span}"
        label = actions.label_names[actions.label[row]]
        lines.append(f"  {actions.score[row]:.2f}  person {actions.person[row]:<3} {label}  {span}")
    return VideoSummary(
        name=actions.video_names[0], num_frames=num_frames, people=num_people,
        actions=len(actions), tubes=num_tubes, best=tuple(lines), note=note,
    )  # fmt: skip
