"""Reports as one HTML page that needs no script and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...datasets.storage.files import atomic_write

Table = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Column names and rows."""


@dataclass(frozen=True)
class Section:
    """A section of a page; its parts come in this order.

    Attributes:
        title, text: plain text.
        table: cells are plain text.
        highlight: set off the second column of the table.
        plot: SVG.
        images: of `report_examples.draw_example`.
        timelines: of `report_sections.draw_timeline`.
    """

    title: str
    text: str = ""
    table: Table | None = None
    highlight: bool = False
    plot: str = ""
    images: Sequence[Mapping[str, Any]] = ()
    timelines: Sequence[Mapping[str, Any]] = ()


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    tiles: Sequence[tuple[str, str]] = (),
    wide: bool = False,
    details: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes the page and returns its path; all text is escaped.

    Args:
        path: the file; its folder is created if necessary.
        title, subtitle: at the top of the page.
        sections: in this order.
        tiles: the most important numbers, as (number, name).
        wide: leave more room, for large tables.
        details: below the subtitle, such as the command, as (name, text).
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        tiles=tiles,
        wide=wide,
        details=details,
    )
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
