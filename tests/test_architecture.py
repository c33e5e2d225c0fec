"""docs/architecture.md names files, folders and tables of names that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_files_and_folders_exist() -> None:
    named = set(re.findall(r"`((?:tools|detect|backbones|datasets)/[\w/.]*)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_names_to_add_a_line_to_exist() -> None:
    pairs = re.findall(r"`([A-Z_]+)` in `([\w/.]+)`", PAGE)
    assert len(pairs) >= 4
    for name, path in pairs:
        assert re.search(rf"^{name}\b.* = ", (ROOT / path).read_text(encoding="utf-8"), re.M), name


def test_every_folder_of_detect_is_explained() -> None:
    folders = {path.parent.name for path in (ROOT / "detect").glob("*/__init__.py")}
    assert [name for name in sorted(folders) if f"`detect/{name}/`" not in PAGE] == []


def test_every_folder_is_installed() -> None:
    """An editable installation has folders that pyproject.toml forgets; a wheel does not."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text[text.index("packages = [") : text.index("[tool.setuptools.package-dir]")]
    folders = {".".join(path.relative_to(ROOT).parent.parts)
               for room in ("backbones", "datasets", "detect", "tools")
               for path in (ROOT / room).rglob("__init__.py")}  # fmt: skip
    assert folders == set(re.findall(r'"actiontubes\.([\w.]+)"', listed))
