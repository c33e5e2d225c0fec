"""Tables larger than memory: written row group by row group, and joined from those of videos."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .files import atomic_write
from .table_io import as_arrow
from .tables import Detections, Tubes, Videos

if TYPE_CHECKING:
    import pyarrow


_GROUP = 1 << 16
"""Rows of a row group: some 3 MB of boxes."""
TABLES = ("detections.parquet", "tubes.parquet", "videos.parquet", "labels.csv")
"""What is known of videos: the three tables, and the labels of each tube."""
LABEL_COLUMNS = ("video", "tube", "label", "score")
"""Of labels.csv."""


class TableWriter:
    """What `open_table_writer` yields: takes rows, and writes them once they fill a row group."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pyarrow.Table] = []
        self._rows = 0
        self._file: pyarrow.parquet.ParquetWriter | None = None

    def write(self, rows: Detections | Tubes | Videos) -> None:
        """Appends rows; all tables given have the same columns."""
        self.write_arrow(as_arrow(rows))

    def write_arrow(self, rows: pyarrow.Table) -> None:
        """The same for rows as `tables.as_arrow` makes them."""
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= _GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what still waits, and the file's index."""
        if self._waiting:
            self._flush()
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        """Closes the file without care for what is in it."""
        if self._file is not None and self._file.is_open:
            # The disk may be full: the error that matters is already on its way.
            try:
                self._file.close()
            except OSError:
                self._file.is_open = False

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = pa.concat_tables(self._waiting)
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, rows.schema)
        self._file.write_table(rows.combine_chunks())
        self._waiting, self._rows = [], 0


@contextmanager
def open_table_writer(path: Path) -> Iterator[TableWriter]:
    """Opens a Parquet file for rows that come little by little; whole or not at all.

    One table at least must be given, with or without rows, since it brings the columns.

    Raises:
        OSError: the disk is full.
    """
    with atomic_write(path) as temporary:
        writer = TableWriter(temporary)
        try:
            yield writer
            writer.close()
        finally:
            writer.abandon()


def concatenate_tables(folders: Sequence[Path], tubes: Iterable[int], out: Path) -> None:
    """Joins the `TABLES` of videos, one after the other, in constant memory.

    Tubes are numbered through, as `tables.concatenate` does. Each file is whole or not there.

    Args:
        folders: of one video each.
        tubes: how many tubes each has, numbered from 0.
        out: the folder to write to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, used = [], 0
    for count in tubes:
        first.append(used)
        used += count
    for name in TABLES[:3]:
        with open_table_writer(out / name) as joined:
            for folder, shift in zip(folders, first, strict=True):
                with pq.ParquetFile(folder / name) as file:
                    if not file.num_row_groups:
                        joined.write_arrow(file.schema_arrow.empty_table())
                    for group in range(file.num_row_groups):
                        rows = file.read_row_group(group)
                        if "tube" in rows.column_names:
                            place = rows.column_names.index("tube")
                            moved = pa.compute.add(rows["tube"], pa.scalar(shift, pa.int64()))
                            rows = rows.set_column(place, "tube", moved)
                        joined.write_arrow(rows)
    with open_label_writer(out / TABLES[3]) as write:
        for folder, shift in zip(folders, first, strict=True):
            with (folder / TABLES[3]).open(newline="", encoding="utf-8") as file_:
                for video, tube, label, score in list(csv.reader(file_))[1:]:
                    write.writerow((video, int(tube) + shift, label, score))


@contextmanager
def open_label_writer(path: Path) -> Iterator[csv._writer]:  # type: ignore[name-defined]
    """Opens a CSV of `LABEL_COLUMNS` for writing, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(LABEL_COLUMNS)
        yield writer
