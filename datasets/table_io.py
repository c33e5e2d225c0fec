"""Reading and writing tables as Parquet and CSV files, by the columns that `tables` declares."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from .checks import as_integers, check_table
from .column_names import columns_called, match_columns
from .errors import InputError, refuse_rows
from .frame_numbers import from_first_frame
from .labels import merge_spellings
from .storage.files import atomic_write
from .storage.parquet_file import open_parquet, read_columns
from .storage.text_files import check_encoding
from .tables import BOX_COLUMNS, AnyTable, Column, Table, Tubes, file_columns, table_fields
from .tube_numbers import divide_by_label, unique_tubes

if TYPE_CHECKING:
    import pyarrow

_LONGEST_HEADER = 1 << 20  # characters


def read_table(kind: type[Table], path: str | Path, *, first_frame: int = 0) -> Table:
    """Reads a Parquet or CSV file (by its extension) as a table of a kind.

    Columns that the kind does not have are ignored. A tube is a (video, tube) pair in the file:
    numbers that start again in each video are made unique. Tubes and persons may be any text. A
    tube number that stands for several labels, as a person's does, becomes a tube for each stretch
    of one label.

    Args:
        kind: the table's class.
        path: the file.
        first_frame: the number that the file gives to a video's first frame; a file with a lower
            frame counts from 0.

    Raises:
        InputError: an unknown extension, a damaged file, a missing column, or a value that breaks
            the table's conventions; the message names the file, the column and the first such row,
            counted from 1 without the header.
        OSError: the file cannot be opened.

    Warns:
        how many texts of a column were replaced by numbers, how many tubes were divided, and how
        the file differs from the expected form.
    """
    path = Path(path)
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
            boxes = [_read_numbers(arrow, axis, Column(np.float64), path) for axis in BOX_COLUMNS]
            values[name] = np.stack(boxes, axis=1)
        elif column.dtype is str:
            values[name] = _read_text(arrow, name, column, path)
        elif column.dtype is None:
            values[name], values[f"{name}_names"] = _read_names(arrow, name, path)
        else:
            values[name] = _read_numbers(arrow, name, column, path)
    if "label" in values:
        codes, values["label_names"] = merge_spellings(values["label_names"], path)
        values["label"] = codes[values["label"]]
    if first_frame and (values.get("frame", np.array([first_frame])) < first_frame).any():
        warnings.warn(
            f"{path}: has a frame {values['frame'].min()}, so its frames count from 0 and not from "
            f"{first_frame}",
            stacklevel=2,
        )
        first_frame = 0
    for name in ("frame", "first_frame", "last_frame") if first_frame else ():
        if name in values:
            values[name] = from_first_frame(values[name], first_frame)
    if kind is Tubes:
        tube = unique_tubes(values["video"], values["tube"])
        values["tube"] = divide_by_label(tube, values["frame"], values["label"], path)
    table = kind(**values)
    check_table(table, path, by_number=True)
    return table


def write_table(table: AnyTable, path: str | Path) -> None:
    """Writes a table as Parquet or CSV (by the extension of `path`), whole or not at all.

    Raises:
        InputError: an unknown extension.
    """
    path, arrow = Path(path), as_arrow(table)
    with atomic_write(path) as temporary:
        if _is_parquet(path):
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
            columns[each.name] = pa.array(values, mask=_missing(values, column))
    return pa.table(columns)


def _missing(values: np.ndarray, column: Column) -> np.ndarray | None:
    """Which numbers have no value in the file; None for no column of that kind."""
    if column.is_written:
        return None
    return np.isnan(values) if column.default != column.default else values == column.default


def _is_parquet(path: Path) -> bool:
    extension = path.suffix.lower()
    if extension not in (".parquet", ".csv"):
        raise InputError(f"{path}: a table must be a .parquet or .csv file")
    return extension == ".parquet"


def table_columns(path: Path) -> list[str]:
    """The names of the columns of a Parquet or CSV file, as the tables call them where they differ
    only in capitals and blanks; errors as `read_table`."""
    header = _read_header(path)
    known = {name for kind in get_args(AnyTable) for name in file_columns(kind)}
    return [
        name.strip().lower() if name.strip().lower() in known else name for name in header.names
    ]


def has_columns_of(kind: type, path: Path) -> bool:
    """Whether a Parquet or CSV file has all columns that a kind of table needs, whatever they are
    called; errors as `read_table`."""
    present = _read_header(path).names
    return all(columns_called(name, present, True) for name in file_columns(kind, optional=False))


class _Header(NamedTuple):
    """The names of a file's columns, and of a CSV file the character between them."""

    names: list[str]
    separator: str = ","


