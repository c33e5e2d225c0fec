"""Tables read and brought to one numbering of videos and classes before they are scored."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...datasets.box_coordinates import BoxUnit
from ...datasets.errors import InputError, some_of
from ...datasets.file_options import FileOptions
from ...datasets.formats.annotation_format import GroundTruth, ReadOptions
from ...datasets.formats.complete import complete_ground_truth, complete_table, rows_behind_end
from ...datasets.formats.registry import (
    choose_videos,
    read_annotations,
    read_detections,
    read_tubes,
)
from ...datasets.labels import match_labels
from ...datasets.table_io import read_table
from ...datasets.tables import Detections, PersonRows, Tubes, Videos, select_rows
from ...datasets.video_names import VideoIndex
from .annotated_frames import AnnotatedFrames, frames_to_evaluate, on_frames, warn_of_gaps

Table = TypeVar("Table", Detections, Tubes)


@dataclass(frozen=True, eq=False)
class AlignedTables:
    """What an evaluation compares: tables with the same names of videos and labels.

    Attributes:
        ground_truth: its `video_names` are the videos evaluated.
        detections, tubes: None where there are none.
        videos: what is known of the videos, if anything.
        box_unit: of all boxes.
        persons: person boxes; None where there are none.
    """

    ground_truth: Tubes
    detections: Detections | None
    tubes: Tubes | None
    videos: Videos | None
    box_unit: BoxUnit = "pixel"
    persons: PersonRows | None = None


def read_aligned(
    ground_truth: Tubes | GroundTruth | str | Path,
    detections: Detections | str | Path | None = None,
    tubes: Tubes | str | Path | None = None,
    *,
    split: int | None = None,
    videos: str | Path | None = None,
    annotations: Path | None = None,
    files: FileOptions | None = None,
    annotated_frames: AnnotatedFrames | None = None,
    persons: Path | None = None,
) -> AlignedTables:
    """Reads what is not a table already, and aligns it with the ground truth.

    Args:
        ground_truth, detections, tubes, split, videos, files, annotated_frames: see `evaluate`.
        annotations: the annotations of COCO results, see `read_detections`.
        persons: a table with the columns video, frame, person and a box.

    Raises:
        InputError: see `evaluate`.
    """
    if detections is None and tubes is None and persons is None:
        raise InputError("nothing to evaluate; give --detections, --tubes or both")
    if isinstance(ground_truth, Tubes):
        ground_truth = complete_ground_truth(
            GroundTruth(path=Path("ground truth"), tubes=ground_truth),
            ReadOptions.from_ground_truth(None, files),
        )
    elif not isinstance(ground_truth, GroundTruth):
        ground_truth = read_annotations(ground_truth, files)
    chosen = choose_videos(ground_truth, split, None if videos is None else Path(videos))
    truth = chosen.tubes
    readers: dict[str, Callable[..., Any]] = {
        "detections": partial(read_detections, annotations=annotations),
        "tubes": read_tubes,
    }
    tables: dict[str, tuple[Any, str]] = {}  # with the file's name, for messages
    inputs: dict[str, Any] = {"detections": detections, "tubes": tubes}
    for kind, table in inputs.items():
        if isinstance(table, str | Path):
            tables[kind] = readers[kind](table, chosen, files), str(table)
        elif table is not None:
            options = ReadOptions.from_ground_truth(chosen, files)
            tables[kind] = complete_table(table, Path(kind), options), kind
        if kind in tables:
            truth = extend_labels(truth, *tables[kind])
    # Only now, because every table may add classes.
    has_own_numbers = files is not None and files.first_frame is not None
    aligned = {
        kind: align_to_ground_truth(
            table, truth, source, chosen.videos, frames_are_certain=has_own_numbers
        )
        for kind, (table, source) in tables.items()
    }
    if "tubes" in aligned:
        warn_of_gaps(aligned["tubes"])
    chosen = replace(chosen, tubes=truth)
    frames = frames_to_evaluate(chosen, annotated_frames)
    if frames is not None:
        aligned = {
            kind: on_frames(table, frames, tables[kind][1]) for kind, table in aligned.items()
        }
    people = None
    if persons is not None:
        people = _read_persons(persons, truth, files)
        people = people if frames is None else on_frames(people, frames, str(persons))
    return AlignedTables(
        ground_truth=truth, detections=aligned.get("detections"), tubes=aligned.get("tubes"),
        videos=chosen.videos, box_unit=chosen.box_unit, persons=people,
    )  # fmt: skip


def _read_persons(path: Path, ground_truth: Tubes, files: FileOptions | None) -> PersonRows:
    """Person boxes with the ground truth's names of videos; errors as `align_to_ground_truth`."""
    first_frame = None if files is None else files.first_frame
    table = read_table(PersonRows, path, first_frame=first_frame or 0)
    video = _match_videos(table.video_names, ground_truth.video_names, str(path))[table.video]
    missing = int((video < 0).sum())
    if len(video) and missing == len(video):
        raise InputError(
            f"{path}: no row has a video that the ground truth knows; the first row has "
            f"{table.video_names[table.video[0]]!r}, the ground truth has "
            f"{some_of(ground_truth.video_names, 5)}"
        )
    if missing:
        warnings.warn(
            f"{path}: ignoring {missing} of {len(video)} rows whose video is not in the ground "
            "truth",
            stacklevel=3,
        )
    table = replace(table, video=video, video_names=ground_truth.video_names)
    table = select_rows(table, video >= 0)
    if first_frame is None:
        _refuse_shifted_frames(table, ground_truth, str(path))
    return table


