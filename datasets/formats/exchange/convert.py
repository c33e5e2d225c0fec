"""Annotations of any format as those of another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ...class_list import ClassList
from ...errors import InputError, choose_from, some_of
from ...file_options import ConversionTarget, FileOptions
from ...labels import remap_codes
from ...storage.files import load_pickle
from ...storage.text_files import read_json
from ...table_io import has_columns_of, read_table, table_columns, write_table
from ...tables import Detections, Tubes, Videos, make_videos, select_rows
from ...video_names import ListedName, VideoIndex, match_videos, read_video_list
from .. import ava, coco_video, yowo
from ..act import ActFormat
from ..annotation_format import AnnotationFormat, GroundTruth, ReadOptions
from ..coco import CocoFormat
from ..complete import complete_ground_truth, complete_table
from ..mot import MotFormat
from ..registry import FORMATS, find_format
from ..table import TableFolder, TableFormat, find_table
from .seconds import frames_to_seconds, seconds_to_frames


@dataclass(frozen=True, eq=False)
class Annotations:
    """What was read for a conversion.

    Attributes:
        path: the file.
        format: in words.
        table: tubes with or without scores, or detections.
        videos: what is known of them, if anything.
        classes: their order or numbers, where the file says.
        in_seconds: whether `frame` is a second, and boxes are fractions.
    """

    path: Path
    format: str
    table: Detections | Tubes
    videos: Videos | None = None
    classes: ClassList | None = None
    in_seconds: bool = False


def read_for_conversion(
    path: Path,
    source_format: str | None = None,
    files: FileOptions | None = None,
    videos: Path | None = None,
) -> Annotations:
    """Reads a file or folder of any format: tubes where it has them, else detections.

    Args:
        path: the file or folder.
        source_format: a key of `FORMATS`; None recognizes it by the content.
        files: what the file leaves open.
        videos: a list of the videos to convert, or a table of videos (.csv with the column
            num_frames, or .parquet) with lengths, sizes and rates.

    Raises:
        InputError: not readable, or it can be read in several ways.
    """
    if source_format is not None and source_format not in FORMATS:
        raise InputError(f"--from {source_format}: unknown; {choose_from(source_format, FORMATS)}")
    if not path.exists():
        raise InputError(f"{path}: file or folder not found")
    file = FORMATS[source_format] if source_format else find_format(path)
    if source_format == "table" and path.is_dir():
        file = FORMATS["table-folder"]
    listed, known = _read_videos(path, videos)
    options = ReadOptions.from_ground_truth(None, files)
    if listed is not None:
        names = tuple(name.text for name in listed)
        options = replace(options, video_names=names, videos_in_order=True)
    if (kind := _kind(file, path)) != "ground-truth":
        table: Detections | Tubes
        table = (file.read_tubes if kind == "tubes" else file.read_detections)(path, options)
        in_seconds = isinstance(file, ava.AvaFormat)
        if not in_seconds:
            options = replace(options, videos=known, target_unit="pixel" if known else None)
            table = complete_table(table, path, options, file.checks_rows)
        read = Annotations(path, file.name, table, known, options.classes, in_seconds)
    else:
        truth = file.read_ground_truth(path, replace(options, explicit_unit=known is None))
        if truth.videos is None and known is not None and truth.frame_unit == "frame":
            truth = replace(truth, videos=known)
        truth = _name_from_file(truth, options)
        truth = complete_ground_truth(truth, options, file.checks_rows)
        read = Annotations(
            path, file.name, truth.tubes, truth.videos if truth.videos is not None else known,
            truth.classes, truth.frame_unit == "second",
        )  # fmt: skip
    return read if listed is None else _select(read, listed)


def convert_annotations(
    annotations: Annotations, target: ConversionTarget, out: Path, media: Path | None = None
) -> list[str]:
    """Writes annotations in another format.

    Args:
        annotations: what was read.
        target: the format.
        out: a file, or a folder: see `actiontubes convert`.
        media: the folder of the videos; None looks beside the file.

    Returns:
        a line for people for each thing that was written.

    Raises:
        InputError: the format cannot hold the table, or needs something of the videos that is not
            known.

    Warns:
        what the format cannot hold.
    """
    table, known = annotations.table, annotations.videos
    is_folder = target == "table" and out.suffix.lower() not in (".csv", ".parquet")
    needs_rates = annotations.in_seconds != (target == "ava")
    if needs_rates or is_folder or target in ("act", "cvat", "coco"):
        known = _measure(annotations, media, needs_rates)
    if annotations.in_seconds and target != "ava":
        table = seconds_to_frames(table, known, annotations.path)
    elif target == "ava" and not annotations.in_seconds:
        table = frames_to_seconds(table, known, annotations.path)
    if target == "ava":
        ava.write_ava(table, out, annotations.classes)
    elif is_folder:
        _write_folder(table, known, out)
    else:
        FORMATS[target].write(table, known, out)
    return [f"{out}: {describe(table)}"]


def describe(table: Detections | Tubes) -> str:
    """The size of a table in words."""
    counts = [(len(np.unique(table.video)), "videos")]
    if table.person is not None:
        pairs = np.stack([table.video, table.person], axis=1)
        counts.append((len(np.unique(pairs, axis=0)), "persons"))
    if isinstance(table, Tubes):
        counts.append((len(np.unique(table.tube)), "tubes"))
    counts += [(len(table), "boxes"), (len(np.unique(table.label)), "classes")]
    return ", ".join(f"{count} {word}" for count, word in counts)


def _kind(file: AnnotationFormat, path: Path) -> Literal["ground-truth", "tubes", "detections"]:
    """What is in a file: ground truth, scored tubes, or scored boxes of no tubes."""
    is_detections = False
    if isinstance(file, ActFormat):
        return _act_kind(path)
    if isinstance(file, ava.AvaFormat):
        is_detections = ava.holds_scores(path)
    elif isinstance(file, yowo.YowoFormat):
        is_detections = yowo.holds_scores(path)
    elif isinstance(file, CocoFormat):
        is_detections = not coco_video.is_annotation_file(read_json(path))
    elif isinstance(file, TableFormat):
        is_detections = not has_columns_of(Tubes, path)
    elif isinstance(file, MotFormat):
        is_detections = file.has_no_tracks(path)
    return "detections" if is_detections else "ground-truth"


def _act_kind(path: Path) -> Literal["ground-truth", "tubes", "detections"]:
    if path.is_dir():
        return "tubes" if any(path.rglob("*_tubes.pkl")) else "detections"
    content = load_pickle(path)
    if not isinstance(content, dict):
        return "detections"
    return "tubes" if content and all(isinstance(key, int) for key in content) else "ground-truth"


def _read_videos(path: Path, videos: Path | None) -> tuple[list[ListedName] | None, Videos | None]:
    """The list of videos to convert, and what is known of videos."""
    is_table = videos is not None and videos.suffix.lower() in (".csv", ".parquet")
    if videos is not None and is_table and "num_frames" in table_columns(videos):
        return None, read_table(Videos, videos)
    listed = read_video_list(videos) if videos is not None else None
    beside = None if path.is_dir() else find_table(path.parent, "videos")
    return listed, read_table(Videos, beside) if beside is not None else None


def _name_from_file(truth: GroundTruth, options: ReadOptions) -> GroundTruth:
    """Ground truth of a video table with the names of that table's videos, where they mean them."""
    if truth.videos is None:
        return truth
    index = VideoIndex(truth.tubes.video_names)
    pairs = [(index.find(name), row) for row, name in enumerate(truth.videos.video)]
    name_of = {row: truth.tubes.video_names[code] for code, row in pairs if code is not None}
    names = tuple(name_of.get(row, name) for row, name in enumerate(truth.videos.video))
    return replace(truth, videos=replace(truth.videos, video=names))


