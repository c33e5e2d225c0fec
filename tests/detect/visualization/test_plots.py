"""Plots: what their SVG shows, and that any name can be shown."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
from actiontubes.detect.visualization.page import Section, write_page
from actiontubes.detect.visualization.plots import (
    BLUE,
    GREEN,
    ORANGE,
    plot_curves,
    plot_grouped_bars,
    plot_small_curves,
    plot_stacked_bars,
)


def drawn_text(svg: str) -> list[str]:
    """The text elements of an SVG."""
    return [unescape(each.strip()) for each in re.findall(r"<text[^>]*>(.*?)</text>", svg, re.S)]


UNSAFE = "<b>&\"' $x_1$"


def test_names_are_escaped(tmp_path: Path) -> None:
    for svg in (
        plot_grouped_bars({UNSAFE: [50.0, None]}, ["frame", "video"], "AP, %"),
        plot_stacked_bars({UNSAFE: {"ap": 50.0}}, {"ap": BLUE}, "share, %"),
        plot_curves({UNSAFE: {UNSAFE: ([0.0, 1.0], [100.0, 0.0])}}, UNSAFE, "mAP, %"),
        plot_small_curves({UNSAFE: {UNSAFE: ([0.0, 100.0], [100.0, 0.0])}}, UNSAFE, "y"),
    ):
        assert "<b>" not in svg and UNSAFE in drawn_text(svg)
    section = Section(UNSAFE, UNSAFE, ([UNSAFE], [[UNSAFE]]))
    path = write_page(tmp_path / "page.html", UNSAFE, UNSAFE, [section], tiles=[(UNSAFE, UNSAFE)])
    text = path.read_text(encoding="utf-8")
    assert text.count("<b>") == 1 and unescape(text).count(UNSAFE) == 9


def test_bars_without_ground_truth_say_so() -> None:
    svg = plot_grouped_bars({"run": [12.34, None], "jump": [0.0, 100.0]}, ["a", "b"], "AP, %")
    texts = drawn_text(svg)
    assert {"run", "jump", "a", "b", "AP, %", "12.3", "no ground truth", "0.0"} <= set(texts)


def test_plots_are_the_same_each_time() -> None:
    curves = {"one": {"act": ([0.1, 0.5], [50.0, 20.0])}, "two": {"road": ([0.3], [90.0])}}
    svg = plot_curves(curves, "IoU threshold", "mAP, %")
    assert svg == plot_curves(curves, "IoU threshold", "mAP, %")
    assert {"one", "two", "act", "road", "IoU threshold", "mAP, %"} <= set(drawn_text(svg))
    assert BLUE in svg and ORANGE in svg and GREEN not in svg


def test_equal_curves_are_all_visible() -> None:
    """The first is drawn widest: the lines and markers of later ones do not cover it."""
    curve = ([0.1, 0.5], [50.0, 20.0])
    svg = plot_curves({"mAP": dict.fromkeys(("act", "road", "yowo"), curve)}, "IoU", "mAP, %")
    widths = [
        float(re.search(rf"stroke: {color}; stroke-width: ([\d.]+)", svg)[1])
        for color in (BLUE, ORANGE, GREEN)
    ]
    assert widths == sorted(set(widths), reverse=True)


def test_small_curves_keep_their_shape_with_fewer_points() -> None:
    """20,000 detections, of which a curve 100 pixels wide shows a few hundred at most."""
    recall = np.linspace(0, 80, 20_000)
    curve = (recall, 100 - recall**2 / 100)
    svg = plot_small_curves(
        {f"class {k}": {"frame": curve} for k in range(7)}, "recall", "precision"
    )
    paths = re.findall(rf'd="([^"]*)"[^>]*stroke: {BLUE}', svg)
    lines = [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float) for path in paths[:7]]
    assert len(lines) == 7 and all(10 < len(line) < 200 for line in lines)
    for line in lines:
        x, y = (line - line[0]).T
        # From (0, 100) to (80, 36): right by as much as a recall of 80 is, and down by 64.
        unit = x[-1] / 80
        np.testing.assert_allclose(y, (x / unit) ** 2 / 100 * (y[-1] / 64), atol=0.03 * y[-1])
    # The seventh begins the second row.
    assert lines[6][0, 0] == lines[0][0, 0] and lines[6][0, 1] > lines[0][0, 1]
