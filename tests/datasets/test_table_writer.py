"""Tables written little by little, and joined from parts, are those written at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from actiontubes.datasets import table_writer
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.table_writer import (
    OUTPUT_FILES,
    RESULT_FILES,
    concatenate_tables,
    open_table_writer,
)
from actiontubes.datasets.tables import Actions, Detections, Tracks, Tubes, Videos, select_rows


def some_tubes(name: str, counts: list[int], seed: int) -> Tubes:
    """Tubes of so many frames each, numbered from 0."""
    rng = np.random.default_rng(seed)
    rows = sum(counts)
    tube = np.repeat(np.arange(len(counts)), counts)
    frame = np.concatenate([np.empty(0, np.int32), *(np.arange(n, dtype=np.int32) for n in counts)])
    corner = rng.uniform(0, 50, (rows, 2))
    boxes = np.concatenate([corner, corner + 20], axis=1)
    labels = rng.integers(0, 2, len(counts)).astype(np.int32)
    return Tubes(
        np.zeros(rows, np.int32), frame, labels[tube], boxes, tube, (name,), ("run", "sit"),
        score=rng.uniform(size=rows), tube_score=np.linspace(1, 0, len(counts))[tube],
    )  # fmt: skip


def some_actions(name: str, count: int) -> Actions:
    zeros = np.zeros(count, np.int32)
    return Actions(
        zeros, np.arange(1, count + 1, dtype=np.int32), zeros, zeros + 0.5, zeros + 2.5,
        zeros, zeros + 9, zeros + 0.25, (name,), ('say "run", sit',),
    )  # fmt: skip


def as_detections(tubes: Tubes) -> Detections:
    assert tubes.score is not None
    return Detections(
        tubes.video, tubes.frame, tubes.label, tubes.score, tubes.boxes, tubes.video_names,
        tubes.label_names,
    )  # fmt: skip


def same(first: object, second: object) -> None:
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name))


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_rows_in_any_portions(tmp_path: Path, monkeypatch, group: int) -> None:
    monkeypatch.setattr(table_writer, "_GROUP_ROWS", group)
    tubes = some_tubes("a", [5, 9, 1, 4], 0)
    with open_table_writer(tmp_path / "little.parquet") as table:
        for begin in range(0, len(tubes), 3):
            table.write(select_rows(tubes, np.arange(begin, min(begin + 3, len(tubes)))))
    write_table(tubes, tmp_path / "once.parquet")
    same(*(read_table(Tubes, tmp_path / f"{name}.parquet") for name in ("little", "once")))
    schemas = [pq.read_schema(tmp_path / f"{name}.parquet") for name in ("little", "once")]
    assert schemas[0].equals(schemas[1])
    groups = pq.ParquetFile(tmp_path / "little.parquet").num_row_groups
    assert groups == -(-len(tubes) // (-(-group // 3) * 3))


def test_joined_as_concatenated(concatenate_tubes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(table_writer, "_GROUP_ROWS", 10)
    counts = {"b": [5, 9, 1], "none": [], "a": [12], "c": [3, 3]}
    folders, tables = [], []
    for number, (name, lengths) in enumerate(counts.items()):
        folder = tmp_path / name
        folder.mkdir()
        tubes = some_tubes(name, lengths, number)
        with open_table_writer(folder / OUTPUT_FILES.detections) as table:
            table.write(as_detections(tubes))
        write_table(tubes, folder / OUTPUT_FILES.tubes)
        one = [np.array([value]) for value in (10 + number, 64, 48)]
        write_table(Videos((name,), *one, np.array([25.0]), ("",)), folder / OUTPUT_FILES.videos)
        actions = some_actions(name, len(lengths))
        for file in (OUTPUT_FILES.labels, OUTPUT_FILES.actions):
            write_table(actions, folder / file)
        tracks = Tracks(
            tubes.video, tubes.tube.astype(np.int32) + 1, tubes.frame, tubes.tube_score,
            tubes.boxes, (name,),
        )  # fmt: skip
        write_table(tracks, folder / OUTPUT_FILES.tracks)
        folders.append(folder)
        tables.append(tubes)
    out = tmp_path / "out"
    concatenate_tables(folders, map(len, counts.values()), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULT_FILES)
    write_table(concatenate_tubes(tables), tmp_path / "expected.parquet")
    same(
        read_table(Tubes, out / OUTPUT_FILES.tubes),
        read_table(Tubes, tmp_path / "expected.parquet"),
    )
    detections = as_detections(concatenate_tubes(tables))  # type: ignore[arg-type]
    write_table(detections, tmp_path / "expected.parquet")
    expected = read_table(Detections, tmp_path / "expected.parquet")
    same(read_table(Detections, out / OUTPUT_FILES.detections), expected)
    videos = read_table(Videos, out / OUTPUT_FILES.videos)
    assert videos.video == tuple(counts) and videos.num_frames.tolist() == [10, 11, 12, 13]
    tracks = read_table(Tracks, out / OUTPUT_FILES.tracks)
    np.testing.assert_array_equal(tracks.boxes, concatenate_tubes(tables).boxes)
    for file in (OUTPUT_FILES.labels, OUTPUT_FILES.actions):
        actions = read_table(Actions, out / file)
        who = [(actions.video_names[i], int(n)) for i, n in zip(actions.video, actions.person)]
        assert who == [
            ("b", 1), ("b", 2), ("b", 3), ("a", 1), ("c", 1), ("c", 2),
        ]  # fmt: skip
        assert actions.label_names == ('say "run", sit',) and actions.end[0] == 2.5
    (folders[2] / OUTPUT_FILES.actions).write_text("video,who\n")
    with pytest.raises(InputError, match=r"a/actions\.csv: is damaged; delete its folder"):
        concatenate_tables(folders, map(len, counts.values()), out)


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(table_writer, "_GROUP_ROWS", 4)
    tubes = some_tubes("a", [5, 9], 0)
    path = tmp_path / "tubes.parquet"
    path.write_text("what was there before")
    with pytest.raises(KeyError), open_table_writer(path) as table:
        table.write(tubes)
        raise KeyError
    assert path.read_text() == "what was there before"
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full_disk)
    with pytest.raises(OSError, match="No space left"), open_table_writer(path) as table:
        table.write(tubes)
    assert [file.name for file in tmp_path.iterdir()] == ["tubes.parquet"]


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")
