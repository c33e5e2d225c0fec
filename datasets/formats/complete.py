"""What is done to every table that a format has read: names, units and the check of all rows.

The formats' files only know their own layout; what can be read in several ways is settled here.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..box_coordinates import (
    BoxUnit,
    box_unit,
    mixed_units,
    require_declared_unit,
    require_pixels,
    rescale_boxes,
)
from ..checks import check_table, row_place
from ..class_list import ClassList
from ..errors import InputError, more_rows
from ..labels import merge_spellings
from ..tables import Detections, Tubes, Videos
from ..video_names import VideoIndex, refuse_same_names
from .annotation_format import GroundTruth, ReadOptions
from .jhmdb import CLASSES as JHMDB_CLASSES
from .ucf101_24 import CLASSES as UCF101_24_CLASSES

Table = TypeVar("Table", bound=Detections | Tubes)


def complete_ground_truth(
    truth: GroundTruth, options: ReadOptions, is_checked: bool = False
) -> GroundTruth:
    """Ground truth with named classes, checked, in pixels where the videos' sizes are known.

    Args:
        truth: what the format has read.
        options: see `ReadOptions`.
        is_checked: whether `check_table` has been called.

    Raises:
        InputError: a row breaks a rule, lies behind the end of its video, or can be read in
            several ways.
    """
    if truth.videos is not None and not is_checked:
        check_table(truth.videos, truth.path)
    options = replace(
        options, videos=truth.videos, box_unit=options.box_unit or _own_unit(truth),
        target_unit=None if truth.videos is None else "pixel",
    )  # fmt: skip
    known = truth.tubes.video_names if truth.videos is None else truth.videos.video
    refuse_same_names(known, truth.path)
    if options.explicit_unit and options.box_unit is None:
        require_declared_unit(truth.tubes.boxes, truth.path)
    tubes = complete_table(truth.tubes, truth.path, options, is_checked)
    if truth.videos is not None:
        late = rows_behind_end(tubes, truth.videos)
        if late.any():
            row, hint = int(late.argmax()), ""
            if not (tubes.frame == 0).any():
                hint = ", or give --first-frame 1 if the file counts them from 1"
            raise InputError(
                f"{truth.path}: {row_place(tubes)(row)}{more_rows(int(late.sum()))}: the video "
                f"ends before this frame; count frames from 0{hint}"
            )
    unit = options.target_unit or certain_unit(tubes, truth.path, options)
    classes = truth.classes or options.classes or _known_classes(tubes.label_names)
    return replace(truth, tubes=tubes, box_unit=unit, classes=classes)


def complete_table(
    table: Table, source: Path, options: ReadOptions, is_checked: bool = False
) -> Table:
    """A table with named classes, checked, and in the unit that is wanted; see above."""
    codes, names = merge_spellings(table.label_names, source)
    if len(names) < len(table.label_names):
        table = replace(table, label=codes[table.label], label_names=names)
    if options.classes is not None:
        table = _name_numbers(table, options.classes, options.label_names, source)
    if not is_checked:
        check_table(table, source)
    return convert_boxes(table, source, options, frame_sizes(table, options.videos))


def rows_behind_end(table: Detections | Tubes, videos: Videos) -> np.ndarray:
    """(R,) bool, whether a row's frame lies behind the last frame of its video."""
    lengths = dict(zip(videos.video, videos.num_frames.tolist()))
    limit = np.array([*(lengths.get(name, np.inf) for name in table.video_names), np.inf])
    return table.frame >= limit[table.video]


def _own_unit(truth: GroundTruth) -> BoxUnit | None:
    """The unit where the format itself defines it."""
    return "fraction" if truth.box_unit == "fraction" else None


def _known_classes(names: tuple[str, ...]) -> ClassList | None:
    """The order of the classes of a data set that is known by their names."""
    for classes in (UCF101_24_CLASSES, JHMDB_CLASSES):
        if set(names) == set(classes):
            return ClassList(classes)
    return None


