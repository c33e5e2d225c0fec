"""Every annotation format, and reading a file of any of them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..errors import InputError, choose_from, some_of
from ..file_options import FileOptions
from ..labels import remap_codes
from ..storage.text_files import read_json
from ..table_io import has_columns_of, read_table, table_columns, write_table
from ..tables import Actions, Detections, Tracks, Tubes, Videos, file_columns, select_rows
from ..video_names import match_videos, read_video_list
from .act import ActFormat
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from .ava import AvaFormat
from .coco import CocoFormat
from .coco_video import is_annotation_file
from .complete import complete_ground_truth, complete_table
from .cvat.format import CvatFormat
from .mot import MotFormat
from .prepare import JhmdbDownloads, Ucf101Downloads
from .table import TableFolder, TableFormat, read_folder_splits
from .ucf101_24 import FinalAnnotsFormat, PyannotFormat
from .yowo import YowoFormat

FORMATS: dict[str, AnnotationFormat] = {
    "table-folder": TableFolder(),
    "ucf101-24": Ucf101Downloads(),
    "jhmdb": JhmdbDownloads(),
    "cvat": CvatFormat(),
    "mot": MotFormat(),
    "yowo": YowoFormat(),
    "pyannot": PyannotFormat(),
    "act": ActFormat(),
    "finalannots": FinalAnnotsFormat(),
    "coco": CocoFormat(),
    "ava": AvaFormat(),
    "table": TableFormat(),
}
"""By name. The first format that matches a file reads it: the special ones stand first."""
_LONE_SUFFIXES = (".json", ".pkl", ".pickle", ".mat", ".csv", ".parquet")
"""Of single files with ground truth that a folder may hold beside its videos."""


def find_format(path: Path) -> AnnotationFormat:
    """The format of a file or folder.

    Raises:
        InputError: there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"{path}: file or folder not found")
    return next(each for each in FORMATS.values() if each.matches(path))


def read_annotations(
    path: str | Path, files: FileOptions | None = None, *, explicit_unit: bool = False
) -> GroundTruth:
    """Reads all ground truth of a data set, and its splits.

    Args:
        path: a table; a folder that `prepare` has written, or with the official downloads of JHMDB
            or UCF101-24; an ACT pickle such as JHMDB-GT.pkl; pyannot.pkl or finalAnnots.mat; an AVA
            CSV file; a file of COCO, or a file or folder of CVAT or MOT; or a folder with one such
            file, beside which videos.csv or splits/ may name the parts.
        files: what the file leaves open.
        explicit_unit: see `ReadOptions`.

    Raises:
        InputError: there is none, it is not readable, or it can be read in several ways.

    Warns:
        which file of a folder is read.
    """
    path = Path(path)
    options = replace(ReadOptions.from_ground_truth(None, files), explicit_unit=explicit_unit)
    file, folder = find_format(path), path if path.is_dir() else None
    if folder is not None and isinstance(file, ActFormat):
        path = _only_file(folder) or path
        file = find_format(path)
    is_alone = folder is not None and path != folder
    truth = file.read_ground_truth(path, options)
    if folder is not None and (is_alone or not truth.splits) and not isinstance(file, TableFolder):
        splits = read_folder_splits(folder, truth.tubes)
        if splits and truth.splits:
            warnings.warn(
                f"{folder}: its lists or table of videos say the parts, not {path.name}",
                stacklevel=2,
            )
        if splits:
            truth = replace(truth, splits=splits, default_split=1 if "test1" in splits else None)
    return complete_ground_truth(truth, options, file.checks_rows)


