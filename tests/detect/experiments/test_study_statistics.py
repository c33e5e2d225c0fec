"""The study's numbers, by hand and against SciPy; its tables, findings and figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from actiontubes.detect.experiments.study_plots import plot_cost, sweep_line
from actiontubes.detect.experiments.study_report import (
    Finding,
    find_differences,
    markdown,
    results_table,
    write_study_report,
)
from actiontubes.detect.experiments.study_statistics import (
    Interval,
    clip_accuracy,
    confidence_interval,
    equal_cost_difference,
    paired_difference,
    runs_table,
    summarize,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats


def record(
    backbone: str,
    seed: int,
    top1: float,
    pairs: float | None = None,
    reversed_top1: float | None = None,
    cost: int = 100,
    streams: str = "rgb",
) -> dict[str, Any]:
    return {
        "backbone": backbone, "streams": streams, "seed": seed, "multiply_adds": cost,
        "parameters": 10, "clips_per_second": 5.0 + seed, "step_seconds": 1.0, "clips": 9,
        "normal": {"top1": top1, "pairs": pairs, "per_pair": [pairs]},
        "reversed": None if reversed_top1 is None else
        {"top1": reversed_top1, "pairs": None if pairs is None else reversed_top1, "per_pair": []},
    }  # fmt: skip


def test_interval_by_hand() -> None:
    # Standard deviation 1; the 97.5 % quantile of Student's t with 2 degrees of freedom, 4.3027.
    result = confidence_interval([1.0, 2.0, 3.0])
    assert result.mean == 2 and result.n == 3
    assert result.half == pytest.approx(4.30265 / 3**0.5, abs=1e-4)
    assert str(result) == "2.0 ± 2.5"
    assert (
        confidence_interval([7.0]) == Interval(7.0, None, 1)
        and str(confidence_interval([7.0])) == "7.0"
    )


@given(values=st.lists(st.floats(0, 100), min_size=2, max_size=9).filter(lambda v: np.std(v) > 0.1))
def test_interval_agrees_with_scipy(values: list[float]) -> None:
    result = confidence_interval(values)
    theirs = stats.ttest_1samp(values, 50.0).confidence_interval(0.95)
    assert result.half is not None
    np.testing.assert_allclose(
        (result.mean - result.half, result.mean + result.half), (theirs.low, theirs.high), atol=1e-6
    )


def test_accuracy_within_pairs_by_hand() -> None:
    logits = np.array(
        [
            [3, 2, 9, 0],  # 0: not the best, but above its opposite, 1
            [1, 4, 2, 0],  # 1: the best
            [5, 1, 0, 0],  # 1: below its opposite
            [2, 2, 0, 0],  # 0: a tie is not above
            [0, 9, 8, 1],  # 2: above its opposite, 3
            [0, 0, 1, 9],  # 3: the best
        ]
    )
    label = np.array([0, 1, 1, 0, 2, 3])
    result = clip_accuracy(logits, label, [(0, 1), (2, 3)])
    # Of a tie NumPy's argmax takes the first, as the classifier does.
    assert result["top1"] == pytest.approx(100 * 3 / 6)
    assert result["per_pair"] == [50.0, 100.0]
    assert result["pairs"] == pytest.approx(100 * 4 / 6)
    alone = clip_accuracy(logits[:4], label[:4], [(2, 3)])
    assert alone["pairs"] is None and alone["per_pair"] == [None]
    assert clip_accuracy(logits, label, [])["pairs"] is None


@given(seed=st.integers(0, 999))
def test_accuracy_within_pairs_agrees_with_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, label = rng.normal(size=(20, 5)), rng.integers(5, size=20)
    other = {0: 4, 4: 0, 1: 3, 3: 1}
    right = [
        row[code] > row[other[code]] for row, code in zip(logits, label.tolist()) if code in other
    ]
    result = clip_accuracy(logits, label, [(0, 4), (3, 1)])
    assert result["pairs"] == (pytest.approx(100 * np.mean(right)) if right else None)


def test_rows_are_means_over_the_seeds() -> None:
    records = [record("i3d", 0, 80, 70, 20), record("i2d", 0, 60), record("i3d", 1, 90, 80, 30)]
    i3d, i2d = summarize(runs_table(records)).to_dict("records")
    assert (i3d["backbone"], i3d["seeds"], i3d["clips_per_second"]) == ("i3d", 2, 5.5)
    assert i3d["top1"] == confidence_interval([80, 90]) and i3d[
        "reversed_pairs"
    ] == confidence_interval([20, 30])
    assert i2d["top1"] == Interval(60, None, 1) and i2d["pairs"] is i2d["reversed_top1"] is None
    table = summarize(runs_table([*records, record("i3d", 0, 50, streams="flow")]))
    assert table.streams.tolist() == ["rgb", "rgb", "flow"]


def test_differences_are_paired_by_seed() -> None:
    records = [record("i3d", seed, top1) for seed, top1 in ((0, 80), (1, 90), (2, 70))]
    records += [record("i2d", seed, top1) for seed, top1 in ((2, 65), (0, 70), (5, 0))]
    runs = runs_table(records)
    difference = paired_difference(runs, ("i3d", "top1"), ("i2d", "top1"))
    assert difference == confidence_interval([10, 5])
    assert paired_difference(runs, ("i3d", "pairs"), ("i2d", "pairs")) is None
    assert paired_difference(runs, ("s3d", "top1"), ("i2d", "top1")) is None


def test_equal_multiply_adds_by_hand() -> None:
    line = {"i2d": (10, 50), "bottom(3b)": (60, 60), "i3d": (110, 90)}
    above = {"top(3c)": (35, 65), "top(3b)": (85, 80), "far": (200, 0)}
    records = [
        record(name, seed, top1 + seed, cost=cost)
        for name, (cost, top1) in (line | above).items()
        for seed in (0, 1)
    ]
    # The line is at 55 with 35 and at 75 with 85 multiply-adds; it does not reach 200.
    # What a network costs on another input does not matter.
    records.append(record("i3d", 0, 95, cost=500, streams="both"))
    runs = runs_table(records)
    difference = equal_cost_difference(runs, ["i2d", *above, "i3d"], list(line), "top1")
    assert difference == confidence_interval([7.5, 7.5])
    assert equal_cost_difference(runs, list(above), ["i2d"], "top1") is None


def test_findings() -> None:
    records = []
    for seed in (0, 1, 2):
        records += [
            record("i2d", seed, 60 + seed, 50, 60 + seed, cost=10),
            record("i3d", seed, 85 + seed, 90 + seed, 15, cost=110),
            record("s3d", seed, 80 + seed, 88, 20, cost=70),
        ]
    findings = find_differences(runs_table(records))
    assert {each.statement: each.reproduced for each in findings} == {
        "I3D above I2D, pairs": "yes",
        "S3D above I2D, pairs": "yes",
        "I3D's pairs drop on reversed video": "yes",
        "S3D at or above I3D, top-1": "no",
        "I2D's top-1 is the same on reversed video": "yes",
    }
    assert findings[0].difference == confidence_interval([40, 41, 42])
    for difference in (Interval(1.0, 2.0, 3), Interval(1.0, None, 1)):
        assert Finding("any", difference).reproduced == "open"
    # The one that should be 0.
    assert Finding("same", Interval(2.0, 1.0, 3), zero=True).reproduced == "no"
    assert Finding("same", Interval(0.5, 1.0, 3), zero=True).reproduced == "yes"


ROWS = [
    ("i2d", 10, 60), ("i3d", 110, 90), ("s3d", 70, 88), ("s3d-g", 71, 92),
    ("s3d-g(temporal)", 71, 91), ("top-heavy-i3d(Mixed_3c)", 30, 80),
    ("top-heavy-i3d(Mixed_3b)", 60, 85), ("bottom-heavy-i3d(Mixed_3b)", 90, 75),
]  # fmt: skip


@pytest.fixture
def records() -> list[dict[str, Any]]:
    runs = [
        record(name, seed, top1 + seed, top1, 40, cost=cost * 10**6)
        for name, cost, top1 in ROWS
        for seed in (0, 1)
    ]
    return [
        *runs,
        record("s3d", 0, 50, 60, streams="flow"),
        record("s3d", 0, 95, 97, streams="both"),
    ]


def test_report(records: list[dict[str, Any]], tmp_path: Path) -> None:
    page = write_study_report(records, tmp_path, "A <title>").read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in page and page.count("<svg") == 4
    assert "<td>60.5 ± 6.4</td>" in page and "<td>I3D above I2D, pairs</td>" in page
    assert "top-1 accuracy, %" in page and "top-heavy-i3d</text>" in page
    figures = {path.stem for path in tmp_path.glob("*.svg")}
    assert figures == {"cost", "reversed", "gating", "streams"}
    for path in tmp_path.glob("*.svg"):
        ElementTree.parse(path)
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["backbone"] for row in rows] == [*[name for name, *_ in ROWS], "s3d", "s3d"]
    assert rows[0]["top1"] == "60.5000" and float(rows[0]["top1_half"]) == pytest.approx(6.3531)
    assert rows[-1]["reversed_top1"] == rows[-1]["top1_half"] == ""
    result = json.loads((tmp_path / "results.json").read_text())
    assert result["rows"][0]["top1"]["mean"] == 60.5 and result["rows"][-1]["reversed_top1"] is None
    assert result["findings"][0] == {
        "finding": "I3D above I2D, pairs", "mean": 30, "half": 0.0, "n": 2, "found": "yes",
    }  # fmt: skip
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| i2d | rgb | 2 | 0.010 | 0.000 | 5.5 | 60.5 ± 6.4 | 60.0 ± 0.0 |" in table
    # The same numbers give the same files, so that a repository which keeps them stays quiet.
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_study_report(records, tmp_path, "A <title>")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_figures_and_columns_without_runs_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "gating.svg").write_text("of an earlier report")
    write_study_report([record("s3d", 0, 50)], tmp_path, "one run")
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.html", "reversed.svg", "results.csv", "results.json", "results.md"
    }  # fmt: skip
    table = summarize(runs_table([record("s3d", 0, 50)]))
    header = markdown(*results_table(table)).splitlines()[0]
    assert header.endswith("| clips/s | top-1 % |") and "input" not in header


def test_lines_run_from_i2d_to_i3d(records: list[dict[str, Any]], tmp_path: Path) -> None:
    table = summarize(runs_table(records))
    table = table[table.streams == "rgb"]
    line = sweep_line(table, "top-heavy-i3d")
    assert line.backbone.tolist() == [
        "i2d",
        "top-heavy-i3d(Mixed_3c)",
        "top-heavy-i3d(Mixed_3b)",
        "i3d",
    ]
    plot_cost(table, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes()[1:4] == b"PNG"
