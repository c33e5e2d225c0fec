"""Parquet files that are damaged, or that ask for more memory than their size makes plausible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Videos


def write_rows(path: Path, rows: int, **changes: pa.Array) -> None:
    numbers = pa.array(np.zeros(rows, np.int8))
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["a"])
    columns = {
        "video": names, "frame": numbers, "x1": numbers, "y1": numbers, "x2": numbers,
        "y2": numbers, "label": names, "score": numbers, **changes,
    }  # fmt: skip
    pq.write_table(pa.table(columns), path, compression="zstd")


def test_many_equal_rows_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_rows(path, 1000)
    assert len(read_table(Detections, path)) == 1000
    write_rows(path, 8_000_000)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"t\.parquet: its 8000000 rows would take 1\.\d GB"):
        read_table(Detections, path)


def test_a_column_that_is_not_read_may_have_any_size(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    text = pa.array(["x" * (1 << 20)] * 20)
    write_rows(path, 20, notes=text)
    assert len(read_table(Detections, path)) == 20


def test_a_long_text_on_many_rows_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    rows = 3000
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * (1 << 20)])
    ones = pa.array(np.ones(rows, np.int32))
    names = pa.array([f"v{number}" for number in range(rows)])
    columns = {"video": names, "width": ones, "height": ones, "num_frames": ones, "fps": ones}
    pq.write_table(pa.table({**columns, "split": long}), path)
    split = read_table(Videos, path).split
    assert len(split) == rows and len({id(word) for word in split}) == 1


def test_damage_anywhere_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_rows(path, 50)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in random.integers(len(content), size=3):
            content[place] = random.integers(256)
        path.write_bytes(content)
        try:
            read_table(Detections, path)
        except InputError as error:
            refused += 1
            assert "t.parquet" in str(error) and "\n" not in str(error)
    assert refused > 100
