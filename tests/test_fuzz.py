"""A short run of the fuzzing command, and that it would notice what it is for."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from actiontubes.datasets.errors import InputError

HERE = Path(__file__).parent


@pytest.mark.slow
def test_damaged_files_give_a_value_or_one_line(tmp_path: Path) -> None:
    command = [sys.executable, HERE / "fuzz.py", "--files", "400", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = done.stdout.splitlines()[-1].split()
    assert counts[0] == "all" and sum(map(int, counts[1:])) >= 380


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(HERE)
    import fuzz  # type: ignore[import-not-found]

    return fuzz


def test_a_file_is_the_same_each_time(fuzz: Any) -> None:
    content = b"a,1\nb,2\n"
    once, again = (
        [fuzz.mutate(content, ".csv", random.Random(n), [content]) for n in range(50)]
        for _ in range(2)
    )
    assert once == again and len(set(once)) > 20


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "value"),
        (InputError("work/a.csv: row 1: no"), "refused"),
        (InputError("row 1: no"), "fault unnamed"),
        (KeyError("x"), "fault KeyError"),
        (SystemExit(1), "fault SystemExit"),
    ],
)
def test_what_breaks_a_rule(fuzz: Any, error: BaseException | None, outcome: str) -> None:
    def read(folder: Path) -> None:
        if error is not None:
            raise error

    assert fuzz.outcome(read, Path("folder"), Path("a.csv")).startswith(outcome)


def test_what_a_table_must_not_have(fuzz: Any) -> None:
    import numpy as np
    from actiontubes.datasets.tables import Detections

    columns = {
        "video": np.zeros(1, np.int32), "frame": np.zeros(1, np.int32),
        "label": np.zeros(1, np.int32), "score": np.array([0.5]),
        "boxes": np.array([[1.0, 2, 3, 4]]), "video_names": ("a",), "label_names": ("b",),
    }  # fmt: skip
    fuzz.check_value([Detections(**columns)])
    for name, value in (
        ("score", np.array([np.nan])), ("boxes", np.array([[3.0, 2, 1, 4]])),
        ("frame", np.array([-1], np.int32)), ("label", np.ones(1, np.int32)),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            fuzz.check_value(Detections(**{**columns, name: value}))
