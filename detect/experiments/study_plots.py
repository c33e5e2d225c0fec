"""The study's figures, after the paper's: accuracy against multiply-adds, and bars side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...datasets.files import atomic_write
from ..visualization.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, styled
from .study_statistics import Interval

Row = Mapping[str, Any]
"""Of `study_scores.summarise`."""
LINES = {"top-heavy-i3d": (ORANGE, "o"), "bottom-heavy-i3d": (BLUE, "s")}
_POINTS = (GREEN, PURPLE, RED, SKY)
_AXES = {"top1": "top-1 accuracy, %", "pairs": "opposites told apart, %"}
_PANEL = (5.2, 3.9)  # inches
_TOP = 104  # percent; intervals may reach beyond what there is


def cost_figure(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against multiply-adds: a line for each sweep over K from I2D to I3D, others as
    points, all with their confidence intervals.

    Args:
        rows: of one stream.
        path: its ending, such as .svg or .png, decides the format.
    """

    def draw(axes: Axes, measure: str) -> None:
        known = [row for row in rows if row[measure] is not None]
        base = {row["backbone"]: row for row in known}
        swept = {name: line_of(known, name) for name in LINES}
        for name, (colour, mark) in LINES.items():
            points = swept[name]
            if not any(row["backbone"] not in ("i2d", "i3d") for row in points):
                continue
            _errorbar(axes, points, measure, color=colour, marker=mark, ms=5, ls="-", label=name)
            for row in points:
                if k := re.search(r"\(.*?(\w{2})(_3x3)?\)$", row["backbone"]):
                    above = name.startswith("top")
                    axes.annotate(
                        k[1], (_cost(row), row[measure].mean), fontsize=8,
                        color=colour, textcoords="offset points",
                        xytext=(-4, 6) if above else (4, -11), ha="right" if above else "left",
                    )  # fmt: skip
        drawn = {row["backbone"] for points in swept.values() for row in points}
        others = [row for row in known if row["backbone"] not in drawn]
        for row, colour in zip(others, cycle(_POINTS)):
            _errorbar(axes, [row], measure, color=colour, marker="D", ms=6, label=row["backbone"])
        for name in ("i2d", "i3d"):
            if name in base:
                row = base[name]
                _errorbar(axes, [row], measure, color="black", marker="*", ms=10, zorder=3)
                axes.annotate(
                    name.upper(), (_cost(row), row[measure].mean), xytext=(8, -4),
                    textcoords="offset points",
                )  # fmt: skip
        axes.set_xlabel("multiply-adds of a clip, 10⁹")
        axes.set_ylabel(_AXES[measure])
        axes.set_ylim(top=min(axes.get_ylim()[1], _TOP))
        axes.margins(x=0.12)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")

    _draw(_measures(rows), draw, path)


def bar_figure(groups: Mapping[str, Mapping[str, Row]], path: Path, reverse: bool = False) -> None:
    """Bars side by side, with their confidence intervals; the dotted line is chance.

    Args:
        groups: rows by the name of a group and of a bar in it.
        path: its ending decides the format.
        reverse: two bars for each row: of normal video, and of the same played backwards.
    """
    rows = [row for bars in groups.values() for row in bars.values()]

    def draw(axes: Axes, measure: str) -> None:
        series: dict[str, list[Interval | None]] = {}
        if reverse:
            for name, key in (("normal", measure), ("reversed", f"reversed_{measure}")):
                series[name] = [row[key] for bars in groups.values() for row in bars.values()]
        else:
            for name in dict.fromkeys(name for bars in groups.values() for name in bars):
                mine = [bars.get(name) for bars in groups.values()]
                series[name] = [row[measure] if row else None for row in mine]
        thick = 0.8 / len(series)
        for k, (name, values) in enumerate(series.items()):
            shown = [(i, value) for i, value in enumerate(values) if value is not None]
            place = [i + (k - (len(series) - 1) / 2) * thick for i, _ in shown]
            axes.bar(
                place, [value.mean for _, value in shown], thick * 0.94, label=name,
                yerr=[value.half or 0.0 for _, value in shown], error_kw={"elinewidth": 0.8},
            )  # fmt: skip
            for x, (_, value) in zip(place, shown):
                axes.text(x, 1.5, f"{value.mean:.0f}", ha="center", fontsize=8, color="white")
        axes.set_xticks(range(len(groups)), list(groups))
        axes.set_ylim(0, _TOP)
        axes.set_ylabel(_AXES[measure])
        if measure == "pairs":
            axes.axhline(50, color="black", lw=0.8, ls=":")
        if len(series) > 1:
            axes.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1))

    _draw(_measures(rows), draw, path)


def line_of(rows: Sequence[Row], sweep: str) -> list[Row]:
    """The networks of a sweep by their multiply-adds, between I2D and I3D where they are there."""
    mine = [row for row in rows if row["backbone"].startswith(sweep)]
    ends = [row for row in rows if row["backbone"] in ("i2d", "i3d")]
    return sorted([*mine, *ends], key=lambda row: row["multiply_adds"])


def _measures(rows: Sequence[Row]) -> list[str]:
    """Of `_AXES` those that were measured."""
    return [name for name in _AXES if any(row[name] is not None for row in rows)]


def _cost(row: Row) -> float:
    return row["multiply_adds"] / 1e9


def _errorbar(axes: Axes, rows: Sequence[Row], measure: str, ls: str = "", **look: Any) -> None:
    """A measure against multiply-adds, with the intervals."""
    y = [row[measure].mean for row in rows]
    half = [row[measure].half or 0.0 for row in rows]
    axes.errorbar([_cost(row) for row in rows], y, half, ls=ls, elinewidth=0.8, **look)


@styled
def _draw(measures: Sequence[str], draw: Callable[[Axes, str], None], path: Path) -> None:
    """A panel a measure, side by side; the same file for the same numbers."""
    figure = Figure(figsize=(_PANEL[0] * len(measures), _PANEL[1]))
    for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures):
        axes.grid(axis="y")
        draw(axes, measure)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata=metadata)
