"""Tables brought to one numbering of videos and classes before they are scored."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ...datasets.errors import InputError, more_rows, some_of
from ...datasets.tables import Detections, Tubes, Videos, select_rows
from ...datasets.video_names import whole_names

Table = TypeVar("Table", Detections, Tubes)


def align_to_ground_truth(
    table: Table, ground_truth: Tubes, source: str, videos: Videos | None = None
) -> Table:
    """The table with its video and label numbers meaning the ground truth's names.

    Args:
        table: detections or tubes. A video may stand there under its file's stem alone, as `detect`
            names it: v_Biking_g01_c01 is Biking/v_Biking_g01_c01 where no other video ends so.
        ground_truth: gives the names: the videos and classes evaluated.
        source: the file's name, for messages.
        videos: their lengths, to find frames that cannot be.

    Returns:
        the table without the rows of videos or classes that are not evaluated.

    Warns:
        how many rows were left out, of which video or class.

    Raises:
        InputError: nothing is left, or a frame lies behind its video's end.
    """
    if not len(table):
        warnings.warn(
            f"{source}: is empty, so every ground truth box counts as missed", stacklevel=2
        )
    table = replace(table, video_names=whole_names(table.video_names, ground_truth.video_names))
    video, video_known = _renamed(table.video, table.video_names, ground_truth.video_names)
    label, label_known = _renamed(table.label, table.label_names, ground_truth.label_names)
    for column, known, codes, names in (
        ("video", video_known, table.video, table.video_names),
        ("label", label_known, table.label, table.label_names),
    ):
        if not known.all():
            _report_unknown(column, known, codes, names, source, ground_truth)
    keep = video_known & label_known
    if videos is not None:
        lengths = dict(zip(videos.video, videos.num_frames.tolist()))
        limit = np.array([lengths.get(name, np.inf) for name in ground_truth.video_names])
        late = np.flatnonzero(keep & (table.frame >= limit[video]))
        if len(late):
            row = int(late[0])
            name = table.video_names[table.video[row]]
            raise InputError(
                f"{source}: row {row + 1}{more_rows(len(late))}: frame {table.frame[row]} of "
                f"{name}, which has only {lengths[name]} frames (0 to {lengths[name] - 1})"
            )
    renamed = replace(
        table,
        video=video,
        label=label,
        video_names=ground_truth.video_names,
        label_names=ground_truth.label_names,
    )
    return renamed if keep.all() else select_rows(renamed, keep)


def extend_labels(ground_truth: Tubes, table: Detections | Tubes, source: str) -> Tubes:
    """The ground truth, its classes followed by those that only `table` has.

    Such a class has no AP; without it in the list, its rows could only be dropped.

    Raises:
        InputError: the two have no class in common.
    """
    used = [table.label_names[code] for code in np.unique(table.label)]
    known = set(ground_truth.label_names)
    extra = [name for name in used if name not in known]
    if used and len(extra) == len(used):
        raise InputError(
            f"{source}: none of its labels (such as {extra[0]!r}) is a class of the ground "
            f"truth, whose classes are {some_of(ground_truth.label_names, 5)}"
        )
    return replace(ground_truth, label_names=(*ground_truth.label_names, *extra))


def _renamed(
    codes: np.ndarray, names: tuple[str, ...], new_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes into `new_names`, and which of them those have."""
    place = {name: index for index, name in enumerate(new_names)}
    new = np.array([place.get(name, -1) for name in names] or [-1], np.int32)
    renamed = new[codes]
    return renamed, renamed >= 0


def _report_unknown(
    column: str,
    known: np.ndarray,
    codes: np.ndarray,
    names: tuple[str, ...],
    source: str,
    ground_truth: Tubes,
) -> None:
    row = int(np.argmin(known))
    unknown = len(np.unique(codes[~known]))
    evaluated = {"video": ground_truth.video_names, "label": ground_truth.label_names}[column]
    name = names[codes[row]]
    if not known.any():
        raise InputError(
            f"{source}: no row has a {column} that the ground truth knows; row {row + 1} has "
            f"{name!r}, the ground truth has {some_of(evaluated, 5)}"
        )
    warnings.warn(
        f"{source}: ignoring {int((~known).sum())} of {len(known)} rows whose {column} is not in "
        f"the ground truth ({unknown} different names; the first is {name!r} in row {row + 1})",
        stacklevel=3,
    )
