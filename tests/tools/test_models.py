"""."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NAMES = ["i2d", "i3d", "bottom-heavy-i3d", "top-heavy-i3d", "s3d", "fast-s3d", "s3d-g"]


@pytest.mark.slow
def test_table_and_json(run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "models.json"
    done = run("models", "--json", path)
    assert done.returncode == 0 and done.stderr == ""
    family, heads = done.stdout.split("\n\n")
    title, head, *lines = family.splitlines()
    assert title.startswith("400 classes, 64x224x224, width 1.0")
    assert head.split()[:2] == ["name", "parameters"]
    assert [line.split()[0] for line in lines] == NAMES
    # Number and unit for each of four columns, "-" where the paper has none; then words.
    i3d, s3d = lines[1], lines[4]
    assert re.match(r"i3d +12\.69 M +12\.06 M +111\.\d\d G +107\.89 G  Conv2d_1a to Mixed_5c", i3d)
    assert re.match(r"s3d +8\.32 M +8\.77 M +71\.\d\d G +66\.38 G  .*\(separable\) +none$", s3d)
    assert [line.split()[0] for line in heads.splitlines()[1:]] == [
        "head",
        "mean",
        "light",
        "mixed",
    ]
    rows = json.loads(path.read_text())
    assert [row["name"] for row in rows] == NAMES
    by_name = {row["name"]: row for row in rows}
    assert by_name["s3d"]["parameters"] == 8_320_048
    assert by_name["i3d"]["parameters"] == 12_689_984
    assert by_name["i3d"]["multiply_adds"] / 1e9 == pytest.approx(111.2, abs=0.1)
    assert by_name["i3d"]["paper_multiply_adds"] == 107_890_000_000
    assert by_name["i2d"]["paper_parameters"] is None
    for row in rows:
        assert {
            "name",
            "parameters",
            "multiply_adds",
            "paper_parameters",
            "paper_multiply_adds",
        } <= set(row)


@pytest.mark.slow
def test_the_smallest_clip_that_is_allowed(run, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    done = run("models", "--frames", 5, "--size", 17, "--classes", 24, "--width", 0.5,
               "--json", path)  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("24 classes, 5x17x17, width 0.5")
    assert {row["name"]: row for row in json.loads(path.read_text())}["s3d"]["parameters"] < 3e6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", 0], "--classes 0: must be 1 or more"),
        (["--width", 0], "--width 0.0: must be greater than 0"),
        (["--width", "nan"], "nan"),
        (["--frames", 4], "--frames 4: must be 5 or more"),
        (["--size", 16], "--size 16: must be 17 or more"),
        (["--frames", "many"], "many"),
    ],
)
def test_errors_are_one_line(run, words: list, message: str) -> None:
    done = run("models", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("actiontubes models: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