def _read_header(path: Path) -> _Header:
    with _open_table(path):
        if _is_parquet(path):
            with open_parquet(path) as file:
                return _Header(file.schema_arrow.names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline(_LONGEST_HEADER)
        rows = {
            separator: next(csv.reader([line], delimiter=separator), []) for separator in ",;\t|"
        }
        separator = max(rows, key=lambda key: len(rows[key]))
        return _Header(rows[separator], separator)


@contextmanager
def _open_table(path: Path) -> Iterator[None]:
    """What a block that reads a table raises, as an InputError."""
    import pyarrow as pa

    is_parquet = _is_parquet(path)
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    if not is_parquet:
        check_encoding(path)
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8") from error
    except (pa.ArrowException, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({str(error).splitlines()[0]})"
        ) from error


def _read_columns(path: Path, kind: type) -> pyarrow.Table:
    """The file's columns of a kind as an Arrow table, strings whatever they look like."""
    header = _read_header(path)
    wanted = match_columns(header.names, kind, path)
    columns = table_fields(kind).items()
    text = [each.name for each, column in columns if column.dtype in (None, str)]
    with _open_table(path):
        # Neither pyarrow.dataset, behind read_table, nor Array.to_numpy: both import pandas.
        if _is_parquet(path):
            strings = {wanted[name] for name in text if name in wanted}
            with open_parquet(path, strings) as file:
                return read_columns(file, wanted.values(), path).rename_columns(
                    {given: name for name, given in wanted.items()}
                )
        import pyarrow as pa
        import pyarrow.csv

        place = {name: header.names.index(given) for name, given in wanted.items()}
        names = [str(i) for i in range(len(header.names))]  # others may stand there twice
        for name, i in place.items():
            names[i] = name
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(text, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            include_columns=list(wanted),
            decimal_point="," if _has_decimal_commas(path, header.separator) else ".",
        )
        return pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=header.separator),
            convert_options=convert,
        )


def _has_decimal_commas(path: Path, separator: str) -> bool:
    """Whether a CSV file that is not separated by commas writes numbers with them."""
    if separator == ",":
        return False
    with path.open(encoding="utf-8-sig", newline="") as file:
        sample = file.read(1 << 16)
    commas = re.search(r"\d,\d", sample) is not None
    name = {";": "semicolons", "\t": "tabs", "|": "bars"}[separator]
    warnings.warn(
        f"{path}: its columns are separated by {name}{', with decimal commas' * commas}",
        stacklevel=4,
    )
    return commas


def _read_text(arrow: pyarrow.Table, name: str, column: Column, path: Path) -> tuple[str, ...]:
    if column.default is not None:
        # Not to_pylist, which makes every text anew, however often it is repeated.
        texts: dict[str, str] = {}
        words = (str(text.as_py() or column.default) for text in arrow[name])
        try:
            return tuple(texts.setdefault(word, word) for word in words)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: column {name} is not UTF-8 text; it is damaged") from error
    codes, names = _read_names(arrow, name, path)
    return tuple(names[code] for code in codes)


def _is_text(values: pyarrow.ChunkedArray) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_dictionary, pa.types.is_string, pa.types.is_large_string)
    return any(is_kind(values.type) for is_kind in kinds)


def _read_names(arrow: pyarrow.Table, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of strings, or of whole numbers, as int32 codes into its sorted names."""
    import pyarrow as pa

    values = arrow[name]
    if not len(values):
        return np.empty(0, np.int32), ()
    if values.null_count:
        refuse_rows(values.is_null().to_numpy(), path, f"{name} is empty")
    if pa.types.is_integer(values.type):
        values = values.cast(pa.string())
    elif not _is_text(values):
        raise InputError(f"{path}: column {name} must contain text, not {values.type}")
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    combined = pa.concat_arrays(values.unify_dictionaries().chunks)
    try:
        names = [str(text) for text in combined.dictionary.to_pylist()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: column {name} is not UTF-8 text; it is damaged") from error
    codes = np.from_dlpack(combined.indices)
    if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
        raise InputError(f"{path}: column {name} refers to texts that are not there; it is damaged")
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return rank[codes].astype(np.int32), tuple(names[i] for i in order)


def _read_numbers(arrow: pyarrow.Table, name: str, column: Column, path: Path) -> np.ndarray:
    """A column of numbers; missing ones become the default."""
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
        return codes.astype(dtype) + int(column.least or 0)
    if values.null_count and column.default is None:
        refuse_rows(values.is_null().to_numpy(), path, f"{name} is empty or not a number")
    if _is_text(values):
        bad = np.array([not _is_number(text) for text in values.to_pylist()])
        text = values[int(bad.argmax())].as_py()
        refuse_rows(bad, path, f"{name} must be a number, not {text!r}")
    is_number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in is_number):
        raise InputError(f"{path}: column {name} must contain numbers, not {values.type}")
    if values.null_count:
        values = values.cast(pa.float64()).fill_null(column.default)
    read = np.from_dlpack(values.combine_chunks())
    if column.default is None:
        refuse_rows(~np.isfinite(read), path, f"{name} is NaN or infinite")
    if not np.issubdtype(dtype, np.integer):
        return read.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers: np.ndarray = read.astype(dtype)
    if (bad := numbers != read).any():
        # as_integers has the words; here they name the row.
        as_integers(read[bad][:1], dtype, name, f"{path}: row {int(bad.argmax()) + 1}")
    return numbers


def _is_number(text: str | None) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
