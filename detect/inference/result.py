"""The results of one video: tables, a plot and files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...datasets.errors import InputError
from ...datasets.storage.text_files import read_lines
from ...datasets.table_io import as_arrow, read_table, write_table
from ...datasets.table_writer import LABEL_COLUMNS, OUTPUT_FILES, open_label_writer
from ...datasets.tables import Actions, Detections, Tracks, Tubes, Videos, select_rows
from ..boxes.nms import nms_across_classes
from ..visualization.frame import draw_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

TableKind = Literal["actions", "tubes", "detections", "tracks", "videos", "labels"]


@dataclass(frozen=True, eq=False)
class Result:
    """The action tubes of one video.

    Attributes:
        tubes: numbered from the highest score to the lowest.
        detections: on every frame, also those that are in no tube.
        videos: the video.
        labels: tube number, label and score; of a tube without training, several labels.
        frames: reads the frames of the video from a frame number on.
        one_tube_per_person: whether tubes that overlap are different people.
    """

    tubes: Tubes
    detections: Detections
    videos: Videos
    labels: tuple[tuple[int, str, float], ...]
    frames: Callable[[int], Iterator[np.ndarray]]
    one_tube_per_person: bool = False

    @classmethod
    def read(
        cls,
        folder: Path,
        frames: Callable[[int], Iterator[np.ndarray]],
        one_tube_per_person: bool = False,
    ) -> Result:
        """From the tables in a folder."""
        path = folder / OUTPUT_FILES.labels
        try:
            rows = tuple(
                (int(row["tube"]), str(row["label"]), float(row["score"]))
                for row in csv.DictReader(read_lines(path))
            )
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{path}: is damaged ({type(error).__name__}); delete its folder and run again"
            ) from error
        return cls(
            tubes=read_table(Tubes, folder / OUTPUT_FILES.tubes),
            detections=read_table(Detections, folder / OUTPUT_FILES.detections),
            videos=read_table(Videos, folder / OUTPUT_FILES.videos), labels=rows, frames=frames,
            one_tube_per_person=one_tube_per_person,
        )  # fmt: skip

    def above(self, threshold: float) -> Result:
        """Without the tubes whose score is lower."""
        assert self.tubes.tube_score is not None
        tubes = select_rows(self.tubes, self.tubes.tube_score >= threshold)
        kept = set(tubes.tube.tolist())
        return replace(self, tubes=tubes, labels=tuple(r for r in self.labels if r[0] in kept))

    @property
    def tracks(self) -> Tracks:
        """Where each person is. So far, each tube is taken as a person of its own."""
        tubes = self.tubes
        assert tubes.score is not None
        return Tracks(
            video=tubes.video, person=(tubes.tube + 1).astype(np.int32), frame=tubes.frame,
            score=tubes.score, boxes=tubes.boxes, video_names=tubes.video_names,
        )  # fmt: skip

    @property
    def actions(self) -> Actions:
        """Who does what from when to when: one row for each tube, highest score first.

        So far, each tube is taken as a person of its own, and seconds follow from the mean frame
        rate (NaN where it is unknown).
        """
        tubes, fps = self.tubes, float(self.videos.fps[0])
        assert tubes.tube_score is not None
        number, first = np.unique(tubes.tube, return_index=True)
        last = np.append(first[1:], len(tubes))[: len(first)] - 1
        first_frame, last_frame = tubes.frame[first], tubes.frame[last]
        return Actions(
            video=tubes.video[first], person=(number + 1).astype(np.int32),
            label=tubes.label[first], start=first_frame / fps, end=(last_frame + 1) / fps,
            first_frame=first_frame, last_frame=last_frame, score=tubes.tube_score[first],
            video_names=tubes.video_names, label_names=tubes.label_names,
        )  # fmt: skip

    def to_df(self, kind: TableKind = "actions") -> pandas.DataFrame:
        """A table as a data frame, with the columns of its file."""
        import pandas

        if kind == "labels":
            name = self.videos.video[0]
            rows = [(name, *row) for row in self.labels]
            return pandas.DataFrame(rows, columns=list(LABEL_COLUMNS))
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
        tubes = select_rows(self.tubes, self.tubes.frame == frame)
        if not self.one_tube_per_person:
            tubes = nms_across_classes(tubes)
        names = [tubes.label_names[label] for label in tubes.label]
        drawn = draw_frame(image, tubes.boxes, names, tubes.tube_score, tubes.tube)
        height, width = drawn.shape[:2]
        figure = Figure(figsize=(8, 8 * height / width), layout="constrained")
        axes = figure.subplots()
        axes.imshow(drawn)
        axes.set_axis_off()
        axes.set_title(f"{self.videos.video[0]}, frame {frame}")
        return figure

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Writes the tables that `actiontubes detect` writes; their paths by kind."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kinds = ("detections", "tubes", "videos", "labels")
        paths = {kind: folder / getattr(OUTPUT_FILES, kind) for kind in kinds}
        for kind in ("detections", "tubes", "videos"):
            write_table(getattr(self, kind), paths[kind])
        with open_label_writer(paths["labels"]) as writer:
            name = self.videos.video[0]
            writer.writerows((name, n, label, f"{score:.6f}") for n, label, score in self.labels)
        return paths
