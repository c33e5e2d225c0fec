"""Parquet files of other people: what they would take in memory is known before they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, error_line
from .files import allowed_memory

if TYPE_CHECKING:
    import pyarrow.parquet

_CELL_BYTES = 24  # a number in Arrow's column, in NumPy's, and once more while it is checked


@contextmanager
def open_parquet(path: Path, texts: Collection[str] = ()) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Opens a Parquet file.

    Args:
        path: the file.
        texts: columns that are read as codes into their different values.

    Raises:
        InputError: the file is damaged, also where the block that reads it shows it.
        OSError: the file cannot be opened.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, read_dictionary=list(texts)) as file:
            yield file
    # Of damaged pages pyarrow raises an OSError, too, which names no file.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "filename", None):
            raise
        raise InputError(
            f"{path}: cannot be read as a table ({error_line(error)[:200]}); it may be damaged"
        ) from error


def read_columns(
    file: pyarrow.parquet.ParquetFile, names: Collection[str], path: Path
) -> pyarrow.Table:
    """Reads some columns.

    Raises:
        InputError: they would take far more memory than the file's size makes plausible.
    """
    about = file.metadata
    needed = _CELL_BYTES * about.num_rows * len(names)
    # Not by columns: asked for a damaged one, pyarrow ends the process.
    needed += sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    size = path.stat().st_size
    if needed > allowed_memory(size):
        raise InputError(
            f"{path}: its {about.num_rows} rows would take {needed / 2**30:.1f} GB of memory, "
            f"though the file has {size / 2**20:.1f} MB; it is damaged or not a table of boxes"
        )
    return file.read(list(names))