def align_to_ground_truth(
    table: Table,
    ground_truth: Tubes,
    source: str,
    videos: Videos | None = None,
    *,
    frames_are_certain: bool = False,
) -> Table:
    """The table with the ground truth's names of videos and labels, and its codes for them.

    Args:
        table: detections or tubes; `VideoIndex` says which videos its names mean, so that
            v_Biking_g01_c01, as `detect` writes it, is Biking/v_Biking_g01_c01.
        ground_truth: its names are those of the videos and classes evaluated.
        source: the file's name, for messages.
        videos: their lengths; None does not check frame numbers.
        frames_are_certain: whether the user says from which number the table counts frames.

    Returns:
        the table without the rows of videos or classes that are not evaluated.

    Warns:
        how many rows were ignored, and one of their videos or classes; how many lie behind the end
        of their video, where they count as false positives.

    Raises:
        InputError: nothing is left, a video's name is ambiguous, or frames seem to count from 1.
    """
    if not len(table):
        warnings.warn(
            f"{source}: is empty, so every ground truth box counts as missed", stacklevel=2
        )
    video = _match_videos(table.video_names, ground_truth.video_names, source)[table.video]
    label = np.append(match_labels(table.label_names, ground_truth.label_names), -1)[table.label]
    for column, known, codes, names, evaluated in (
        ("video", video >= 0, table.video, table.video_names, ground_truth.video_names),
        ("label", label >= 0, table.label, table.label_names, ground_truth.label_names),
    ):
        if known.all():
            continue
        row = int(np.argmin(known))
        if not known.any():
            raise InputError(
                f"{source}: no row has a {column} that the ground truth knows; row {row + 1} has "
                f"{names[codes[row]]!r}, the ground truth has {some_of(evaluated, 5)}"
            )
        warnings.warn(
            f"{source}: ignoring {int((~known).sum())} of {len(known)} rows whose {column} is not "
            f"in the ground truth ({len(np.unique(codes[~known]))} different names; the first is "
            f"{names[codes[row]]!r} in row {row + 1})",
            stacklevel=2,
        )
    keep = (video >= 0) & (label >= 0)
    renamed = replace(
        table,
        video=video,
        label=label,
        video_names=ground_truth.video_names,
        label_names=ground_truth.label_names,
    )
    aligned = renamed if keep.all() else select_rows(renamed, keep)
    if not frames_are_certain:
        _refuse_shifted_frames(aligned, ground_truth, source)
    if videos is not None:
        _check_ends(aligned, videos, source, frames_are_certain)
        _warn_of_boxes_outside(aligned, videos, source)
    return aligned


