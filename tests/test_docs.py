"""What the documents tell people to type exists and, where it is cheap, runs; links lead somewhere.

Code runs on small made files of the names that the documents use.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas
import pytest
import torch
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.tools.arguments import parse_arguments
from actiontubes.tools.main import COMMANDS, main

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


# What is parsed only, and what it would need.
NOT_RUN = {
    r"^detect (?!.*--checkpoint)": "Kinetics weights, or addresses",
    r"^detect (s3:|list\.)": "addresses, a cluster",
    r"hub:|--push": "the hub; tests/detect/training/test_publish.py stands in",
    r"^(train|classify|study|demo|flow|benchmark (detector|backbones|proposals))": "minutes",
    r"^export": "a minute; tests/tools/test_export.py runs it",
    r"^live": "a camera",
    r"^prepare (ucf101-24|ava|jhmdb)": "the official downloads",
    r"^benchmark linking --data \.\./shared": "the tables beside the repository",
}
SKIPPED_PYTHON = ("ultralytics", "supervision", "fiftyone", "fasterrcnn", "kinetics400", '"i3d"')


def cheap_commands() -> list[str]:
    lines = {line.removeprefix("actiontubes ") for path in DOCUMENTS
             for line in commands(path.read_text())}  # fmt: skip
    return sorted(line for line in lines
                  if not any(re.search(rule, line) for rule in NOT_RUN))  # fmt: skip


def python_blocks() -> list[str]:
    blocks = {
        block
        for path in DOCUMENTS
        for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    }
    return sorted(b for b in blocks if not any(word in b for word in SKIPPED_PYTHON))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with everything that the documents name."""
    folder = tmp_path_factory.mktemp("documents")
    data = folder / "data"
    make_figure_dataset(data, train=2, test=2, frames=52, height=96, width=128, progress=False)
    (data / "videos" / "test_000.mp4").rename(data / "videos" / "v.mp4")  # as a document calls it
    for name in ("groundtruth.parquet", "videos.parquet"):
        table = pandas.read_parquet(data / name)
        table.replace({"video": {"test_000": "v"}}).to_parquet(data / name)
    for name in ("my_folder", "FOLDER", "demo/data"):
        shutil.copytree(data, folder / name)
    for name in ("my_video", "new", "video", "v"):
        shutil.copyfile(data / "videos" / "v.mp4", folder / f"{name}.mp4")
    labels = tuple(sorted(pandas.read_parquet(data / "groundtruth.parquet")["label"].unique()))
    torch.manual_seed(0)
    config = DetectorConfig(
        labels=labels, backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="features", proposal_endpoint="Mixed_3c", proposal_count=4, hidden=8, frames=4,
        size=(48, 64), norm="batch",
    )  # fmt: skip
    for name in ("detector", "trained/detector", "demo/trained/detector"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_detector(build_detector(config).eval(), folder / f"{name}.safetensors")
    truth = pandas.read_parquet(data / "groundtruth.parquet")
    truth.to_parquet(folder / "truth.parquet")
    boxes = truth.assign(score=0.9)
    tubes = boxes.assign(tube_score=0.8)
    for name in ("my_detections", "mine", "theirs", "demo/trained/detections",
                 "float32/detections", "per_clip/detections"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        boxes.drop(columns="tube").to_parquet(folder / f"{name}.parquet")
    for name in ("my_tubes", "their_tubes"):
        tubes.to_parquet(folder / f"{name}.parquet")
    assert main(["convert", str(data), "--to", "act", "--out", str(folder / "JHMDB-GT.pkl")]) == 0
    return folder


def test_most_is_run() -> None:
    assert len(cheap_commands()) >= 12 and len(python_blocks()) >= 2


@pytest.mark.parametrize("line", cheap_commands())
def test_commands_run(line: str, files: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    torch.set_num_threads(1)
    assert main(shlex.split(line)) == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", python_blocks())
def test_python_runs(block: str, files: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    words = "detect my_video.mp4 --checkpoint detector.safetensors --out tubes --tables-only"
    assert ("tubes/videos" not in block and '"tubes", "videos"' not in block) or (
        main(words.split()) == 0
    )
    exec(compile(block, "document", "exec"), {})
