"""Rows of a video that wait on disk until all are known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

_ROWS_AT_ONCE = 1 << 14


class StoredRows(NamedTuple):
    """Consecutive rows in the file: number of the first, and how many."""

    start: int
    length: int


class RowFile:
    """Rows of one structured dtype on disk.

    Args:
        file: empty, open for writing and reading.
        dtype: of a row.
    """

    def __init__(self, file: IO[bytes], dtype: np.dtype) -> None:
        self._file, self.dtype = file, dtype
        self._count = 0

    def append(self, **columns: np.ndarray) -> StoredRows:
        """Adds rows, given by the fields of the dtype."""
        rows = np.empty(len(next(iter(columns.values()))), self.dtype)
        for name, values in columns.items():
            rows[name] = values
        self._file.write(rows.tobytes())
        stored = StoredRows(self._count, len(rows))
        self._count += len(rows)
        return stored

    def read(self, rows: StoredRows) -> np.ndarray:
        self._file.seek(rows.start * self.dtype.itemsize)
        data = self._file.read(rows.length * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype)

    def read_all(self) -> Iterator[np.ndarray]:
        """All rows in their order, some at a time; once without any if there are none."""
        for start in range(0, max(self._count, 1), _ROWS_AT_ONCE):
            yield self.read(StoredRows(start, min(_ROWS_AT_ONCE, self._count - start)))
