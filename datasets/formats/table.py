"""The tables of this project as an annotation format: one file, or a folder that holds several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, some_of
from ..split_words import name_of_list, split_by_words, validation_as_test
from ..storage.files import atomic_write
from ..table_io import read_table, write_table
from ..tables import Detections, Tubes, Videos
from ..video_names import VideoIndex, match_videos, read_video_list
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions, Splits


class TableFormat(AnnotationFormat):
    """A Parquet or CSV file with the columns of `Tubes` or `Detections`."""

    name = "a table"
    checks_rows = True

    def matches(self, path: Path) -> bool:
        return path.is_file()

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return GroundTruth(path=path, tubes=self.read_tubes(path, options))

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_table(Detections, path, first_frame=options.first_frame or 0)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return read_table(Tubes, path, first_frame=options.first_frame or 0)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_table(table, path)


class TableFolder(AnnotationFormat):
    """A folder with groundtruth, perhaps videos (.parquet or .csv) and splits/<name>.txt."""

    name = "a folder of tables"
    checks_rows = True

    def matches(self, path: Path) -> bool:
        return find_table(path, "groundtruth") is not None

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        table, details = find_table(path, "groundtruth"), find_table(path, "videos")
        assert table is not None
        tubes = read_table(Tubes, table, first_frame=options.first_frame or 0)
        videos = None
        if details is not None:
            videos = _name_as_in(tubes, read_table(Videos, details), details, table)
        splits = _read_splits(path, tubes, videos, details)
        return GroundTruth(
            path=table, tubes=tubes, videos=videos, splits=splits,
            default_split=1 if "test1" in splits else None,
        )  # fmt: skip

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_table(table, path / "groundtruth.parquet")
        if videos is not None:
            write_table(videos, path / "videos.parquet")


def find_table(folder: Path, name: str) -> Path | None:
    """The Parquet or CSV file of that name in a folder.

    Raises:
        InputError: there are both.
    """
    known = (f"{name}.parquet", f"{name}.csv")
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [file for file in inside if file.name.lower() in known and file.is_file()]
    if len(files) > 1:
        names = " and ".join(file.name for file in files)
        raise InputError(f"{folder}: has {names}; keep the one that is right")
    return files[0] if files else None


def _name_as_in(tubes: Tubes, videos: Videos, details: Path, table: Path) -> Videos:
    """The table of videos with the names that the ground truth gives them.

    Raises:
        InputError: a video of the ground truth is not in the table, or two rows mean the same.
    """
    index = VideoIndex(videos.video)
    names = list(videos.video)
    for name in tubes.video_names:
        code = index.find(name, f"{table}: ")
        if code is None:
            raise InputError(
                f"{details}: has no row for video {name} of {table.name}; add it, so that its "
                "length, size and part are known"
            )
        if names[code] != videos.video[code]:
            raise InputError(
                f"{table}: videos {names[code]} and {name} are both {videos.video[code]} of "
                f"{details.name}; give each video one name"
            )
        names[code] = name
    return replace(videos, video=tuple(names))


def read_folder_splits(folder: Path, tubes: Tubes) -> Splits:
    """The parts that splits/ or a table of videos names, in a folder with other ground truth."""
    details = find_table(folder, "videos")
    videos = None
    if details is not None:
        videos = read_table(Videos, details)
        if any(videos.split):
            videos = _name_as_in(tubes, videos, details, folder)
    return _read_splits(folder, tubes, videos, details)


def _read_splits(folder: Path, tubes: Tubes, videos: Videos | None, details: Path | None) -> Splits:
    """The lists of splits/, or else those of the videos' column split as train1 and test1."""
    known = [*tubes.video_names, *(videos.video if videos is not None else ())]
    lists: dict[str, Sequence[str]] = {}
    others: list[str] = []
    for path in sorted((folder / "splits").glob("*")):
        if path.suffix.lower() != ".txt":
            continue
        name = name_of_list(path)
        if name is None:
            others.append(path.name)
            continue
        if name in lists:
            raise InputError(f"{path}: is a second list {name} in this folder; keep one")
        lists[name] = match_videos(read_video_list(path), known)
    if others and not lists:
        raise InputError(
            f"{folder / 'splits' / others[0]}: name a list of videos train1.txt, val1.txt or "
            "test1.txt"
        )
    if others:
        warnings.warn(
            f"{folder / 'splits'}: {len(others)} files are no list of a part ({some_of(others)})",
            stacklevel=5,
        )
    if lists or videos is None or not any(videos.split):
        return validation_as_test(lists)
    return split_by_words(dict(zip(videos.video, videos.split)), str(details))


def write_splits(splits: Splits, folder: Path) -> list[Path]:
    """Writes splits/<name>.txt, one video a line; returns the paths."""
    paths = []
    for name, names in splits.items():
        paths.append(folder / "splits" / f"{name}.txt")
        with atomic_write(paths[-1]) as temporary:
            temporary.write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
    return paths
