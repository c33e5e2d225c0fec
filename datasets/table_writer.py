"""Tables that do not fit into memory: written in parts, and joined from those of single videos."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .storage.files import atomic_write, sync_file
from .table_io import as_arrow
from .tables import AnyTable

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class OutputFiles:
    """The names of the files in a folder of results."""

    detections: str = "detections.parquet"
    tubes: str = "tubes.parquet"
    tracks: str = "tracks.parquet"
    videos: str = "videos.parquet"
    actions: str = "actions.csv"
    labels: str = "labels.csv"


OUTPUT_FILES = OutputFiles()
RESULT_FILES = (
    OUTPUT_FILES.detections, OUTPUT_FILES.tubes, OUTPUT_FILES.videos, OUTPUT_FILES.labels,
    OUTPUT_FILES.tracks, OUTPUT_FILES.actions,
)  # fmt: skip
"""The files that `detect` writes for every video, and joined for all."""
_GROUP_ROWS = 1 << 16  # about 3 MB of boxes


class TableWriter:
    """Appends rows to a Parquet file; `open_table_writer` opens it. Rows wait for a full group."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pyarrow.Table] = []
        self._rows = 0
        self._file: pyarrow.parquet.ParquetWriter | None = None

    def write(self, rows: AnyTable) -> None:
        """Appends the rows of a table; all tables have the same columns."""
        self.write_arrow(as_arrow(rows))

    def write_arrow(self, rows: pyarrow.Table) -> None:
        """Appends rows of an Arrow table with the columns of `table_io.as_arrow`."""
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """Writes the waiting rows and the file's index."""
        if self._waiting:
            self._flush()
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Closes the file after an error; its content does not matter."""
        if self._file is not None and self._file.is_open:
            # The disk may be full; the first error is already being raised.
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
    """Opens a Parquet file for rows that come little by little; written whole or not at all.

    At least one table must be written, with or without rows, because it defines the columns.

    Raises:
        OSError: the disk is full.
    """
    with atomic_write(path) as temporary, _open_parquet(temporary) as writer:
        yield writer


@contextmanager
def _open_parquet(path: Path) -> Iterator[TableWriter]:
    writer = TableWriter(path)
    try:
        yield writer
        writer.close()
    finally:
        writer.discard()


def concatenate_tables(folders: Sequence[Path], tubes: Iterable[int], out: Path) -> None:
    """Joins the `RESULT_FILES` of single videos in constant memory.

    The tubes of each video are numbered after those of the videos before it. The old files of `out`
    are replaced when all new ones are complete.

    Args:
        folders: one for each video.
        tubes: the number of tubes of each video, which are numbered from 0.
        out: the folder to write to.

    Raises:
        InputError: a file of a video is damaged.
        OSError: a file is missing, or the disk is full.
    """
    first_tube = list(accumulate(tubes, initial=0))
    with ExitStack() as replacing:
        for name in RESULT_FILES:
            temporary = replacing.enter_context(atomic_write(out / name))
            paths = [folder / name for folder in folders]
            if name.endswith(".csv"):
                _join_csv(paths, temporary)
            else:
                _join_parquet(paths, first_tube, temporary)
            sync_file(temporary)  # a full disk is noticed before the first file is replaced


def _join_parquet(paths: Sequence[Path], first_tube: Sequence[int], out: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with _open_parquet(out) as joined:
        for path, shift in zip(paths, first_tube):
            with errors_of_parquet(path), pq.ParquetFile(path) as file:
                # A table without rows may have no group.
                for group in range(max(file.num_row_groups, 1)):
                    empty = not file.num_row_groups
                    rows = file.schema_arrow.empty_table() if empty else file.read_row_group(group)
                    if "tube" in rows.column_names:
                        column = rows.column_names.index("tube")
                        numbers = pc.add(rows["tube"], pa.scalar(shift, pa.int64()))
                        rows = rows.set_column(column, "tube", numbers)
                    joined.write_arrow(rows)


@contextmanager
def errors_of_parquet(path: Path) -> Iterator[None]:
    """Turns pyarrow's errors about the content of a video's file into an InputError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system
            raise
        raise InputError(f"{path}: is damaged; delete its folder and run again") from error


def _join_csv(paths: Sequence[Path], out: Path) -> None:
    """The rows of files with one header, one file after the other."""
    header = b""
    with out.open("wb") as joined:
        for path in paths:
            with path.open("rb") as file:
                first = file.readline()
                if not first.endswith(b"\n") or first != (header or first):
                    raise InputError(f"{path}: is damaged; delete its folder and run again")
                if not header:
                    joined.write(first)
                header = first
                shutil.copyfileobj(file, joined)
