"""Charts as SVG for a page: curves, grouped bars, stacked bars. Their style is the study's too."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from textwrap import fill

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
GREY = "#c9ced6"

Curve = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]
"""x and y."""

# The same numbers give the same file: no date, no random ids. Text stays text.
styled = matplotlib.rc_context({
    "svg.fonttype": "none", "svg.hashsalt": "actiontubes", "text.parse_math": False,
    "font.size": 9, "legend.fontsize": 8, "legend.frameon": False, "axes.titlesize": 9,
    "axes.prop_cycle": cycler(color=SERIES), "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#8b93a1", "axes.axisbelow": True, "grid.color": "#e3e7ee",
    "lines.linewidth": 1.6, "errorbar.capsize": 2.5, "figure.constrained_layout.use": True,
})  # fmt: skip
"""Decorates functions that draw or save figures."""

_WIDTH = 9.2  # inches, as wide as a page's section


@styled
def plot_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    across: str,
    up: str,
    *,
    columns: int = 2,
    x_max: float = 1,
    marker: str = "",
) -> str:
    """Curves up to 100 %, in panels side by side.

    Args:
        panels: curves by their name, by the panel's title.
        across, up: what the axes show.
        columns: panels in a row.
        x_max: the end of the horizontal axis.
        marker: at each point.
    """
    rows = -(-len(panels) // columns)
    figure = Figure((_WIDTH, rows * (_WIDTH / columns * 0.8 + 0.2) + 0.5))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    colours = dict(zip(names, cycle(SERIES)))
    for axes, (title, curves) in zip(grid, panels.items()):
        axes.set_title(fill(title, 120 // columns))
        axes.grid()
        for name, (x, y) in curves.items():
            axes.plot(x, y, color=colours[name], label=name, marker=marker, ms=3)
        axes.set(xlim=(0, x_max), ylim=(0, 103))
    for axes in grid[max(len(panels) - columns, 0) : len(panels)]:
        axes.tick_params(labelbottom=True)
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(up, fontsize=9)
    return _with_legend(figure, grid[: len(panels)])


@styled
def plot_grouped_bars(
    rows: Mapping[str, Sequence[float | None]], names: Sequence[str], across: str
) -> str:
    """A group of bars a row, one a series, with their values.

    Args:
        rows: percent of each series, by class; None says that there is no ground truth.
        names: of the series.
        across: what the bars show.
    """
    figure, axes, places = _percent_axes([*rows], 0.14 * len(names) + 0.1, across)
    thick = 0.84 / len(names)
    for k, (name, values) in enumerate(zip(names, zip(*rows.values()))):
        bars = axes.barh(
            places + (k - (len(names) - 1) / 2) * thick, [value or 0 for value in values],
            thick * 0.92, label=name,
        )  # fmt: skip
        shown = ["no ground truth" if value is None else f"{value:.1f}" for value in values]
        axes.bar_label(bars, shown, padding=3, fontsize=7)
    return _with_legend(figure, [axes])


@styled
def plot_stacked_bars(
    rows: Mapping[str, Mapping[str, float | None]], colours: Mapping[str, str], across: str
) -> str:
    """A bar a row, its parts end to end; those with room for it have their value.

    Args:
        rows: percent of each kind, by class; together 100.
        colours: by kind, in the order drawn.
        across: what the bars show.
    """
    figure, axes, places = _percent_axes([*rows], 0.22, across)
    left = np.zeros(len(rows))
    for kind, colour in colours.items():
        values = np.array([shares[kind] or 0 for shares in rows.values()])
        bars = axes.barh(places, values, 0.74, left, color=colour, label=kind)
        ink = "black" if colour in (GREY, ORANGE, SKY) else "white"
        shown = [f"{value:.1f}" if value >= 5 else "" for value in values]
        axes.bar_label(bars, shown, label_type="center", fontsize=7, color=ink)
        left += values
    return _with_legend(figure, [axes])


def inline_svg(text: str) -> str:
    """The drawing of an SVG file, for a page: no namespaces, no metadata, no ids of groups."""
    spare = r'<metadata>.*?</metadata>| xmlns(:\w+)?="[^"]*"|(?<=<g) id="[^"]*"'
    return re.sub(spare, "", text[text.index("<svg") :], flags=re.DOTALL)


def _percent_axes(
    labels: Sequence[str], height: float, across: str
) -> tuple[Figure, Axes, np.ndarray]:
    """A figure with axes for horizontal bars, from the top down, and the places of their rows."""
    figure = Figure((_WIDTH, len(labels) * height + 0.8))
    axes = figure.subplots()
    places = np.arange(len(labels))
    axes.set_yticks(places, labels)
    axes.set_xticks(range(0, 101, 20))
    axes.set(xlim=(0, 104), ylim=(len(labels) - 0.5, -0.5), xlabel=across)
    axes.tick_params("y", length=0)
    axes.grid(axis="x")
    return figure, axes, places


def _with_legend(figure: Figure, panels: Iterable[Axes]) -> str:
    keys = {
        name: handle
        for axes in panels
        for handle, name in zip(*axes.get_legend_handles_labels())
    }  # fmt: skip
    figure.legend(keys.values(), keys, loc="outside upper left", ncols=len(SERIES))
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return inline_svg(file.getvalue())
