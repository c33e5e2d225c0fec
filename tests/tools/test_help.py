"""Help answers at once: it imports none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest
from actiontubes.tools.main import COMMANDS

HEAVY = (
    "torch", "torchvision", "cv2", "av", "onnx", "onnxruntime", "pyarrow", "scipy", "matplotlib",
    "jinja2", "pycocotools",
)  # fmt: skip
PROGRAM = f"""
import sys
from actiontubes.tools.main import main
code = main(sys.argv[1:])
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
sys.exit(code)
"""


def installed(command: str) -> bool:
    """Whether the command's file is there yet: commands are announced one by one."""
    from importlib.util import find_spec

    return find_spec(f"actiontubes.tools.{command}") is not None


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    if command and not installed(command):
        pytest.skip(f"no tools/{command}.py yet")
    words = [*command.split(), "--help"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: actiontubes {command or 'COMMAND'}")
    assert done.stderr == ""
