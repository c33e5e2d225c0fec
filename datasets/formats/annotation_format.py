"""What an annotation format is: the interface that every file of this folder implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ..box_coordinates import BoxUnit
from ..class_list import ClassList, read_class_list
from ..errors import InputError
from ..file_options import FileOptions
from ..tables import Detections, Tubes, Videos

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
        classes: the classes in the order in which the data set numbers them; None where the format
            only has names.
        videos_in_order: whether the videos are in the order of a list, by which others number them.
        annotated_frames: (F, 2) int32 index into `tubes.video_names` and frame, where only some
            frames were annotated; None for every frame.
        box_unit: see `BoxUnit`.
        frame_unit: see `FrameUnit`.
        frame_size: width and height of the frames that boxes refer to, by video, where the file
            says it and has no `videos`.
    """

    path: Path
    tubes: Tubes
    videos: Videos | None = None
    splits: Splits = field(default_factory=dict)
    default_split: int | None = None
    classes: ClassList | None = None
    videos_in_order: bool = False
    annotated_frames: np.ndarray | None = None
    box_unit: BoxUnit = "pixel"
    frame_unit: FrameUnit = "frame"
    frame_size: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadOptions:
    """What a file may leave open.

    Attributes:
        video_names: the videos of the ground truth, or None.
        videos_in_order: whether they are in the order in which files number them.
        classes: the classes by number, or None where they are not known.
        label_names: the classes of the ground truth, whose spelling is kept; () where unknown.
        annotations: COCO: the annotation file that belongs to a file of results; None for
            annotations.json beside it.
        first_frame: the number of a video's first frame; None for the format's own.
        box_unit: of the file's boxes; None decides by their numbers.
        target_unit: the unit that is wanted; None for either.
        explicit_unit: ground truth in fractions is refused unless the user says that it is.
        videos: sizes and lengths of the videos, or None where they are not known.
        truth: the ground truth, or None without one.
        label_attribute: see `FileOptions`.
        only_people: only where people are is wanted, whatever they do: classes need no names.
    """

    video_names: tuple[str, ...] | None = None
    videos_in_order: bool = False
    classes: ClassList | None = None
    label_names: tuple[str, ...] = ()
    annotations: Path | None = None
    first_frame: int | None = None
    box_unit: BoxUnit | None = None
    target_unit: BoxUnit | None = None
    explicit_unit: bool = False
    videos: Videos | None = None
    truth: Tubes | None = None
    label_attribute: str | None = None
    only_people: bool = False

    @classmethod
    def from_ground_truth(
        cls,
        truth: GroundTruth | None,
        files: FileOptions | None = None,
        annotations: Path | None = None,
    ) -> ReadOptions:
        """What the ground truth knows of videos, classes and units, and what users say.

        Raises:
            InputError: the file of the classes is not readable.
        """
        files = files or FileOptions()
        classes = None if files.classes is None else read_class_list(files.classes)
        options = cls(
            classes=classes, annotations=annotations, first_frame=files.first_frame,
            box_unit=files.box_unit, label_attribute=files.label_attribute,
        )  # fmt: skip
        if truth is None:
            return options
        return replace(
            options, video_names=truth.tubes.video_names,
            videos_in_order=truth.videos_in_order, label_names=truth.tubes.label_names,
            classes=classes or truth.classes, target_unit=truth.box_unit, videos=truth.videos,
            truth=truth.tubes,
        )  # fmt: skip

    def require_names(self, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of videos and classes, for a format that holds numbers.

        Raises:
            InputError: they are not known.
        """
        if self.video_names is None:
            raise InputError(
                f"{path}: this format holds numbers instead of names; give --ground-truth to name "
                "the videos and classes"
            )
        return self.video_names, self.require_classes(path)

    def require_order(self, path: Path) -> None:
        """Refuses a file that numbers the videos of a list that is not known.

        Raises:
            InputError: the videos are not those of a list.
        """
        if not self.videos_in_order:
            raise InputError(
                f"{path}: holds video numbers, whose order the ground truth does not say; give the "
                "list of the test videos with --videos"
            )

    def require_classes(self, path: Path) -> tuple[str, ...]:
        """The names of the classes in the order of their numbers.

        Raises:
            InputError: their order is not known.
        """
        if self.classes is None:
            raise InputError(
                f"{path}: holds class numbers, and the ground truth only has the names of classes; "
                "give their list in the order of the numbers with --classes"
            )
        return self.classes.in_order()


class AnnotationFormat(Protocol):
    """Reads and writes the files of one format. What a format does not override, it refuses."""

    name: str
    """The format in words, for messages."""
    checks_rows: bool = False
    """Whether its readers call `check_table` themselves, to name rows by their number."""

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
