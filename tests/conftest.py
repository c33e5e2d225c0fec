"""Shared fixtures: where the real data lies, and the command line as a function."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A file or folder of the real data by its relative path; the test is skipped without it."""
    base = Path(os.environ.get("ACTIONTUBES_SHARED", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = base / name
        if not path.exists():
            pytest.skip(f"needs {path}")
        return path

    return find


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `actiontubes` in a process of its own, as a user would."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "actiontubes.tools.main", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call
