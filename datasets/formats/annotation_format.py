"""What an annotation format is: the interface that every file of this folder implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ..errors import InputError
from ..tables import Detections, Tubes, Videos

BoxUnit = Literal["pixel", "fraction"]
"""Whether boxes are in pixels of the video or in fractions of its frame."""
FrameUnit = Literal["frame", "second"]
"""Whether the column `frame` counts frames or seconds."""
Splits = Mapping[str, Sequence[str]]
"""Names of videos by list: train1, test1, train2, ..."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """All the ground truth of a file or folder.

    Attributes:
        path: the file that was read, for messages.
        tubes: of every split, without scores.
        videos: size and length of the videos, or None where the format does not say.
        splits: the lists of videos.
        default_split: the split to evaluate where none is chosen; None for all videos.
        annotated_frames: (F, 2) int32 index into `tubes.video_names` and frame, where only some
            frames were annotated; None for every frame.
        box_unit: see `BoxUnit`.
        frame_unit: see `FrameUnit`.
    """

    path: Path
    tubes: Tubes
    videos: Videos | None = None
    splits: Splits = field(default_factory=dict)
    default_split: int | None = None
    annotated_frames: np.ndarray | None = None
    box_unit: BoxUnit = "pixel"
    frame_unit: FrameUnit = "frame"


@dataclass(frozen=True)
class ReadOptions:
    """What a file may leave open.

    Attributes:
        video_names: the videos in the order in which the format numbers them, or None.
        classes: the classes in the order in which the format numbers them, or None.
        annotations: COCO: the annotation file that belongs to a file of results; None for
            annotations.json beside it.
    """

    video_names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    annotations: Path | None = None

    @classmethod
    def from_ground_truth(
        cls, ground_truth: Tubes | None, annotations: Path | None = None
    ) -> ReadOptions:
        """Options with the names of the videos and classes of ground truth; none without it."""
        if ground_truth is None:
            return cls(annotations=annotations)
        names = ground_truth.video_names, ground_truth.label_names
        return cls(video_names=names[0], classes=names[1], annotations=annotations)

    def require_names(self, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of videos and classes, for a format that holds numbers.

        Raises:
            InputError: they are not known.
        """
        if self.video_names is None or self.classes is None:
            raise InputError(
                f"{path}: this format holds numbers instead of names; give --ground-truth to name "
                "the videos and classes"
            )
        return self.video_names, self.classes


class AnnotationFormat(Protocol):
    """Reads and writes the files of one format. What a format does not override, it refuses."""

    name: str
    """The format in words, for messages."""

    def matches(self, path: Path) -> bool:
        """Whether an existing file or folder is of this format, by its extension and content."""
        ...

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        """Reads ground truth of every split.

        Raises:
            InputError: the file is not readable, or not of this format.
        """
        raise InputError(f"{path}: ground truth cannot be read from {self.name}")

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        """Reads scored boxes; errors as `read_ground_truth`."""
        raise InputError(f"{path}: detections cannot be read from {self.name}")

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        """Reads tubes; errors as `read_ground_truth`."""
        raise InputError(f"{path}: tubes cannot be read from {self.name}")

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        """Writes a table, whole or not at all.

        Raises:
            InputError: the format cannot be written, or not with this table.
        """
        raise InputError(f"{path}: {self.name} cannot be written; write a table or COCO")
