"""A small data set of figures, a detector trained on it for two steps, and commands in-process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from accelerate.state import AcceleratorState
from actiontubes.datasets.figures.dataset import make_figure_dataset
from actiontubes.tools.main import main

# Narrow and without weights; a picture of 48x64 has one cell for 8 pixels at Mixed_3c.
TINY = (
    "backbone: i2d\nwidth: 0.0625\nweights: null\nnorm: batch\nendpoint: Mixed_3c\n"
    "proposals: features\nproposal_endpoint: Mixed_3c\nproposal_count: 10\nhidden: 16\n"
    "frames: 4\nsize: [48, 64]\nexamples: 8\nbatch: 1\nsteps: 2\n"
    "calibration_folds: 0\n"
)
# The elapsed time of a progress bar, or the code that moves the cursor above it.
BAR = re.compile(r"\[\d+:\d\d|\x1b")


class Done(NamedTuple):
    """What a command left: exit code, standard output, and the lines of standard error."""

    code: int
    out: str
    err: list[str]


@pytest.fixture
def command(capsys) -> Iterator[Callable[..., Done]]:
    """Runs a command line in this process, with one thread.

    Progress bars, and what --precision auto means on this machine, are left out.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*words: object) -> Done:
        # A process has one precision for ever, tests have several.
        AcceleratorState._reset_state(reset_partial_state=True)
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("precision: ")]
        return Done(code, out, [line for line in lines if not BAR.search(line)])

    yield run
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def figures(tmp_path_factory) -> Path:
    """Three videos to train on and one to test on, 52 frames of 128x96 each."""
    folder = tmp_path_factory.mktemp("figures")
    make_figure_dataset(folder, train=3, test=1, frames=52, height=96, width=128, progress=False)
    return folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    """The smallest detector, for two steps."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def trained(figures: Path, recipe: Path, tmp_path_factory) -> Path:
    """What `actiontubes train` left after a few steps."""
    out = tmp_path_factory.mktemp("trained") / "out"
    words = ["train", "--config", recipe, "--data", figures, "--out", out, "--device", "cpu"]
    schedule = "--steps 60 --warm-up 4 --optimiser adamw --lr 0.003 --batch 2 --ema 0.9"
    assert main([str(word) for word in [*words, *schedule.split()]]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return out
