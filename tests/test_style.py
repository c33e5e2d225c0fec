"""Lint and types, so that the one test command covers them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
FOLDERS = ("backbones", "datasets", "detect", "tools")


def _check(*command: object, folder: Path = ROOT) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint() -> None:
    _check("ruff", "check", ".")


def test_format() -> None:
    _check("ruff", "format", "--check", ".")


@pytest.mark.slow
def test_types(tmp_path: Path) -> None:
    # mypy finds packages by folder: show it the folders under the name that they install as.
    (tmp_path / "actiontubes").mkdir()
    for folder in FOLDERS:
        (tmp_path / "actiontubes" / folder).symlink_to(ROOT / folder)
    _check("mypy", "--config-file", ROOT / "pyproject.toml", "-p", "actiontubes", folder=tmp_path)


def test_imports_go_one_way() -> None:
    """The contracts of pyproject.toml: no folder imports from a floor above its own."""
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0