def _select(read: Annotations, listed: Sequence[ListedName]) -> Annotations:
    """The rows of the listed videos."""
    table = read.table
    names = match_videos(listed, table.video_names)
    unknown = [name for name in names if name not in set(table.video_names)]
    if unknown:
        raise InputError(f"--videos: {read.path} has no video {some_of(unknown)}")
    video = remap_codes(table.video, table.video_names, names)
    kept = select_rows(table, video >= 0)
    if len(kept) < len(table):
        warnings.warn(
            f"{read.path}: {len(table) - len(kept)} of {len(table)} boxes are of videos that "
            "--videos does not list, and are left out",
            stacklevel=3,
        )
    return replace(read, table=replace(kept, video=video[video >= 0], video_names=tuple(names)))


def _measure(annotations: Annotations, media: Path | None, needs_rates: bool) -> Videos | None:
    """What is known of the videos, else what their files beside the annotations say.

    Videos that are missing make it None.
    """
    known, names = annotations.videos, annotations.table.video_names
    if known is not None:
        index = VideoIndex(known.video)
        if all(index.find(name) is not None for name in names) and not (
            needs_rates and media is not None and np.isnan(known.fps).any()
        ):
            return known
    from ...video.media import locate_videos

    path = annotations.path
    folder = media or (path if path.is_dir() else path.parent)
    found = locate_videos(folder, names)
    if len(found) < len(names):
        missing = [name for name in names if name not in found]
        if media is not None:
            raise InputError(f"--media {media}: has no video {some_of(missing)}")
        return known
    return measure_videos(found)


def measure_videos(files: dict[str, Path]) -> Videos:
    """The lengths, sizes and rates of videos by name."""
    from tqdm import tqdm

    from ...video.media import measure_video, probe_video

    rows = []
    for path in tqdm(files.values(), "measuring videos", unit="video", delay=2):
        rows.append((*measure_video(path), probe_video(path).fps))
    lengths, widths, heights, rates = zip(*rows) if rows else ((),) * 4
    return make_videos(tuple(files), lengths, widths, heights, rates)


def _write_folder(table: Detections | Tubes, videos: Videos | None, out: Path) -> None:
    """Writes groundtruth.parquet and, where videos are known, videos.csv."""
    if not isinstance(table, Tubes):
        raise InputError(
            f"{out}: a folder holds ground truth, and these boxes are of no tubes; give a .csv or "
            ".parquet file"
        )
    if (old := find_table(out, "videos")) is not None and old.name != "videos.csv":
        raise InputError(f"{out}: has {old.name}; give another folder, or delete it")
    TableFolder().write(table, None, out)
    if videos is not None:
        index = VideoIndex(table.video_names)
        codes = [index.find(name) for name in videos.video]
        kept = np.array([row for row, code in enumerate(codes) if code is not None], np.int64)
        names = tuple(videos.video[row] for row in kept)
        part = replace(
            select_rows(videos, kept), video=names, split=tuple(videos.split[row] for row in kept)
        )
        write_table(part, out / "videos.csv")
    else:
        warnings.warn(
            f"{out}: the videos were not found, so there is no videos.csv; their lengths and sizes "
            "are measured where they are needed, or give --media",
            stacklevel=3,
        )
