"""Tables brought to one numbering of videos and classes before they are scored."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ...datasets.errors import InputError, more_rows, some_of
from ...datasets.labels import remap_codes
from ...datasets.tables import Detections, Tubes, Videos, select_rows
from ...datasets.video_names import VideoIndex

Table = TypeVar("Table", Detections, Tubes)


def align_to_ground_truth(
    table: Table, ground_truth: Tubes, source: str, videos: Videos | None = None
) -> Table:
    """The table with its video and label numbers meaning the ground truth's names.

    Args:
        table: detections or tubes; `VideoIndex` says which videos its names mean, so that
            v_Biking_g01_c01, as `detect` writes it, is Biking/v_Biking_g01_c01.
        ground_truth: gives the names: the videos and classes evaluated.
        source: the file's name, for messages.
        videos: their lengths, to find frames that cannot be.

    Returns:
        the table without the rows of videos or classes that are not evaluated.

    Warns:
        how many rows were left out, of which video or class.

    Raises:
        InputError: nothing is left, a video's name is ambiguous, or a frame lies behind its video's
            end.
    """
    if not len(table):
        warnings.warn(
            f"{source}: is empty, so every ground truth box counts as missed", stacklevel=2
        )
    video = _match_videos(table.video_names, ground_truth.video_names, source)[table.video]
    label = remap_codes(table.label, table.label_names, ground_truth.label_names)
    for column, known, codes, names in (
        ("video", video >= 0, table.video, table.video_names),
        ("label", label >= 0, table.label, table.label_names),
    ):
        if not known.all():
            _report_unknown(column, known, codes, names, source, ground_truth)
    keep = (video >= 0) & (label >= 0)
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
        # Where the table has the known name itself, the shorter name is another video.
        if code is None or (known[code] != name and known[code] in present):
            continue
        if code in written:
            raise InputError(
                f"{source}: videos {written[code]} and {name} are both {known[code]} of the "
                "ground truth; give each video one name"
            )
        codes[row], written[code] = code, name
    return codes


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
