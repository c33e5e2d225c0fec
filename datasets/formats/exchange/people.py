"""Where people are, from the annotations of a label tool or a tracker: whatever they do there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import InputError, some_of
from ...file_options import FileOptions
from ...storage.text_files import read_json
from ...table_io import read_table
from ...tables import Detections, PersonRows, Tubes, select_rows
from ..annotation_format import GroundTruth, ReadOptions
from ..coco import CocoFormat, annotations_of, read_images
from ..coco_video import image_sizes, is_annotation_file
from ..complete import complete_table
from ..cvat.format import CvatFormat
from ..entries import Entry
from ..mot import MotFormat
from ..registry import find_format
from ..table import TableFolder, TableFormat, find_table
from .person_tracks import number_tracks

PEOPLE_SUFFIXES = (".parquet", ".csv", ".xml", ".zip", ".json", ".txt")
"""Of files that `read_people` may read."""
PERSON_WORDS = ("person", "people", "pedestrian", "human")
"""Names of the class that are all people, whatever they do."""


@dataclass(frozen=True, eq=False)
class People:
    """Person boxes of a file.

    Attributes:
        boxes: of one label; `person` where the file tells persons apart.
        frame_size: width and height of the frames that boxes refer to, of the videos of which the
            file says it.
        shows_absence: whether a frame without a box of a person says that they are not there; else
            it may have been missed.
    """

    boxes: Detections
    frame_size: Mapping[str, tuple[int, int]]
    shows_absence: bool = False


def read_people(path: Path, files: FileOptions | None = None) -> People:
    """Person boxes of a table, or of annotations of CVAT, COCO or MOT Challenge.

    A table has at least the columns video, frame, x1, y1, x2 and y2; a missing score is 1; a column
    person, track_id or tube, the first of these that is there, tells persons apart. Of annotations,
    a class that is called person, people, pedestrian or human is taken alone; without one, all
    classes are what people do.

    Args:
        path: the file, or a folder of CVAT's or MOT's files, or with a table groundtruth.
        files: what the file leaves open.

    Raises:
        InputError: the file is not readable, of another format, or can be read in several ways.

    Warns:
        which classes were taken and left out, and what the format's reader has to say.
    """
    files = files or FileOptions()
    file = find_format(path)
    if isinstance(file, TableFolder):
        table = find_table(path, "groundtruth")
        assert table is not None
        return _read_table(table, files)
    if isinstance(file, TableFormat):
        return _read_table(path, files)
    options = replace(ReadOptions.from_ground_truth(None, files), only_people=True)
    frame_size: Mapping[str, tuple[int, int]] = {}
    rows: Detections | Tubes
    if isinstance(file, MotFormat):
        rows = file.read_detections(path, options) if file.has_no_tracks(path) else (
            file.read_tubes(path, options)
        )  # fmt: skip
    elif isinstance(file, CocoFormat) and not is_annotation_file(read_json(path)):
        rows = file.read_detections(path, options)
        annotations = annotations_of(path, options)
        images = Entry(read_json(annotations), annotations)["images"]
        frame_size = image_sizes(read_images(images, options, annotations), annotations)
    elif isinstance(file, (CocoFormat, CvatFormat)):
        truth = file.read_ground_truth(path, options)
        rows, frame_size = truth.tubes, stated_sizes(truth)
    else:
        raise InputError(
            f"{path}: {file.name} cannot be used as person boxes; make a table of it with "
            "`actiontubes convert`"
        )
    options = replace(options, classes=None)  # named by the reader
    rows = _of_persons(complete_table(rows, path, options), path)
    return People(_as_detections(rows, path), frame_size, isinstance(file, CvatFormat))


def stated_sizes(truth: GroundTruth) -> Mapping[str, tuple[int, int]]:
    """Width and height of the frames that boxes refer to, by video."""
    if truth.videos is None:
        return truth.frame_size
    sizes = zip(truth.videos.width.tolist(), truth.videos.height.tolist())
    return dict(zip(truth.videos.video, sizes))


def _read_table(path: Path, files: FileOptions) -> People:
    rows = read_table(PersonRows, path, first_frame=files.first_frame or 0)
    tracks = (rows.person, rows.track_id, rows.tube)
    boxes = Detections(
        video=rows.video, frame=rows.frame, label=np.zeros(len(rows), np.int32), score=rows.score,
        boxes=rows.boxes, video_names=rows.video_names, label_names=("person",),
        person=next((each for each in tracks if each is not None), None),
    )  # fmt: skip
    return People(boxes, {})


def _of_persons(rows: Detections | Tubes, path: Path) -> Detections | Tubes:
    """The rows of the class that is people, if there is one; else all."""
    names: Sequence[str] = [rows.label_names[code] for code in np.unique(rows.label)]
    people = [name for name in names if name.strip().lower() in PERSON_WORDS]
    if len(names) < 2:
        return rows
    if not people:
        warnings.warn(f"{path}: all its classes ({some_of(names)}) are taken for people",
                      stacklevel=4)  # fmt: skip
        return rows
    kept = np.isin(rows.label, [rows.label_names.index(name) for name in people])
    others = [name for name in names if name not in people]
    warnings.warn(
        f"{path}: taking the boxes of {some_of(people)}; {int((~kept).sum())} of {len(kept)} are "
        f"of other classes ({some_of(others)}), and are left out",
        stacklevel=4,
    )
    return select_rows(rows, kept)


def _as_detections(rows: Detections | Tubes, path: Path) -> Detections:
    person = rows.person
    if isinstance(rows, Tubes) and person is None and len(np.unique(rows.tube)) < len(rows):
        person = number_tracks(rows, path, one_box=True)
    return Detections(
        video=rows.video, frame=rows.frame, label=np.zeros(len(rows), np.int32),
        score=np.ones(len(rows)) if rows.score is None else rows.score,
        boxes=rows.boxes, video_names=rows.video_names, label_names=("person",), person=person,
    )  # fmt: skip
