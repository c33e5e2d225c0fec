"""The results of one video: tables, a plot and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...datasets.table_io import as_arrow, read_table, write_table
from ...datasets.table_writer import OUTPUT_FILES
from ...datasets.tables import Actions, Detections, Tracks, Tubes, Videos, select_rows
from ..boxes.nms import nms_across_classes
from ..linking.actions import boxes_of_actions
from ..visualization.results_page import find_spans, write_results_page
from ..visualization.video import draw_tubes

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

TableKind = Literal["actions", "tubes", "detections", "tracks", "videos", "labels"]
_KINDS: dict[str, Any] = {
    "detections": Detections, "tubes": Tubes, "tracks": Tracks, "videos": Videos,
    "actions": Actions, "labels": Actions,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result:
    """Who does what, where and when in one video.

    A score is the probability that this person does this here.

    Attributes:
        actions: who does what from when to when, one thing at a time, by person and start.
        tubes: numbered from the highest score to the lowest; those of one person may overlap.
        detections: on every frame, also those that are in no tube.
        tracks: where everyone is who was followed, also those who do nothing that has a name.
        labels: the five best labels of each person who does something.
        videos: the video.
        frames: reads the frames of the video from a frame number on.
        one_label: whether tubes that overlap may be of one person, since their linker does not
            know persons.
        media: the video's file, for the page; None where there is none.
    """

    actions: Actions
    tubes: Tubes
    detections: Detections
    tracks: Tracks
    labels: Actions
    videos: Videos
    frames: Callable[[int], Iterator[np.ndarray]]
    one_label: bool = False
    media: Path | None = None

    @classmethod
    def read(
        cls,
        folder: Path,
        frames: Callable[[int], Iterator[np.ndarray]],
        one_label: bool = False,
        media: Path | None = None,
    ) -> Result:
        """From the tables in a folder.

        Raises:
            InputError: one of them is missing or damaged.
        """
        tables = {
            name: read_table(kind, folder / getattr(OUTPUT_FILES, name))
            for name, kind in _KINDS.items()
        }
        return cls(**tables, frames=frames, one_label=one_label, media=media)

    def above(self, threshold: float) -> Result:
        """Without the tubes and actions whose score is lower."""
        assert self.tubes.tube_score is not None
        tubes = select_rows(self.tubes, self.tubes.tube_score >= threshold)
        actions = select_rows(self.actions, self.actions.score >= threshold)
        labels = select_rows(self.labels, np.isin(self.labels.person, actions.person))
        return replace(self, tubes=tubes, actions=actions, labels=labels)

    def to_df(self, kind: TableKind = "actions") -> pandas.DataFrame:
        """A table as a data frame, with the columns of its file."""
        return as_arrow(getattr(self, kind)).to_pandas()

    def plot(self, frame: int | None = None) -> Figure:
        """A frame with its tubes drawn.

        Args:
            frame: its number; None takes the middle of the best tube.

        Raises:
            InputError: the frames came from an iterator, which cannot be read twice.
            IndexError: the video has no such frame.
        """
        from matplotlib.figure import Figure

        if frame is None:
            best = self.tubes.frame[self.tubes.tube == self.tubes.tube.min(initial=0)]
            frame = int(np.median(best)) if len(best) else 0
        image = next(self.frames(frame), None)
        if image is None:
            raise IndexError(f"the video has no frame {frame}")
        tubes = boxes_of_actions(self.tubes, self.actions)
        tubes = select_rows(tubes, tubes.frame == frame)
        if self.one_label:
            tubes = nms_across_classes(tubes)
        tracks = None if self.one_label else self.tracks
        if tracks is not None:
            tracks = select_rows(tracks, tracks.frame == frame)
        drawn = draw_tubes(image, frame, tubes, tracks=tracks)
        height, width = drawn.shape[:2]
        figure = Figure(figsize=(8, 8 * height / width), layout="constrained")
        axes = figure.subplots()
        axes.imshow(drawn)
        axes.set_axis_off()
        axes.set_title(f"{self.videos.video[0]}, frame {frame}")
        return figure

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Writes the tables and the page of `actiontubes detect`; their paths by kind."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {kind: folder / getattr(OUTPUT_FILES, kind) for kind in _KINDS}
        for kind, path in paths.items():
            write_table(getattr(self, kind), path)
        media = {} if self.media is None else {self.videos.video[0]: self.media}
        spans = find_spans(self.tracks)
        page = write_results_page(folder, self.videos, self.actions, spans, media)
        return {**paths, "page": page}
