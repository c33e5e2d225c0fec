"""Reports as one HTML page: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...datasets.files import atomic_write

Table = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Heads and rows."""


@dataclass(frozen=True)
class Section:
    """A part of a page; what it has of the following comes in this order.

    Attributes:
        title, text: plain text.
        table: cells are plain text.
        marked: whether the table's second column is set off.
        chart: SVG.
        pictures: examples, and for each what `pictures.picture` returns.
    """

    title: str
    text: str = ""
    table: Table | None = None
    marked: bool = False
    chart: str = ""
    pictures: Sequence[tuple[Any, dict[str, Any]]] = ()


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    tiles: Sequence[tuple[str, str]] = (),
    wide: bool = False,
) -> Path:
    """Writes the page and returns its path; all text is escaped.

    Args:
        path: the file; its folder is made if need be.
        title, subtitle: above all else.
        sections: from the top down.
        tiles: the most important numbers, each with its name.
        wide: for large tables.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("report.html.j2").render(
        title=title, subtitle=subtitle, sections=sections, tiles=tiles, wide=wide
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
