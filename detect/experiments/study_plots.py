"""Figures of the study, after the paper's: accuracy against multiply-adds, and grouped bars."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...datasets.storage.files import atomic_write
from ..visualization.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, plot_style

SWEEPS = {"top-heavy-i3d": (ORANGE, "o"), "bottom-heavy-i3d": (BLUE, "s")}
"""Networks that are swept over K, with the color and marker of their line."""
_ENDS = ("i2d", "i3d")
_COLORS = (GREEN, PURPLE, RED, SKY)
_Y_LABELS = {"top1": "top-1 accuracy, %", "pairs": "pair accuracy, %"}
_PANEL = (5.2, 3.9)  # inches
_Y_MAX = 104  # percent; confidence intervals may exceed 100


def plot_cost(table: pd.DataFrame, path: Path) -> None:
    """Accuracy against multiply-adds with confidence intervals.

    A line from I2D to I3D for each sweep over K; other networks are single points.

    Args:
        table: of `summarize`, rows of one input only.
        path: its extension, such as .svg or .png, is the format.
    """

    def draw(axes: Axes, measure: str) -> None:
        known = table[table[measure].notna()]
        for name, (color, marker) in SWEEPS.items():
            line = sweep_line(known, name)
            if line.backbone.isin(_ENDS).all():
                continue
            _plot_intervals(
                axes, line, measure, color=color, marker=marker, ms=5, ls="-", label=name
            )
            above = name.startswith("top")
            for backbone, x, y in zip(line.backbone, line.multiply_adds / 1e9, line[measure]):
                if k := re.search(r"\(.*?(\w{2})(_3x3)?\)$", backbone):
                    axes.annotate(
                        k[1], (x, y.mean), fontsize=8, color=color, textcoords="offset points",
                        xytext=(-4, 6) if above else (4, -11), ha="right" if above else "left",
                    )  # fmt: skip
        others = known[~known.backbone.str.startswith((*SWEEPS, *_ENDS))]
        for backbone, color in zip(others.backbone, cycle(_COLORS)):
            row = others[others.backbone == backbone]
            _plot_intervals(axes, row, measure, color=color, marker="D", ms=6, label=backbone)
        ends = known[known.backbone.isin(_ENDS)]
        _plot_intervals(axes, ends, measure, color="black", marker="*", ms=10, zorder=3)
        for backbone, x, y in zip(ends.backbone, ends.multiply_adds / 1e9, ends[measure]):
            axes.annotate(backbone.upper(), (x, y.mean), xytext=(8, -4), textcoords="offset points")
        axes.set(xlabel="multiply-adds of a clip, 10⁹", ylabel=_Y_LABELS[measure])
        axes.set_ylim(top=min(axes.get_ylim()[1], _Y_MAX))
        axes.margins(x=0.12)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")

    _draw_panels(table, draw, path)


def plot_bars(bars: pd.DataFrame, path: Path) -> None:
    """Groups of bars with their confidence intervals; the dotted line is chance.

    Args:
        bars: a row for each bar: its group, its name (series) and its measures.
        path: its extension is the format.
    """

    def draw(axes: Axes, measure: str) -> None:
        groups, series = bars.group.unique(), bars.series.unique()
        cells = bars.pivot(index="group", columns="series", values=measure).reindex(groups)
        width = 0.8 / len(series)
        for k, name in enumerate(series):
            shown = cells[name].notna()
            x = np.flatnonzero(shown) + (k - (len(series) - 1) / 2) * width
            means = [value.mean for value in cells[name][shown]]
            axes.bar(
                x, means, width * 0.94, label=name, error_kw={"elinewidth": 0.8},
                yerr=[value.half or 0 for value in cells[name][shown]],
            )  # fmt: skip
            for position, mean in zip(x, means):
                axes.text(position, 1.5, f"{mean:.0f}", ha="center", fontsize=8, color="white")
        axes.set_xticks(range(len(groups)), groups)
        axes.set(ylim=(0, _Y_MAX), ylabel=_Y_LABELS[measure])
        if measure == "pairs":
            axes.axhline(50, color="black", lw=0.8, ls=":")
        if len(series) > 1:
            axes.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1))

    _draw_panels(bars, draw, path)


def sweep_line(table: pd.DataFrame, sweep: str) -> pd.DataFrame:
    """The rows of a sweep's networks, I2D and I3D, sorted by their multiply-adds."""
    rows = table.backbone.str.startswith(sweep) | table.backbone.isin(_ENDS)
    return table[rows].sort_values("multiply_adds", kind="stable")


def _plot_intervals(
    axes: Axes, rows: pd.DataFrame, measure: str, ls: str = "", **style: Any
) -> None:
    means = [value.mean for value in rows[measure]]
    halfs = [value.half or 0 for value in rows[measure]]
    axes.errorbar(rows.multiply_adds / 1e9, means, halfs, ls=ls, elinewidth=0.8, **style)


@plot_style
def _draw_panels(table: pd.DataFrame, draw: Callable[[Axes, str], None], path: Path) -> None:
    """A panel for each measure that the table has, side by side; equal numbers, equal files."""
    measures = [name for name in _Y_LABELS if table[name].notna().any()]
    figure = Figure(figsize=(_PANEL[0] * len(measures), _PANEL[1]))
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures):
        axes.grid(axis="y")
        draw(axes, measure)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata=metadata)
