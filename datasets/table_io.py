"""Reading and writing tables as Parquet and CSV files, by the columns that `tables` declares."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .box_coordinates import has_swapped_corners
from .errors import InputError, refuse_rows
from .files import atomic_write
from .tables import (
    BOX_COLUMNS,
    Actions,
    AnyTable,
    Column,
    Table,
    Tracks,
    Tubes,
    Videos,
    file_columns,
    table_fields,
)
from .text_files import check_encoding

if TYPE_CHECKING:
    import pyarrow


def read_table(kind: type[Table], path: Path) -> Table:
    """Reads a Parquet or CSV file (by its extension) as a table of a kind.

    Columns that the kind does not have are ignored. A tube is a (video, tube) pair in the file:
    numbers that start again in each video are made unique. Tubes and persons may be any text.

    Raises:
        InputError: an unknown extension, a damaged file, a missing column, or a value that breaks
            the table's conventions; the message names the file, the column and the first such row,
            counted from 1 without the header.
        OSError: the file cannot be opened.

    Warns:
        how many texts of a column were replaced by numbers.
    """
    arrow = _read_columns(path, kind)
    values: dict[str, Any] = {}
    for each, column in table_fields(kind).items():
        name = each.name
        present = name == "boxes" or name in arrow.column_names
        if each.default is None and (not present or 0 < len(arrow) == arrow[name].null_count):
            values[name] = None
        elif not present:
            default = (column.default,) * len(arrow)
            values[name] = default if column.dtype is str else np.array(default, column.dtype)
        elif name == "boxes":
            values[name] = _read_boxes(arrow, path)
        elif column.dtype is str:
            values[name] = _read_text(arrow, name, column, path)
        elif column.dtype is None:
            values[name], values[f"{name}_names"] = _read_names(arrow, name, path)
        else:
            values[name] = _read_numbers(arrow, name, column, path)
    if kind is Tubes:
        values["tube"] = _unique_tubes(values["video"], values["tube"])
    table = kind(**values)
    _check(table, path)
    return table


def write_table(table: AnyTable, path: Path) -> None:
    """Writes a table as Parquet or CSV (by the extension of `path`), whole or not at all.

    Raises:
        InputError: an unknown extension.
    """
    arrow = as_arrow(table)
    _require_extension(path)
    with atomic_write(path) as temporary:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(arrow, temporary)
        else:
            import pyarrow.csv

            pyarrow.csv.write_csv(arrow, temporary)


def as_arrow(table: AnyTable) -> pyarrow.Table:
    """The table with the columns of its file."""
    import pyarrow as pa

    columns: dict[str, pyarrow.Array] = {}
    for each, column in table_fields(type(table)).items():
        values = getattr(table, each.name)
        if values is None:
            continue
        if each.name == "boxes":
            columns |= {name: pa.array(values[:, i]) for i, name in enumerate(BOX_COLUMNS)}
        elif column.dtype is None:
            names = pa.array(getattr(table, f"{each.name}_names"), pa.string())
            codes = pa.array(values, pa.int32())
            columns[each.name] = pa.DictionaryArray.from_arrays(codes, names).cast(pa.string())
        else:
            columns[each.name] = pa.array(values)
    return pa.table(columns)


def _require_extension(path: Path) -> None:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: a table must be a .parquet or .csv file")


def table_columns(path: Path) -> list[str]:
    """The names of the columns of a Parquet or CSV file; errors as `read_table`."""
    with _open_table(path):
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_schema(path).names
        import pyarrow.csv

        with pyarrow.csv.open_csv(path) as file:
            return file.schema.names


@contextmanager
def _open_table(path: Path) -> Iterator[None]:
    """What a block that reads a table raises, as an InputError."""
    import pyarrow as pa

    _require_extension(path)
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    if path.suffix == ".csv":
        check_encoding(path)
    try:
        yield
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: cannot be read as a table ({str(error).splitlines()[0]})"
        ) from error


def _read_columns(path: Path, kind: type) -> pyarrow.Table:
    """The file as an Arrow table, strings as strings whatever they look like."""
    present = table_columns(path)
    missing = [name for name in file_columns(kind, optional=False) if name not in present]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; the file has {', '.join(present)}"
        )
    columns = table_fields(kind).items()
    text = [each.name for each, column in columns if column.dtype in (None, str)]
    with _open_table(path):
        # Neither pyarrow.dataset, behind read_table, nor Array.to_numpy: both import pandas.
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path, read_dictionary=set(text) & set(present)) as file:
                return file.read([name for name in file_columns(kind) if name in present])
        import pyarrow as pa
        import pyarrow.csv

        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(text, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        )
        return pyarrow.csv.read_csv(path, convert_options=convert)


def _read_text(arrow: pyarrow.Table, name: str, column: Column, path: Path) -> tuple[str, ...]:
    if column.default is not None:
        return tuple(str(text or column.default) for text in arrow[name].to_pylist())
    codes, names = _read_names(arrow, name, path)
    return tuple(names[code] for code in codes)


def _is_text(values: pyarrow.ChunkedArray) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string)
    return any(is_kind(values.type) for is_kind in kinds)


def _read_names(arrow: pyarrow.Table, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of strings as int32 codes into its sorted names."""
    import pyarrow as pa

    values = arrow[name]
    if not len(values):
        return np.empty(0, np.int32), ()
    if not _is_text(values):
        raise InputError(f"{path}: column {name} must contain text, not {values.type}")
    if values.null_count:
        refuse_rows(values.is_null().to_numpy(), path, f"{name} is empty")
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    combined = pa.concat_arrays(values.unify_dictionaries().chunks)
    names = [str(text) for text in combined.dictionary.to_pylist()]
    codes = np.from_dlpack(combined.indices)
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return rank[codes].astype(np.int32), tuple(names[i] for i in order)


