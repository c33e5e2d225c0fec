"""What the documents tell people to type exists, and so do the files that they link to."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.main import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LAUNCHED = re.compile(r"accelerate launch .*-m actiontubes\.tools\.main ")


def commands(text: str) -> list[str]:
    """The lines of a document's code blocks that call `actiontubes`, continued lines joined.

    Blocks are fenced or indented by four spaces; "..." stands for what is left out.
    """
    joined = re.sub(r" *\\\n\s*", " ", text)
    lines = (line.strip() for line in joined.splitlines() if re.match(r"    \S|\S", line))
    lines = (_LAUNCHED.sub("actiontubes ", line).split("  #")[0] for line in lines)
    lines = (part for line in lines for part in re.split(r" && (?=actiontubes )", line))
    return [line for line in lines if re.match(r"actiontubes [a-z-]+( |$)", line)
            and line.split()[1] in COMMANDS and "..." not in line]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_parse(document: Path) -> None:
    wrong = []
    for line in commands(document.read_text()):
        command, *words = shlex.split(line)[1:]
        function = getattr(import_module(f"actiontubes.tools.{command}"), command)
        try:
            parse_arguments(function, command, words)
        except Exception as error:
            wrong.append(f"{line}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert not [target for target in local if not (document.parent / target).exists()]


def test_commands_are_seen() -> None:
    block = "    actiontubes link --detections a.csv \\\n        --method act  # why"
    text = f"Run\n\n{block}\n\nactiontubes is"
    assert commands(text) == ["actiontubes link --detections a.csv --method act"]
    assert sum(len(commands(path.read_text())) for path in DOCUMENTS) > 20


def test_the_site_builds(tmp_path: Path) -> None:
    """Without a warning: no page is missing, links lead somewhere, the API has its names."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "api" / "index.html").read_text()
    assert all(name in api for name in ("load", "predict", "to_df", "evaluate", "link", "read"))
