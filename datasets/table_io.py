"""Reading and writing tables as Parquet and CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, more_rows
from .files import atomic_write
from .tables import BOX_COLUMNS, AnyTable, Detections, Tubes, Videos

if TYPE_CHECKING:
    import pyarrow


_COLUMNS: dict[type, tuple[str, ...]] = {
    Detections: ("video", "frame", "label", "score", *BOX_COLUMNS),
    Tubes: ("video", "frame", "label", *BOX_COLUMNS, "tube"),
    Videos: ("video", "num_frames", "width", "height"),
}


def read_table(kind: type[AnyTable], path: Path) -> AnyTable:
    """Reads a Parquet or CSV file (by its ending) as `Detections`, `Tubes` or `Videos`.

    Further columns are ignored. A tube is a (video, tube) pair in the file: numbers that start
    again in each video are made unique.

    Raises:
        InputError: an unknown ending, a damaged file, a missing column, or a value that breaks the
            table's conventions; the message names the file, the column and the first such row,
            counted from 1 without the header.
        OSError: the file cannot be opened.
    """
    table = _read_columns(path, _COLUMNS[kind])
    if kind is Videos:
        return _videos_from(table, path)  # type: ignore[return-value]
    video, video_names = _codes(table, "video", path)
    label, label_names = _codes(table, "label", path)
    frame = _numbers(table, "frame", np.int32, path)
    _refuse(frame < 0, path, "frame", "is negative (frames count from 0)")
    boxes = np.stack([_numbers(table, column, np.float64, path) for column in BOX_COLUMNS], axis=1)
    _refuse(~np.isfinite(boxes).all(axis=1), path, "x1, y1, x2 or y2", "is NaN or infinite")
    _refuse(
        (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]),
        path, "x2 < x1", "or y2 < y1; write corners x1, y1, x2, y2, not x, y, width, height",
    )  # fmt: skip
    if kind is Detections:
        score = _numbers(table, "score", np.float64, path)
        _refuse(~np.isfinite(score), path, "score", "is NaN or infinite")
        _refuse((score < 0) | (score > 1), path, "score", "must be between 0 and 1")
        return Detections(video, frame, label, score, boxes, video_names, label_names)  # type: ignore[return-value]
    tube = _unique_tubes(video, _numbers(table, "tube", np.int64, path))
    scores = {}
    for column in ("score", "tube_score"):
        there = column in table.column_names
        if there and (not len(table) or table[column].null_count < len(table)):
            scores[column] = _numbers(table, column, np.float64, path)
            _refuse(~np.isfinite(scores[column]), path, column, "is NaN or infinite")
    tubes = Tubes(video, frame, label, boxes, tube, video_names, label_names, **scores)
    _check_tubes(tubes, path)
    return tubes  # type: ignore[return-value]


def write_table(table: Detections | Tubes | Videos, path: Path) -> None:
    """Writes a table as Parquet or CSV (by the ending of `path`), whole or not at all.

    Raises:
        InputError: an unknown ending.
    """
    arrow = as_arrow(table)
    _require_ending(path)
    with atomic_write(path) as temporary:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(arrow, temporary)
        else:
            import pyarrow.csv

            pyarrow.csv.write_csv(arrow, temporary)


def as_arrow(table: Detections | Tubes | Videos) -> pyarrow.Table:
    """The table with the columns of its file."""
    import pyarrow as pa

    columns: dict[str, object] = {}
    if isinstance(table, Videos):
        for name in ("video", "num_frames", "width", "height", "fps", "split"):
            columns[name] = pa.array(getattr(table, name))
    else:
        columns["video"] = _names_array(table.video, table.video_names)
        columns["frame"] = pa.array(table.frame)
        columns["label"] = _names_array(table.label, table.label_names)
        if table.score is not None:
            columns["score"] = pa.array(table.score)
        columns.update({name: pa.array(table.boxes[:, i]) for i, name in enumerate(BOX_COLUMNS)})
        if isinstance(table, Tubes):
            columns["tube"] = pa.array(table.tube)
            if table.tube_score is not None:
                columns["tube_score"] = pa.array(table.tube_score)
    return pa.table(columns)


def _require_ending(path: Path) -> None:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"{path}: a table must be a .parquet or .csv file")


def _read_columns(path: Path, required: tuple[str, ...]) -> pyarrow.Table:
    """The file as an Arrow table, strings as strings whatever they look like."""
    import pyarrow as pa

    _require_ending(path)
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path, read_dictionary=["video", "label"])
        else:
            import pyarrow.csv

            strings = dict.fromkeys(("video", "label", "split"), pa.string())
            table = pyarrow.csv.read_csv(
                path,
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=strings, strings_can_be_null=True, null_values=[""]
                ),
            )
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: cannot be read as a table ({str(error).splitlines()[0]})"
        ) from error
    missing = [column for column in required if column not in table.column_names]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; the file has "
            f"{', '.join(table.column_names)}"
        )
    return table


def _refuse(bad: np.ndarray, path: Path, column: str, why: str) -> None:
    if bad.any():
        row = int(np.argmax(bad)) + 1
        raise InputError(f"{path}: row {row}{more_rows(int(bad.sum()))}: {column} {why}")


def _codes(table: pyarrow.Table, column: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """A column of strings as int32 codes into its sorted names."""
    import pyarrow as pa

    values = table[column]
    if not len(values):
        return np.empty(0, np.int32), ()
    if not (pa.types.is_dictionary(values.type) or pa.types.is_string(values.type)
            or pa.types.is_large_string(values.type)):  # fmt: skip
        raise InputError(f"{path}: column {column} must contain text, not {values.type}")
    if values.null_count:
        _refuse(values.is_null().to_numpy(), path, column, "is empty")
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    combined = pa.concat_arrays(values.unify_dictionaries().chunks)
    names = [str(name) for name in combined.dictionary.to_pylist()]
    codes = combined.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(np.array(names, dtype=object), kind="stable")
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return rank[codes].astype(np.int32), tuple(names[i] for i in order)


def _numbers(table: pyarrow.Table, column: str, dtype: type, path: Path) -> np.ndarray:
    values = table[column]
    if values.null_count:
        _refuse(values.is_null().to_numpy(), path, column, "is empty or not a number")
    array = values.to_numpy()
    if array.dtype.kind not in "iuf" and len(array):
        raise InputError(f"{path}: column {column} must contain numbers, not {values.type}")
    if np.issubdtype(dtype, np.integer):
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        _refuse(whole != array, path, column, "is not a whole number")
        limit = np.iinfo(dtype)
        _refuse(
            (whole < limit.min) | (whole > limit.max), path, column, "is too large or too small"
        )
        return whole.astype(dtype)
    return array.astype(dtype)


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


def _check_tubes(tubes: Tubes, path: Path) -> None:
    order = np.lexsort((tubes.frame, tubes.tube))
    same_tube = np.diff(tubes.tube[order]) == 0

    def refuse(differs: np.ndarray, column: str, why: str) -> None:
        bad = np.zeros(len(tubes), bool)
        bad[order[1:]] = same_tube & differs
        _refuse(bad, path, column, why)

    refuse(
        np.diff(tubes.frame[order]) == 0,
        "this tube",
        "already has a box on this frame; a tube has one box a frame",
    )
    refuse(np.diff(tubes.label[order]) != 0, "label", "must be the same in all rows of a tube")
    if tubes.tube_score is not None:
        refuse(
            np.diff(tubes.tube_score[order]) != 0,
            "tube_score",
            "must be the same in all rows of a tube",
        )


def _videos_from(table: pyarrow.Table, path: Path) -> Videos:
    codes, names = _codes(table, "video", path)
    video = tuple(names[code] for code in codes)
    repeated = np.ones(len(codes), bool)
    repeated[np.unique(codes, return_index=True)[1]] = False
    _refuse(repeated, path, "this video", "is listed twice")
    numbers = {
        column: _numbers(table, column, np.int64, path)
        for column in ("num_frames", "width", "height")
    }
    for column, values in numbers.items():
        _refuse(values < 1, path, column, "must be 1 or more")
    fps = np.full(len(video), np.nan)
    if "fps" in table.column_names:
        known = table["fps"].is_valid()
        fps[known.to_numpy()] = _numbers(table.filter(known), "fps", np.float64, path)
    split = ("",) * len(video)
    if "split" in table.column_names:
        split = tuple(str(name or "") for name in table["split"].to_pylist())
    return Videos(video, numbers["num_frames"], numbers["width"], numbers["height"], fps, split)


def _names_array(codes: np.ndarray, names: tuple[str, ...]) -> pyarrow.Array:
    import pyarrow as pa

    dictionary = pa.array(names, pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), dictionary).cast(pa.string())
