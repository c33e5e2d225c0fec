"""The study's results as tables, figures and one page."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...datasets.files import atomic_write, write_json
from ..visualization.page import Section, Table, write_page
from ..visualization.plots import inline_svg
from .study_plots import LINES, bar_figure, cost_figure, line_of
from .study_statistics import (
    MEASURES,
    Interval,
    Record,
    equal_cost_difference,
    paired_difference,
    summarise,
)

TABLE, PAGE, ALL = "results.md", "index.html", "results.json"
_HEADS = {
    "top1": "top-1 %", "pairs": "pairs %", "reversed_top1": "reversed top-1 %",
    "reversed_pairs": "reversed pairs %",
}  # fmt: skip
_TURNED = ("i2d", "i3d", "s3d", "s3d-g")
_PLACEMENTS = {"none": "s3d", "temporal": "s3d-g(temporal)", "branches": "s3d-g"}
_EXPLAINED = (
    "Mean and 95 % confidence interval (Student's t) over the seeds. Pairs: of the clips of "
    "classes that only the direction of time tells apart, those whose true class scores above its "
    "opposite; chance is 50. Reversed: the same clips played backwards, with the labels that they "
    "have when played forwards."
)
_FIGURES = {
    "cost": ("Accuracy against multiply-adds", "Top-heavy: 3D convolution from K on; bottom-heavy: "
             "below K alone."),
    "reversed": ("Normal and reversed frame order", "Dotted: chance."),
    "gating": ("Where the gates stand", "None, after each convolution over time, or after all four "
               "branches of each block."),
    "streams": ("RGB, optical flow, and both by late fusion", ""),
}  # fmt: skip


def write_report(records: Sequence[Record], out: Path, title: str) -> Path:
    """Writes results.csv, .md and .json, a .svg a figure, and index.html with all of it.

    Figures for which the runs lack networks are left out, and taken away where an earlier report
    has left them.

    Args:
        records: of `study.read_records`.
        title: what was studied, in a line.

    Returns:
        the page's path.
    """
    rows = summarise(records)
    found = findings(records)
    table, stated = _cells(rows), _finding_cells(found)
    _write_csv(rows, out / "results.csv")
    with atomic_write(out / TABLE) as temporary:
        text = "\n".join(_pipes(*each) for each in (table, stated) if each[1])
        temporary.write_text(text, encoding="utf-8")
    write_json(
        {
            "rows": [
                row | {name: row[name] and asdict(row[name]) for name in MEASURES} for row in rows
            ],
            "findings": [
                {"finding": name, **asdict(value), "found": verdict(name, value)}
                for name, value in found.items()
            ],
        },
        out / ALL,
    )
    sections = [Section("Results", _EXPLAINED, table)]
    if found:
        sections.append(Section("The paper's findings", _FOUND, stated))
    drawn = _draw(rows, out)
    for name, (head, below) in _FIGURES.items():
        path = out / f"{name}.svg"
        if name in drawn:
            chart = inline_svg(path.read_text(encoding="utf-8"))
            sections.append(Section(head, below, chart=chart))
        else:
            path.unlink(missing_ok=True)
    return write_page(out / PAGE, "Speed and accuracy of the family", title, sections, wide=True)


_FOUND = (
    "Differences in points, paired by seed. Yes: the interval lies above 0, as the paper has it; "
    "no: below; open: it holds 0. Of equal multiply-adds: the mean over K of top-heavy's accuracy "
    "less that of the bottom-heavy line at the same multiply-adds."
)


def findings(records: Sequence[Record]) -> dict[str, Interval]:
    """The paper's statements as differences that should be above 0, by their wording; those for
    which there are runs."""

    def against(one: str, other: str, measure: str) -> Interval | None:
        return paired_difference(records, (one, measure), (other, measure))

    def turned(backbone: str) -> Interval | None:
        return paired_difference(records, (backbone, "pairs"), (backbone, "reversed_pairs"))

    rows = [row for row in summarise(records) if row["streams"] == "rgb"]
    top, bottom = ([row["backbone"] for row in line_of(rows, name)] for name in LINES)
    stated = {
        "I3D above I2D, pairs": against("i3d", "i2d", "pairs"),
        "S3D above I2D, pairs": against("s3d", "i2d", "pairs"),
        "I3D's pairs fall on reversed video, by": turned("i3d"),
        "S3D at or above I3D, top-1": against("s3d", "i3d", "top1"),
        "S3D-G at or above S3D, top-1": against("s3d-g", "s3d", "top1"),
    }
    for measure in ("top1", "pairs"):
        name = f"top-heavy at or above bottom-heavy at equal multiply-adds, {_HEADS[measure]}"
        stated[name.removesuffix(" %")] = equal_cost_difference(records, top, bottom, measure)
    change = paired_difference(records, ("i2d", "reversed_top1"), ("i2d", "top1"))
    found = {name: value for name, value in stated.items() if value is not None}
    return found if change is None else found | {_SAME: change}


_SAME = "I2D the same on reversed video, top-1 changes by"


def verdict(name: str, value: Interval) -> str:
    """ "yes", "no" or "open"; of the one that should be 0, by whether it is."""
    low, high = value.mean - (value.half or 0), value.mean + (value.half or 0)
    if name == _SAME:
        return "yes" if low <= 0 <= high else "no"
    if value.half is None:
        return "open"
    return "yes" if low > 0 else "no" if high < 0 else "open"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    return _pipes(*_cells(rows))


def _pipes(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in (heads, rule, *lines))


def _finding_cells(found: Mapping[str, Interval]) -> Table:
    lines = [[name, str(value), verdict(name, value)] for name, value in found.items()]
    return ["the paper's finding", "points", "found"], lines


def _cells(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Heads and cells; columns in which nothing was measured are left out."""
    several = len({row["streams"] for row in rows}) > 1
    shown = [name for name in MEASURES if any(row[name] is not None for row in rows)]
    heads = ["network", *["input"] * several, "seeds", "multiply-adds, 10⁹", "parameters, 10⁶",
             "clips/s", *(_HEADS[name] for name in shown)]  # fmt: skip
    lines = []
    for row in rows:
        line = [row["backbone"], *[row["streams"]] * several, str(row["seeds"])]
        line += [f"{row['multiply_adds'] / 1e9:.3f}", f"{row['parameters'] / 1e6:.3f}"]
        line += [f"{row['clips_per_second']:.1f}"]
        lines.append(line + ["-" if row[name] is None else str(row[name]) for name in shown])
    return heads, lines


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One line a row; of each measure the mean and the half width of its interval."""
    flat = []
    for row in rows:
        line = {name: value for name, value in row.items() if name not in MEASURES}
        for name in MEASURES:
            value = row[name]
            line[name] = value and f"{value.mean:.4f}"
            line[f"{name}_half"] = value and value.half and f"{value.half:.4f}"
        flat.append(line)
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def _draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[str]:
    """Draws the figures that the rows are enough for, and returns their names."""
    rgb = {row["backbone"]: row for row in rows if row["streams"] == "rgb"}
    by_network: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_network.setdefault(row["backbone"], {})[row["streams"]] = row
    placed = {where: {"": rgb[name]} for where, name in _PLACEMENTS.items() if name in rgb}
    bars = {
        "reversed": {name.upper(): {"": rgb[name]} for name in _TURNED if name in rgb},
        "gating": placed if len(placed) > 1 else {},
        "streams": {name: mine for name, mine in by_network.items() if len(mine) > 1},
    }
    drawn = [name for name, groups in bars.items() if groups]
    for name in drawn:
        bar_figure(bars[name], out / f"{name}.svg", reverse=name == "reversed")
    if len(rgb) > 1:
        cost_figure(list(rgb.values()), out / "cost.svg")
        drawn.append("cost")
    return drawn