def _warn_of_boxes_outside(table: Detections | Tubes, videos: Videos, source: str) -> None:
    """Says how many boxes have nothing in common with the frame."""
    sizes = {name: size for name, *size in zip(videos.video, videos.width, videos.height)}
    limits = np.array([sizes.get(name, (np.inf, np.inf)) for name in table.video_names])
    size = limits.reshape(-1, 2)[table.video]
    outside = ((table.boxes[:, :2] >= size) | (table.boxes[:, 2:] < 0)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        name = table.video_names[table.video[row]]
        width, height = limits[table.video[row]].astype(int)
        warnings.warn(
            f"{source}: {int(outside.sum())} of {len(table)} boxes lie outside the frame (the "
            f"first: frame {table.frame[row]} of {name}, whose frames are {width}x{height}); they "
            "count as false positives",
            stacklevel=3,
        )


def _refuse_shifted_frames(
    table: Detections | Tubes | PersonRows, ground_truth: Tubes, source: str
) -> None:
    """Refuses a table that begins and ends one frame after the ground truth in every video."""
    if (table.frame == 0).any():
        return
    ends, true_ends = _frame_range(table), _frame_range(ground_truth)
    both = (ends[1] >= 0) & (true_ends[1] >= 0)
    ends, true_ends = ends[:, both], true_ends[:, both]
    if both.any() and (true_ends[0] == 0).all() and (ends == true_ends + 1).all():
        raise InputError(
            f"{source}: frames seem to count from 1: in every video they begin and end one after "
            "those of the ground truth; give --first-frame 1, or 0 if they count from 0"
        )


def _frame_range(table: Detections | Tubes | PersonRows) -> np.ndarray:
    """(2, V) the first and last frame with a box of each video; the first is higher without."""
    ends = np.full((2, len(table.video_names)), -1)
    ends[0] = np.iinfo(np.int64).max
    np.minimum.at(ends[0], table.video, table.frame)
    np.maximum.at(ends[1], table.video, table.frame)
    return ends


def _check_ends(
    table: Detections | Tubes, videos: Videos, source: str, frames_are_certain: bool
) -> None:
    """Says how many rows lie behind their video's end; see `align_to_ground_truth`."""
    late = rows_behind_end(table, videos)
    if not late.any():
        return
    row, count = int(late.argmax()), int(late.sum())
    name = table.video_names[table.video[row]]
    length = int(videos.num_frames[videos.video.index(name)])
    where = f"frame {table.frame[row]} of {name}, which has {length} frames (0 to {length - 1})"
    one_frame_earlier = replace(table, frame=table.frame - 1)
    if not (
        frames_are_certain
        or (table.frame == 0).any()
        or rows_behind_end(one_frame_earlier, videos).any()
    ):
        raise InputError(
            f"{source}: frames seem to count from 1: none is 0, and {count} lie one behind the end "
            f"({where}); give --first-frame 1, or 0 if they count from 0"
        )
    warnings.warn(
        f"{source}: {count} of {len(table)} rows lie behind the end of their video (the first: "
        f"{where}); they count as false positives",
        stacklevel=3,
    )


def extend_labels(ground_truth: Tubes, table: Detections | Tubes, source: str) -> Tubes:
    """The ground truth with the classes that only `table` has behind its own.

    Such a class has no AP, but its rows are counted.

    Raises:
        InputError: the two have no class in common.
    """
    used = [table.label_names[code] for code in np.unique(table.label)]
    matches = match_labels(used, ground_truth.label_names)
    extra = [name for name, code in zip(used, matches) if code < 0]
    if used and len(extra) == len(used):
        raise InputError(
            f"{source}: none of its labels (such as {extra[0]!r}) is a class of the ground "
            f"truth, whose classes are {some_of(ground_truth.label_names, 5)}"
        )
    return replace(ground_truth, label_names=(*ground_truth.label_names, *extra))


def _match_videos(names: tuple[str, ...], known: tuple[str, ...], source: str) -> np.ndarray:
    """(N + 1,) int32 index into `known` for each name of a table, -1 where none is meant.

    Raises:
        InputError: a name may mean several of the known videos, or two names mean the same.
    """
    index, present = VideoIndex(known), set(names)
    codes = np.full(len(names) + 1, -1, np.int32)
    written: dict[int, str] = {}
    for row, name in enumerate(names):
        code = index.find(name, f"{source}: ")
        # Where the table has the known name itself, a name with fewer folders is another video.
        is_shorter = code is not None and known[code].count("/") > name.count("/")
        if code is None or (is_shorter and known[code] in present):
            continue
        if code in written:
            raise InputError(
                f"{source}: videos {written[code]} and {name} are both {known[code]} of the "
                "ground truth; give each video one name"
            )
        codes[row], written[code] = code, name
    return codes