def _only_file(folder: Path) -> Path | None:
    """The one file of a folder that holds ground truth of other programs; None if there is none.

    Raises:
        InputError: there are several, or a table of another name than groundtruth.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix.lower() not in _LONE_SUFFIXES:
            continue
        file = find_format(path)
        if isinstance(file, TableFormat):
            if has_columns_of(Tubes, path) and "tube_score" not in table_columns(path):
                raise InputError(
                    f"{folder}: call its table {path.name} groundtruth{path.suffix.lower()}, or "
                    f"give {path} itself"
                )
        elif not isinstance(file, CocoFormat) or is_annotation_file(read_json(path)):
            found.append(path)
    if len(found) > 1:
        raise InputError(
            f"{folder}: has {some_of(path.name for path in found)}, which all may be its ground "
            "truth; give one of them, and the folder of the videos with --media"
        )
    if found:
        warnings.warn(f"{folder}: reading {found[0].name} ({find_format(found[0]).name})",
                      stacklevel=3)  # fmt: skip
    return found[0] if found else None


def read_ground_truth(
    path: str | Path,
    split: int | None = None,
    videos: Path | None = None,
    files: FileOptions | None = None,
) -> tuple[Tubes, Videos | None]:
    """Reads the ground truth of the videos to evaluate.

    Args:
        path, files: see `read_annotations`.
        split: the test videos of this split, from 1. None: `videos`, or the format's default.
        videos: a list of the videos to evaluate, one a line, see `match_videos`.

    Returns:
        the ground truth, whose `video_names` are the videos to evaluate; and what is known of the
        videos.

    Raises:
        InputError: the file is not readable or has no boxes of these videos, there is no such
            split, or a line of the list may mean several videos.

    Warns:
        some of the videos have no ground truth.
    """
    truth = choose_videos(read_annotations(path, files), split, videos)
    return truth.tubes, truth.videos


def choose_videos(
    annotations: GroundTruth, split: int | None = None, videos: Path | None = None
) -> GroundTruth:
    """The ground truth of the videos to evaluate alone, see `read_ground_truth`."""
    listed, number = read_video_list(videos) if videos is not None else None, None
    if listed is not None and split is not None:
        raise InputError("--split and --videos: give only one of them")
    if split is not None and split < 1:
        raise InputError(f"--split {split}: splits count from 1")
    tubes, details = annotations.tubes, annotations.videos
    known = [*tubes.video_names, *(details.video if details is not None else ())]
    if listed is not None:
        names = match_videos(listed, known)
    elif (number := split or annotations.default_split) is not None:
        names = _test_videos(annotations, number)
        _warn_of_unlisted(annotations, number, known)
    elif annotations.splits and not any(name.startswith("test") for name in annotations.splits):
        raise InputError(
            f"{annotations.path}: has videos for training and none for testing; choose the videos "
            "to evaluate with --videos"
        )
    else:
        names = list(details.video if details is not None else tubes.video_names)
    tubes = _select_videos(annotations, names, known)
    if not len(tubes):
        raise InputError(
            f"{annotations.path}: has no ground truth for the videos to evaluate; check --split or "
            "--videos"
        )
    in_order = listed is not None or number is not None or len(names) == 1
    return replace(annotations, tubes=tubes, videos_in_order=in_order)


def _warn_of_unlisted(annotations: GroundTruth, split: int, known: list[str]) -> None:
    """Says how many videos are in neither list of a split."""
    listed = {name for part in ("train", "test", "val")
              for name in annotations.splits.get(f"{part}{split}", ())}  # fmt: skip
    unlisted = sorted(set(known) - listed)
    if unlisted:
        warnings.warn(
            f"{annotations.path}: {len(unlisted)} videos are in no list of split {split} "
            f"({some_of(unlisted)})",
            stacklevel=4,
        )


def read_detections(
    path: str | Path,
    ground_truth: GroundTruth | None = None,
    files: FileOptions | None = None,
    annotations: Path | None = None,
) -> Detections:
    """Reads scored boxes.

    Args:
        path: a table; a folder of ACT's or MOC's per-frame pickles or of YOWO's text files;
            frame_detections.pkl; a COCO results file; an AVA CSV file.
        ground_truth: names videos and classes where the format has only numbers, and knows the size
            of videos where it has fractions.
        files: what the file leaves open.
        annotations: see `ReadOptions`.

    Raises:
        InputError: not readable, or it can be read in several ways.
    """
    path = Path(path)
    options = ReadOptions.from_ground_truth(ground_truth, files, annotations)
    file = find_format(path)
    table = file.read_detections(path, options)
    if isinstance(file, CocoFormat):
        options = replace(options, box_unit=None)  # converted there, by the size of each image
    return complete_table(table, path, options, file.checks_rows)


def read_tubes(
    path: str | Path, ground_truth: GroundTruth | None = None, files: FileOptions | None = None
) -> Tubes:
    """Reads scored tubes.

    Args:
        path: a table with tube_score; a folder of ACT's or MOC's `<video>_tubes.pkl`;
            video_detections.pkl.
        ground_truth, files: see `read_detections`.

    Raises:
        InputError: not readable, without scores, or it can be read in several ways.
    """
    path = Path(path)
    options = ReadOptions.from_ground_truth(ground_truth, files)
    file = find_format(path)
    tubes = complete_table(file.read_tubes(path, options), path, options, file.checks_rows)
    if tubes.tube_score is None:
        if len(tubes):
            raise InputError(f"{path}: has no column tube_score, which ranks the tubes")
        tubes = replace(tubes, tube_score=np.empty(0))
    return tubes


Kind = Literal["ground-truth", "detections", "tubes", "tracks", "actions", "videos"]
_KINDS: dict[Kind, type[Any]] = {
    "detections": Detections,
    "tubes": Tubes,
    "tracks": Tracks,
    "actions": Actions,
    "videos": Videos,
}


def read(
    path: str | Path, kind: Kind | None = None
) -> Detections | Tubes | Tracks | Actions | Videos | GroundTruth:
    """Reads a file or folder of any format in `FORMATS`.

    Args:
        path: the file or folder.
        kind: what to read. None: of a table, what its columns are; tubes are ground truth, too.

    Raises:
        InputError: not readable, or without `kind` it may be several kinds.
    """
    path = Path(path)
    if kind is None:
        kind = _kind_of_table(path)
    if kind == "ground-truth":
        return read_annotations(path)
    if kind in ("detections", "tubes"):
        options = ReadOptions()
        file = find_format(path)
        if kind == "detections":
            return complete_table(file.read_detections(path, options), path, options)
        return complete_table(file.read_tubes(path, options), path, options)
    if kind not in _KINDS:
        raise InputError(f"{path}: kind {kind} does not exist; {choose_from(kind, get_args(Kind))}")
    return read_table(_KINDS[kind], path)


def _kind_of_table(path: Path) -> Kind:
    """The one kind of table that knows most of the file's columns."""
    if find_format(path) is not FORMATS["table"]:
        raise InputError(f"{path}: give the kind: {', '.join(get_args(Kind))}")
    columns = set(table_columns(path))
    known: dict[Kind, int] = {
        kind: len(columns & set(file_columns(table)))
        for kind, table in _KINDS.items()
        if columns.issuperset(file_columns(table, optional=False))
    }
    if not known:
        raise InputError(
            f"{path}: its columns fit no table; give the kind: {', '.join(get_args(Kind))}"
        )
    best = [kind for kind, count in known.items() if count == max(known.values())]
    if len(best) > 1:
        raise InputError(f"{path}: may be {' or '.join(best)}; give the kind")
    return best[0]