def _read_boxes(arrow: pyarrow.Table, path: Path) -> np.ndarray:
    coordinate = Column(np.float64)
    boxes = np.stack([_read_numbers(arrow, name, coordinate, path) for name in BOX_COLUMNS], axis=1)
    why = "x2 < x1 or y2 < y1; write corners x1, y1, x2, y2, not x, y, width, height"
    refuse_rows(has_swapped_corners(boxes), path, why)
    return boxes


def _read_numbers(arrow: pyarrow.Table, name: str, column: Column, path: Path) -> np.ndarray:
    """A column of numbers within its limits; missing ones become the default."""
    import pyarrow as pa

    values, dtype = arrow[name], column.dtype
    assert dtype is not None
    if not len(values):
        return np.empty(0, dtype)
    if column.any_text and _is_text(values):
        codes, names = _read_names(arrow, name, path)
        warnings.warn(
            f"{path}: column {name} contains text; its {len(names)} different values are numbered",
            stacklevel=3,
        )
        return codes.astype(dtype) + (column.least or 0)
    if values.null_count and column.default is None:
        refuse_rows(values.is_null().to_numpy(), path, f"{name} is empty or not a number")
    is_number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in is_number):
        raise InputError(f"{path}: column {name} must contain numbers, not {values.type}")
    if values.null_count:
        values = values.cast(pa.float64()).fill_null(column.default)
    read = np.from_dlpack(values.combine_chunks())
    if column.default is None:
        refuse_rows(~np.isfinite(read), path, f"{name} is NaN or infinite")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers: np.ndarray = read.astype(dtype)
    if np.issubdtype(dtype, np.integer):
        refuse_rows(read % 1 != 0, path, f"{name} is not a whole number")
        refuse_rows(numbers != read, path, f"{name} is too large or too small")
    least, most = column.least, column.most
    if least is not None and most is not None:
        bad = (numbers < least) | (numbers > most)
        refuse_rows(bad, path, f"{name} must be between {least} and {most}")
    elif least is not None:
        refuse_rows(numbers < least, path, f"{name} must be {least} or more")
    return numbers


def _unique_tubes(video: np.ndarray, tube: np.ndarray) -> np.ndarray:
    """Tube numbers unique in the table; kept as they are where they already were."""
    order = np.lexsort((video, tube))
    if not ((np.diff(tube[order]) == 0) & (np.diff(video[order]) != 0)).any():
        return tube
    order = np.lexsort((tube, video))
    new = np.empty(len(tube), np.int64)
    steps = (np.diff(video[order]) != 0) | (np.diff(tube[order]) != 0)
    new[order] = np.concatenate([[0], np.cumsum(steps)])
    return new


def _check(table: AnyTable, path: Path) -> None:
    """Refuses rows that do not fit other rows of the table."""
    if isinstance(table, Tubes):
        _check_groups(table, (table.tube,), "tube", path)
    elif isinstance(table, Tracks):
        _check_groups(table, (table.person, table.video), "person", path)
    elif isinstance(table, Actions):
        bad = (table.end < table.start) | (table.last_frame < table.first_frame)
        refuse_rows(bad, path, "the action ends before it starts")
    elif isinstance(table, Videos):
        repeated = np.ones(len(table), bool)
        repeated[np.unique(table.video, return_index=True)[1]] = False
        refuse_rows(repeated, path, "this video is listed twice")


def _check_groups(
    table: Tubes | Tracks, keys: tuple[np.ndarray, ...], group: str, path: Path
) -> None:
    """Refuses a second box of a tube or person on a frame, and values that differ in a tube."""
    order = np.lexsort((table.frame, *keys))
    same = np.all([np.diff(key[order]) == 0 for key in keys], axis=0)

    def refuse(differs: np.ndarray, why: str) -> None:
        bad = np.zeros(len(table), bool)
        bad[order[1:]] = same & differs
        refuse_rows(bad, path, why)

    refuse(
        np.diff(table.frame[order]) == 0,
        f"this {group} already has a box on this frame; a {group} has one box a frame",
    )
    for name in ("label", "tube_score", "person") if group == "tube" else ():
        values = getattr(table, name)
        if values is not None:
            refuse(np.diff(values[order]) != 0, f"{name} must be the same in all rows of a tube")
