"""The study's results as tables, figures and an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ...datasets.storage.files import atomic_write, write_json
from ..visualization.page import Section, Table, write_page
from ..visualization.plots import inline_svg
from .study_plots import SWEEPS, plot_bars, plot_cost, sweep_line
from .study_statistics import (
    MEASURES,
    Interval,
    Record,
    equal_cost_difference,
    paired_difference,
    runs_table,
    summarize,
)

TABLE_FILE = "results.md"
_COLUMNS = {
    "top1": "top-1 %", "pairs": "pairs %", "reversed_top1": "reversed top-1 %",
    "reversed_pairs": "reversed pairs %",
}  # fmt: skip
_RESULTS_TEXT = (
    "Mean and 95 % confidence interval (Student's t) over the seeds. Pairs: of the clips whose "
    "class has an opposite that differs only in the direction of time, the percentage whose true "
    "class scores above the opposite; chance is 50. Reversed: the same clips played backwards, "
    "with the labels of the clips played forwards."
)
_FINDINGS_TEXT = (
    "Differences in points, paired by seed. Yes: the confidence interval is above 0, as the paper "
    "reports; no: below 0; open: it includes 0. At equal multiply-adds: the mean over K of the "
    "accuracy of top-heavy networks minus that of the bottom-heavy line at the same multiply-adds."
)
_FIGURES = {
    "cost": ("Accuracy against multiply-adds", "Top-heavy: 3D convolution from K on; bottom-heavy: "
             "below K only."),
    "reversed": ("Normal and reversed frame order", "Dotted: chance."),
    "gating": ("Placement of the gates", "None, after each temporal convolution, or after all four "
               "branches of each block."),
    "streams": ("RGB, optical flow, and both by late fusion", ""),
}  # fmt: skip
_REVERSED_BACKBONES = ("i2d", "i3d", "s3d", "s3d-g")
_GATE_PLACEMENTS = {"s3d": "none", "s3d-g(temporal)": "temporal", "s3d-g": "branches"}


@dataclass(frozen=True)
class Finding:
    """A statement of the paper, and the difference that shows whether it holds.

    Attributes:
        statement: in words.
        difference: in points.
        zero: whether the difference should be 0; otherwise it should be above 0.
    """

    statement: str
    difference: Interval
    zero: bool = False

    @property
    def reproduced(self) -> str:
        """ "yes", "no" or "open"."""
        half = self.difference.half or 0.0
        low, high = self.difference.mean - half, self.difference.mean + half
        if self.zero:
            return "yes" if low <= 0 <= high else "no"
        if self.difference.half is None or low <= 0 <= high:
            return "open"
        return "yes" if low > 0 else "no"


def write_study_report(records: Sequence[Record], out: Path, title: str) -> Path:
    """Writes results.csv, .md and .json, an .svg for each figure, and index.html with all of it.

    Figures for which networks are missing are left out; those of an earlier report are removed.

    Args:
        records: of `study.read_records`.
        out: the study's folder.
        title: what was studied, in one line.

    Returns:
        The path of the page.
    """
    runs = runs_table(records)
    table = summarize(runs)
    findings = find_differences(runs)
    results = results_table(table)
    rows = [(each.statement, each.difference, each.reproduced) for each in findings]
    statements = ("finding of the paper", "points", "reproduced"), rows
    _write_csv(table, out / "results.csv")
    with atomic_write(out / TABLE_FILE) as temporary:
        text = "\n".join(markdown(*each) for each in (results, statements) if each[1])
        temporary.write_text(text, encoding="utf-8")
    content = {
        "rows": [
            {**row, **{name: row[name] and asdict(row[name]) for name in MEASURES}}
            for row in table.to_dict("records")
        ],
        "findings": [
            {"finding": each.statement, **asdict(each.difference), "found": each.reproduced}
            for each in findings
        ],
    }
    write_json(content, out / "results.json")
    sections = [Section("Results", _RESULTS_TEXT, results)]
    if findings:
        sections.append(Section("The paper's findings", _FINDINGS_TEXT, statements))
    for name in _FIGURES:
        (out / f"{name}.svg").unlink(missing_ok=True)
    _draw_figures(table, out)
    for name, (heading, text) in _FIGURES.items():
        path = out / f"{name}.svg"
        if path.is_file():
            plot = inline_svg(path.read_text(encoding="utf-8"))
            sections.append(Section(heading, text, plot=plot))
    heading = "Speed and accuracy of the networks"
    return write_page(out / "index.html", heading, title, sections, wide=True)


def find_differences(runs: pd.DataFrame) -> list[Finding]:
    """The paper's statements for which there are runs.

    Args:
        runs: of `runs_table`.
    """
    differences = {
        statement: paired_difference(runs, one, other)
        for statement, one, other in (
            ("I3D above I2D, pairs", ("i3d", "pairs"), ("i2d", "pairs")),
            ("S3D above I2D, pairs", ("s3d", "pairs"), ("i2d", "pairs")),
            ("I3D's pairs drop on reversed video", ("i3d", "pairs"), ("i3d", "reversed_pairs")),
            ("S3D at or above I3D, top-1", ("s3d", "top1"), ("i3d", "top1")),
            ("S3D-G at or above S3D, top-1", ("s3d-g", "top1"), ("s3d", "top1")),
        )
    }
    rgb = summarize(runs[runs.streams == "rgb"])
    top, bottom = (sweep_line(rgb, name).backbone.tolist() for name in SWEEPS)
    for measure, name in (("top1", "top-1"), ("pairs", "pairs")):
        statement = f"top-heavy at or above bottom-heavy at equal multiply-adds, {name}"
        differences[statement] = equal_cost_difference(runs, top, bottom, measure)
    found = [Finding(name, value) for name, value in differences.items() if value is not None]
    change = paired_difference(runs, ("i2d", "reversed_top1"), ("i2d", "top1"))
    statement = "I2D's top-1 is the same on reversed video"
    return found if change is None else [*found, Finding(statement, change, zero=True)]


def results_table(table: pd.DataFrame) -> Table:
    """Column names and cells of the results; columns in which nothing was measured are left out."""
    measured = [name for name in MEASURES if table[name].notna().any()]
    cells = pd.DataFrame({
        "network": table.backbone,
        "input": table.streams,
        "seeds": table.seeds,
        "multiply-adds, 10⁹": (table.multiply_adds / 1e9).map("{:.3f}".format),
        "parameters, 10⁶": (table.parameters / 1e6).map("{:.3f}".format),
        "clips/s": table.clips_per_second.map("{:.1f}".format),
        **{_COLUMNS[name]: table[name].map(str) for name in measured},
    }).replace("None", "-")  # fmt: skip
    if table.streams.nunique() == 1:
        del cells["input"]
    return cells.columns.tolist(), cells.to_numpy().tolist()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; all but the first column are aligned to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in (columns, rule, *rows))


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """A line for each row; of each measure the mean and the half width of its interval."""
    flat = table.drop(columns=[*MEASURES])
    for name in MEASURES:
        for column, field in ((name, "mean"), (f"{name}_half", "half")):
            values = [getattr(each, field, None) for each in table[name]]
            flat[column] = ["" if value is None else f"{value:.4f}" for value in values]
    with atomic_write(path) as temporary:
        flat.to_csv(temporary, index=False, lineterminator="\r\n")


def _draw_figures(table: pd.DataFrame, out: Path) -> None:
    """Draws the figures for which the table has enough rows."""
    rgb = table[table.streams == "rgb"]
    if len(rgb) > 1:
        plot_cost(rgb, out / "cost.svg")
    normal = rgb[rgb.backbone.isin(_REVERSED_BACKBONES)]
    normal = normal.assign(group=normal.backbone.str.upper(), series="normal")
    backwards = normal.drop(columns=["top1", "pairs"]).assign(series="reversed")
    backwards.columns = backwards.columns.str.removeprefix("reversed_")
    gates = pd.concat([
        rgb[rgb.backbone == name].assign(group=placement, series="")
        for name, placement in _GATE_PLACEMENTS.items()
    ])  # fmt: skip
    several = table[table.duplicated("backbone", keep=False)]
    bars = {
        "reversed": pd.concat([normal, backwards]),
        "gating": gates if len(gates) > 1 else gates[:0],
        "streams": several.assign(group=several.backbone, series=several.streams),
    }
    for name, rows in bars.items():
        if len(rows):
            plot_bars(rows, out / f"{name}.svg")