def write(
    table: Detections | Tubes | Tracks | Actions | Videos,
    path: str | Path,
    format: str | None = None,
    *,
    videos: Videos | None = None,
) -> Path:
    """Writes a table, whole or not at all, and returns the path.

    Args:
        table: what to write.
        path: the file; without `format`, its extension says which: .parquet or .csv.
        format: a key of `FORMATS`.
        videos: sizes and lengths, for formats that need them.

    Raises:
        InputError: an unknown extension or format, or one that cannot be written.
    """
    path = Path(path)
    if format is None:
        write_table(table, path)
        return path
    if format not in FORMATS:
        raise InputError(f"format {format}: does not exist; {choose_from(format, FORMATS)}")
    if not isinstance(table, (Detections, Tubes)):
        raise InputError(f"{path}: only detections and tubes can be written as {format}")
    FORMATS[format].write(table, videos, path)
    return path


def _test_videos(annotations: GroundTruth, split: int) -> list[str]:
    names = annotations.splits.get(f"test{split}")
    if names is not None:
        return list(names)
    tests = [name.removeprefix("test") for name in annotations.splits if name.startswith("test")]
    raise InputError(
        f"--split {split}: {annotations.path} has no split {split}; choose {', '.join(tests)}"
        if tests
        else f"--split: {annotations.path} has no splits; list the videos with --videos"
    )


def _select_videos(annotations: GroundTruth, names: list[str], known: list[str]) -> Tubes:
    """The ground truth of some videos.

    Where the format lists all its videos, one that is not among them is a mistake; otherwise it may
    be a video in which nothing happens.
    """
    tubes, path = annotations.tubes, annotations.path
    missing = sorted(set(names) - set(known), key=names.index)
    if missing:
        if annotations.videos is not None or len(missing) == len(names):
            raise InputError(
                f"{path}: {len(missing)} of {len(names)} videos to evaluate are missing; the first "
                f"is {missing[0]}"
            )
        warnings.warn(
            f"{path}: {len(missing)} of {len(names)} videos to evaluate have no ground truth (the "
            f"first is {missing[0]}); all detections on them count as false positives",
            stacklevel=3,
        )
    names = list(dict.fromkeys(names))
    video = remap_codes(tubes.video, tubes.video_names, names)
    kept = select_rows(tubes, video >= 0)
    return replace(kept, video=video[video >= 0], video_names=tuple(names))
