"""The tables of this project as an annotation format: one file, or a folder that holds several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import atomic_write
from ..table_io import read_table, write_table
from ..tables import Detections, Tubes, Videos
from ..video_names import match_videos, read_video_list
from .annotation_format import AnnotationFormat, GroundTruth, ReadOptions, Splits


class TableFormat(AnnotationFormat):
    """A Parquet or CSV file with the columns of `Tubes` or `Detections`."""

    name = "a table"

    def matches(self, path: Path) -> bool:
        return path.is_file()

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        return GroundTruth(path=path, tubes=read_table(Tubes, path))

    def read_detections(self, path: Path, options: ReadOptions) -> Detections:
        return read_table(Detections, path)

    def read_tubes(self, path: Path, options: ReadOptions) -> Tubes:
        return read_table(Tubes, path)

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_table(table, path)


class TableFolder(AnnotationFormat):
    """A folder with groundtruth, perhaps videos (.parquet or .csv) and splits/<name>.txt."""

    name = "a folder of tables"

    def matches(self, path: Path) -> bool:
        return find_table(path, "groundtruth") is not None

    def read_ground_truth(self, path: Path, options: ReadOptions) -> GroundTruth:
        table, details = find_table(path, "groundtruth"), find_table(path, "videos")
        assert table is not None
        tubes = read_table(Tubes, table)
        videos = read_table(Videos, details) if details is not None else None
        splits = _read_splits(path, tubes, videos)
        return GroundTruth(
            path=table, tubes=tubes, videos=videos, splits=splits,
            default_split=1 if "test1" in splits else None,
        )  # fmt: skip

    def write(self, table: Detections | Tubes, videos: Videos | None, path: Path) -> None:
        write_table(table, path / "groundtruth.parquet")
        if videos is not None:
            write_table(videos, path / "videos.parquet")


def find_table(folder: Path, name: str) -> Path | None:
    """The Parquet or CSV file of that name in a folder."""
    files = (folder / f"{name}{extension}" for extension in (".parquet", ".csv"))
    return next((file for file in files if file.is_file()), None)


def _read_splits(folder: Path, tubes: Tubes, videos: Videos | None) -> Splits:
    """The lists of splits/, or else those of the videos' column split as train1 and test1."""
    known = [*tubes.video_names, *(videos.video if videos is not None else ())]
    lists: dict[str, Sequence[str]] = {
        path.stem: match_videos(read_video_list(path), known)
        for path in sorted(folder.glob("splits/*.txt"))
    }
    if not lists and videos is not None:
        for part in ("train", "test"):
            if part in videos.split:
                members = zip(videos.video, videos.split)
                lists[f"{part}1"] = [name for name, split in members if split == part]
    return lists


def write_splits(splits: Splits, folder: Path) -> list[Path]:
    """Writes splits/<name>.txt, one video a line; returns the paths."""
    paths = []
    for name, names in splits.items():
        paths.append(folder / "splits" / f"{name}.txt")
        with atomic_write(paths[-1]) as temporary:
            temporary.write_text("".join(f"{each}\n" for each in names), encoding="utf-8")
    return paths