def _name_numbers(table: Table, classes: ClassList, known: tuple[str, ...], source: Path) -> Table:
    """The table with names in place of class numbers; others stay as they are.

    Raises:
        InputError: a number has no name, or may count from 0 or from 1.
    """
    names = table.label_names
    if not names or not all(name.isdecimal() for name in names) or set(names) & set(known):
        return table
    numbers, by_number = [int(name) for name in names], classes.by_number()
    if classes.numbers is None and 0 not in numbers:
        if max(numbers) != len(classes.names):
            raise InputError(
                f"{source}: its class numbers ({min(numbers)} to {max(numbers)}) may count from 0 "
                f"or from 1; write the number before each name in {classes.source}"
            )
        by_number = {number + 1: name for number, name in by_number.items()}
    unknown = [number for number in numbers if number not in by_number]
    if unknown:
        raise InputError(f"{source}: class number {unknown[0]} has no name in {classes.source}")
    return replace(table, label_names=tuple(by_number[number] for number in numbers))


def convert_boxes(table: Table, source: Path, options: ReadOptions, sizes: np.ndarray) -> Table:
    """The boxes in the unit that is wanted.

    Args:
        table: boxes in either unit.
        source: the file, for messages.
        options: say the units.
        sizes: (R, 2) width and height of each row's frame, NaN where they are not known.

    Raises:
        InputError: the unit is not certain or differs from row to row, or sizes are needed and not
            known.
    """
    target, unit = options.target_unit, certain_unit(table, source, options)
    if target is None or unit == target or not len(table):
        return table
    is_known = not np.isnan(sizes).any()
    if not is_known and unit == "fraction":
        require_pixels(table.boxes, source, unit)
    if not is_known:
        raise InputError(
            f"{source}: the boxes are pixels, those of the ground truth are fractions of the "
            "frame, whose size is not known; divide them by width and height"
        )
    from_size, to_size = ((1, 1), sizes) if unit == "fraction" else (sizes, (1, 1))
    warnings.warn(
        f"{source}: its boxes are {unit}s of the frame and were converted to {target}s by the "
        "size of each video",
        stacklevel=4,
    )
    return replace(table, boxes=rescale_boxes(table.boxes, from_size, to_size))


def certain_unit(table: Detections | Tubes, source: Path, options: ReadOptions) -> BoxUnit:
    """The unit of a table's boxes, by what the user says and by their numbers.

    Raises:
        InputError: the numbers are of both units, or may be of either.

    Warns:
        the numbers contradict the user, who may mean another file of the same command.
    """
    if options.box_unit == "pixel" or not len(table):
        return "pixel"
    seen, place = box_unit(table.boxes), row_place(table)
    if (mixed := mixed_units(table.boxes, table.video)) is not None:
        raise InputError(
            f"{source}: {place(mixed[0])}: the box is in fractions of the frame, that of "
            f"{place(mixed[1])} in pixels; write all in one unit"
        )
    if options.box_unit == "fraction" and seen == "pixel":
        warnings.warn(
            f"{source}: a box reaches to {np.abs(table.boxes).max():g}, so these are read as "
            "pixels, not as fractions of the frame",
            stacklevel=5,
        )
        return "pixel"
    unit = options.box_unit or seen
    if unit is None:
        raise InputError(
            f"{source}: all coordinates are 0 or 1, which may be pixels or fractions of the frame; "
            "give --boxes pixel or --boxes fraction"
        )
    return unit


def frame_sizes(table: Detections | Tubes, videos: Videos | None) -> np.ndarray:
    """(R, 2) width and height of each row's video, NaN where they are not known."""
    sizes = np.full((len(table.video_names) + 1, 2), np.nan)
    if videos is not None:
        index = VideoIndex(videos.video)
        for code, name in enumerate(table.video_names):
            if (row := index.find(name)) is not None:
                sizes[code] = videos.width[row], videos.height[row]
    return sizes[table.video]
