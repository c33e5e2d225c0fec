"""Charts as inline SVG text: bars, stacked bars, lines. No script, no network, sharp in print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

Array = np.ndarray

# Okabe & Ito 2008: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, RED, PURPLE, YELLOW, SKY = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#56b4e9",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
GREY = "#c9ced6"

_LABEL = 190
_ROW = 22


def grouped_bars(rows: Mapping[str, Sequence[float | None]], names: Sequence[str]) -> str:
    """One row a class, one thin bar a series, 0 to 100.

    Args:
        rows: percent of each series, by class; None draws a dash.
        names: of the series, for the legend.
    """
    thick = 9
    step = len(names) * (thick + 1) + 8
    width, plot = 860, 860 - _LABEL - 60
    height = len(rows) * step + 24
    parts = _percent_grid(_LABEL, plot, height - 24)
    for i, (label, values) in enumerate(rows.items()):
        top = i * step + 4
        parts.append(_text(_LABEL - 8, top + step / 2, label, "end", "middle"))
        for k, value in enumerate(values):
            y = top + k * (thick + 1)
            shown = "no ground truth" if value is None else f"{value:.1f}"
            length = plot * (value or 0) / 100
            parts.append(
                f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{thick}" '
                f'fill="{SERIES[k]}"><title>{escape(f"{label} {names[k]} {shown}")}</title></rect>'
            )
            parts.append(
                _text(_LABEL + length + 4, y + thick / 2, shown, "start", "middle", "small")
            )
    return legend(names) + _svg(width, height, parts)


def stacked_bars(rows: Mapping[str, Mapping[str, float | None]], colours: Mapping[str, str]) -> str:
    """One row a class, its parts side by side, together 100.

    Args:
        rows: percent of each kind, by class.
        colours: by kind, in the order drawn.
    """
    width, plot = 860, 860 - _LABEL - 30
    height = len(rows) * _ROW + 24
    parts = _percent_grid(_LABEL, plot, height - 24)
    for i, (label, shares) in enumerate(rows.items()):
        x = float(_LABEL)
        parts.append(_text(_LABEL - 8, i * _ROW + _ROW / 2, label, "end", "middle"))
        for kind, colour in colours.items():
            value = shares[kind] or 0.0
            length = plot * value / 100
            parts.append(
                f'<rect x="{x:.1f}" y="{i * _ROW + 3}" width="{length:.1f}" height="{_ROW - 6}" '
                f'fill="{colour}"><title>{escape(label)}: {escape(kind)} {value:.1f}</title></rect>'
            )
            x += length
    return legend(list(colours), list(colours.values())) + _svg(width, height, parts)


def lines(
    series: Mapping[str, tuple[Array, Array]],
    across: str,
    up: str,
    size: tuple[int, int] = (420, 300),
    marks: bool = True,
) -> str:
    """Lines over 0 to 1 across and 0 to 100 up.

    Args:
        series: x (in 0 to 1) and y (in percent) by name.
        across, up: what the axes are.
        size: of the picture.
        marks: a dot at each point.
    """
    width, height = size
    left, bottom, top = 46, 40, 10
    plot, tall = width - left - 12, height - bottom - top
    parts = []
    for percent in range(0, 101, 20):
        level = top + tall * (1 - percent / 100)
        place = left + plot * percent / 100
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + plot}" y1="{level}" y2="{level}"/>'
        )
        parts.append(_text(left - 6, level, str(percent), "end", "middle", "small"))
        parts.append(
            _text(place, height - bottom + 14, f"{percent / 100:g}", "middle", "auto", "small")
        )
    parts.append(_text(left + plot / 2, height - 6, across, "middle"))
    parts.append(
        f'<text x="12" y="{top + tall / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {top + tall / 2})">{escape(up)}</text>'
    )
    for colour, (name, (x, y)) in zip(SERIES, series.items()):
        points = list(zip(left + plot * np.asarray(x), top + tall * (1 - np.asarray(y) / 100)))
        parts.append(_line(points, colour, name))
        if marks:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{colour}"/>' for a, b in points
            ]
    return legend(list(series)) + _svg(width, height, parts)


def recall_panel(title: str, curves: Mapping[str, tuple[Array, Array]]) -> str:
    """A small precision-recall chart.

    Args:
        title: the class.
        curves: precision and recall by series; colours follow the order.
    """
    size, margin = 150, 6
    plot = size - 2 * margin
    parts = [
        f'<rect class="frame" x="{margin}" y="{margin}" width="{plot}" height="{plot}"/>',
        f'<line class="grid" x1="{margin}" x2="{size - margin}" y1="{size / 2}" y2="{size / 2}"/>',
        f'<line class="grid" x1="{size / 2}" x2="{size / 2}" y1="{margin}" y2="{size - margin}"/>',
    ]
    for colour, (name, (precision, recall)) in zip(SERIES, curves.items()):
        chosen = thinned(recall, 120)
        x = margin + plot * np.concatenate([[0.0], recall[chosen]])
        y = margin + plot * (1 - np.concatenate([[1.0], precision[chosen]]))
        parts.append(_line(list(zip(x, y)), colour, f"{title} {name}"))
    caption = f"<figcaption>{escape(title)}</figcaption>"
    return f'<figure class="panel">{caption}{_svg(size, size, parts)}</figure>'


def thinned(recall: Array, points: int) -> Array:
    """Indices of at most about `points` points of a curve, spread evenly along its recall."""
    if len(recall) <= points:
        return np.arange(len(recall))
    wanted = np.linspace(0, recall[-1], points)
    return np.unique([*np.searchsorted(recall, wanted).clip(0, len(recall) - 1), len(recall) - 1])


def legend(names: Sequence[str], colours: Sequence[str] = SERIES) -> str:
    """A line of names with their colours."""
    keys = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(names, colours)
    )
    return f'<div class="legend">{keys}</div>'


def _percent_grid(left: float, plot: float, height: float) -> list[str]:
    parts = []
    for percent in range(0, 101, 20):
        x = left + plot * percent / 100
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
        parts.append(_text(x, height + 16, str(percent), "middle", "auto", "small"))
    return parts


def _line(points: list[tuple[float, float]], colour: str, name: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round" '
        f'points="{path}"><title>{escape(name)}</title></polyline>'
    )


def _text(x: float, y: float, text: str, anchor: str, baseline: str = "auto", css: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="{baseline}" '
        f'class="{css}">{escape(text)}</text>'
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        + "".join(parts)
        + "</svg>"
    )
