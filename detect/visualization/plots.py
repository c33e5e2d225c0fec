"""Plots as SVG for an HTML page: curves, grouped bars, stacked bars, small curves by class."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from .frame import PALETTE

ORANGE, SKY, GREEN, YELLOW, PURPLE, RED, BLUE = (
    to_hex((r / 255, g / 255, b / 255)) for r, g, b in PALETTE
)
GRAY = "#c9ced6"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)

# The same numbers give the same file: no date, no random ids. Text stays text.
plot_style = matplotlib.rc_context({
    "svg.fonttype": "none", "svg.hashsalt": "actiontubes", "text.parse_math": False,
    "font.size": 9, "legend.fontsize": 8, "legend.frameon": False, "axes.titlesize": 9,
    "axes.prop_cycle": cycler(color=SERIES), "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#8b93a1", "axes.axisbelow": True, "grid.color": "#e3e7ee",
    "lines.linewidth": 1.6, "errorbar.capsize": 2.5, "figure.constrained_layout.use": True,
    "font.sans-serif": ["DejaVu Sans"], "path.simplify_threshold": 0.5,
})  # fmt: skip
"""Decorates functions that draw or save figures."""

_WIDTH = 9.2  # inches, the width of a section of the page
_CELL_WIDTH, _CELL_HEIGHT = 118, 150  # of a small plot with its margins; the plot is 100 by 100
_THINNED = 0.5  # percent; shorter steps of a small curve cannot be seen


@plot_style
def plot_curves(panels: Mapping[str, Mapping[str, np.ndarray]], x_label: str, y_label: str) -> str:
    """Curves over 0 to 1, up to 100 %, in panels side by side.

    Lines and markers become smaller from curve to curve, so that equal curves all stay visible.

    Args:
        panels: title to curves by name, each (2, N) x and y.
        x_label, y_label: what the axes show.
    """
    figure = Figure((_WIDTH, 4.4))
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    styles = dict(zip(names, zip(cycle(SERIES), cycle("osD^"), range(len(names), 0, -1))))
    first_panel: dict[str, str] = {}
    for axes, (title, curves) in zip(all_axes, panels.items()):
        axes.set(title=title, xlim=(0, 1), ylim=(0, 103))
        axes.grid()
        for name, (x, y) in curves.items():
            color, marker, size = styles[name]
            # Each name is in the legend once.
            label = name if first_panel.setdefault(name, title) == title else None
            axes.plot(x, y, color=color, marker=marker, ms=2 * size + 1, lw=0.8 * size, label=label)
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel(y_label, fontsize=9)
    return _svg_with_legend(figure)


@plot_style
def plot_small_curves(
    panels: Mapping[str, Mapping[str, np.ndarray]], x_label: str, y_label: str, columns: int = 6
) -> str:
    """A small plot for each panel, in rows; x and y are percentages.

    All are drawn into one pair of axes: much cheaper than a pair for each.

    Args:
        panels: title to curves by name, each (2, N) x and y.
        x_label, y_label: what the axes show.
        columns: plots in a row.
    """
    rows = -(-len(panels) // columns)
    figure = Figure((_WIDTH, 1.4 * rows + 0.6))
    axes = figure.subplots()
    frames, segments = [], defaultdict(list)
    for k, (title, curves) in enumerate(panels.items()):
        x, y = k % columns * _CELL_WIDTH, -(k // columns) * _CELL_HEIGHT
        frames.append([(x, y + 100), (x, y), (x + 100, y)])
        axes.text(x + 50, y + 106, fill(title, 20), ha="center", fontsize=8)
        for name, curve in curves.items():
            points = np.transpose(curve)
            moved = np.diff(np.round(points / _THINNED), axis=0).any(axis=1)
            segments[name].append((x, y) + points[np.append(True, moved)])
    axes.add_collection(LineCollection(frames, colors="#8b93a1", linewidths=0.8))
    for (name, lines), color in zip(segments.items(), SERIES):
        axes.add_collection(LineCollection(lines, colors=color, linewidths=1.4, label=name))
    left = _CELL_WIDTH * np.arange(min(columns, len(panels)))
    bottom = -_CELL_HEIGHT * np.arange(rows)
    axes.set_xticks([*left, *left + 100], ["0"] * len(left) + ["100"] * len(left))
    axes.set_yticks([*bottom, *bottom + 100], ["0"] * rows + ["100"] * rows)
    axes.set(xlim=(-4, columns * _CELL_WIDTH), ylim=(bottom[-1] - 4, 130))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _svg_with_legend(figure)


@plot_style
def plot_grouped_bars(
    rows: Mapping[str, Sequence[float | None]], names: Sequence[str], x_label: str
) -> str:
    """A group of bars for each row, one bar for each series, with their values.

    Args:
        rows: row label to the percentage of each series; None where there is no ground truth.
        names: of the series.
        x_label: what the bars show.
    """
    figure, axes, positions = _percent_axes(list(rows), 0.14 * len(names) + 0.1, x_label)
    thickness = 0.84 / len(names)
    for k, (name, values) in enumerate(zip(names, zip(*rows.values()))):
        bars = axes.barh(
            positions + (k - (len(names) - 1) / 2) * thickness, [value or 0 for value in values],
            thickness * 0.92, label=name,
        )  # fmt: skip
        texts = ["no ground truth" if value is None else f"{value:.1f}" for value in values]
        axes.bar_label(bars, texts, padding=3, fontsize=7)
    return _svg_with_legend(figure)


@plot_style
def plot_stacked_bars(
    rows: Mapping[str, Mapping[str, float | None]], colors: Mapping[str, str], x_label: str
) -> str:
    """A bar for each row, its parts end to end; parts that are wide enough show their value.

    Args:
        rows: row label to the percentage of each kind; together 100.
        colors: by kind, in the order drawn.
        x_label: what the bars show.
    """
    figure, axes, positions = _percent_axes(list(rows), 0.22, x_label)
    left = np.zeros(len(rows))
    for kind, color in colors.items():
        values = np.array([shares[kind] or 0 for shares in rows.values()])
        bars = axes.barh(positions, values, 0.74, left, color=color, label=kind)
        text_color = "black" if color in (GRAY, ORANGE, SKY) else "white"
        texts = [f"{value:.1f}" if value >= 5 else "" for value in values]
        axes.bar_label(bars, texts, label_type="center", fontsize=7, color=text_color)
        left += values
    return _svg_with_legend(figure)


@plot_style
def plot_matrix(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """A table of counts, each cell colored by its share of its row.

    Args:
        counts: (R, C).
        rows, columns: their names.
    """
    figure = Figure((_WIDTH, 0.24 * len(rows) + 1.6))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="#e3e7ee", linewidth=0.4)
    size = 7 if len(columns) <= 16 else 5.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column + 0.5, row + 0.5, f"{count}", ha="center", va="center",
                      color=color, fontsize=size)  # fmt: skip
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90)
    axes.set(xlabel="detected as", ylabel="ground truth", ylim=(len(rows), 0))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _svg(figure)


def inline_svg(text: str) -> str:
    """The `svg` element of an SVG file, without what an HTML page does not need.

    Drops namespaces, metadata, ids of groups, spaces between tags, and all but the first decimal
    of coordinates.
    """
    removed = (
        r'<metadata>.*?</metadata>| xmlns(:\w+)?="[^"]*"|(?<=<g) id="[^"]*"|(?<=>)\s+(?=<)'
        r"|(?<=\d\.\d)\d+(?=[^<>]*>)"
    )
    return re.sub(removed, "", text[text.index("<svg") :], flags=re.DOTALL)


def _percent_axes(
    labels: Sequence[str], row_height: float, x_label: str
) -> tuple[Figure, Axes, np.ndarray]:
    """A figure with axes for horizontal bars, top row first, and the rows' positions."""
    figure = Figure((_WIDTH, len(labels) * row_height + 0.8))
    axes = figure.subplots()
    positions = np.arange(len(labels))
    axes.set_yticks(positions, labels)
    axes.set_xticks(range(0, 101, 20))
    axes.set(xlim=(0, 104), ylim=(len(labels) - 0.5, -0.5), xlabel=x_label)
    axes.tick_params("y", length=0)
    axes.grid(axis="x")
    return figure, axes, positions


def _svg_with_legend(figure: Figure) -> str:
    figure.legend(loc="outside upper left", ncols=len(SERIES))
    return _svg(figure)


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return inline_svg(file.getvalue())
