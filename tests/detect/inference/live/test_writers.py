"""The files of a live run: whole whatever happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes, tubes_from_rows
from actiontubes.datasets.video.reader import read_timed_video
from actiontubes.detect.inference.live.writers import TubeCsvWriter, VideoPartWriter


def make_frame(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), number % 256, np.uint8)


def test_drawn_parts(tmp_path: Path) -> None:
    """A part ends with its minutes; times are those of the frames; an error leaves it whole."""
    with pytest.raises(ZeroDivisionError), VideoPartWriter(tmp_path, minutes=0.1) as parts:
        for each in range(20):
            parts.write(make_frame(each * 10, 48, 64), 100 + each / 2)
        assert sorted(path.name for path in tmp_path.glob("live-*")) == ["live-0001.mp4"]
        raise ZeroDivisionError
    times = [
        [time for time, _ in read_timed_video(path)] for path in sorted(tmp_path.glob("live-*"))
    ]
    np.testing.assert_allclose(times[0], np.arange(12) / 2, atol=0.01)
    np.testing.assert_allclose(times[1], np.arange(8) / 2, atol=0.01)
    assert not list(tmp_path.glob(".*"))


def some_tubes(first: int) -> tuple[Tubes, np.ndarray]:
    """Two tubes of ten frames."""
    box = np.array([4.0, 4, 20, 20])
    rows = [(0, label, np.column_stack([range(10), [box] * 10]), 0.9) for label in range(2)]
    tubes = tubes_from_rows(rows, ("live",), ("walk, or run", "run"))
    person, score = np.full(20, 3, np.int32), np.full(20, 0.8)
    tubes = replace(tubes, tube=tubes.tube + first, score=score, person=person)
    return tubes, tubes.frame / 25


def test_the_file_of_tubes(tmp_path: Path) -> None:
    path = tmp_path / "out" / "tubes.csv"
    file = TubeCsvWriter(path)
    assert len(read_table(Tubes, path)) == 0
    for first in (0, 2):
        file.append(*some_tubes(first))
    table = read_table(Tubes, path)
    assert set(table.label_names) == {"walk, or run", "run"} and table.video_names == ("live",)
    assert np.bincount(table.tube).tolist() == [10] * 4
    np.testing.assert_allclose(table.boxes, np.tile([4.0, 4, 20, 20], (40, 1)))
    assert table.person is not None and set(table.person.tolist()) == {3}
    times = [float(line.rsplit(",", 1)[1]) for line in path.read_text().splitlines()[1:]]
    assert np.ptp(times) == pytest.approx(9 / 25, abs=2e-3)
    with pytest.raises(InputError, match=r"tubes.csv: already exists; choose another --out"):
        TubeCsvWriter(path)


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TubeCsvWriter(tmp_path / "tubes.csv")
    file.append(*some_tubes(0))
    before = file.path.read_bytes()
    opened = Path.open

    class Full:
        """Takes half of what it is given, then nothing."""

        def __init__(self, file, error: bool) -> None:  # type: ignore[no-untyped-def]
            self.file, self.error = file, error

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            written = self.file.write(data[: len(data) // 2])
            if self.error:
                raise OSError(28, "No space left on device")
            return written

        def tell(self) -> int:
            return self.file.tell()

    for error in (True, False):
        monkeypatch.setattr(Path, "open", lambda *a, error=error, **k: Full(opened(*a, **k), error))
        with pytest.raises(InputError, match=r"tubes.csv: could not be written"):
            file.append(*some_tubes(2))
        monkeypatch.undo()
        assert file.path.read_bytes() == before
    file.append(*some_tubes(2))
    assert len(read_table(Tubes, file.path)) == 40
