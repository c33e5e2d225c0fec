"""Kills runs at random moments, resumes them, and compares them with undisturbed ones.

    python tests/kill_runs.py --kills 40

Runs `train`, `detect` on a folder and `demo` at their smallest sizes, one after the other, each in
a process of its own that gets SIGKILL (kill -9) at a random moment after it has entered its folder,
up to three times in a row. The last one goes on to the end. All files that it leaves must then be
those of a run that nobody disturbed, to the byte: weights, tables, results, losses, drawn videos,
report. Only what says when or how fast (times in losses.csv and records of files) is left out, and
state.pt, whose tensors are in last.safetensors. No temporary file may be left.

Prints a table in Markdown, and ends with 1 if anything differs. docs/robustness.md has its result.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

_FORK = multiprocessing.get_context("fork")
_LOCK = ".actiontubes.lock"
_KILLS_IN_A_ROW = 3
_LATEST = 0.8  # of the undisturbed run's seconds; a busy machine is not always as slow
_NOT_COMPARED = {"state.pt", ".joined.json", _LOCK}
_RECIPE = """
backbone: i2d
width: 0.0625
weights: null
norm: batch
endpoint: Mixed_3c
proposals: features
proposal_endpoint: Mixed_3c
proposal_count: 10
hidden: 16
frames: 4
size: [48, 64]
rois_per_frame: 8
batch: 1
steps: 60
save_every: 7
evaluate_every: 15
"""


@dataclass
class Command:
    """A command line that writes to the folder "out" of the working directory.

    Attributes:
        name: of the command.
        words: behind it.
        resume: what a run that was killed gets besides, once it has a file of this name.
        resume_file: in "out".
        seconds: that the undisturbed run spent in its folder.
        kills, resumed: counts.
        different: what differed, by run.
    """

    name: str
    words: list[str]
    resume: list[str] = field(default_factory=list)
    resume_file: str = ""
    seconds: float = 0.0
    kills: int = 0
    resumed: int = 0
    different: list[str] = field(default_factory=list)

    def start(self, folder: Path) -> BaseProcess:
        """Starts it, and returns when it is in its folder, or has ended."""
        folder.mkdir(exist_ok=True)
        goes_on = self.resume_file and (folder / "out" / self.resume_file).is_file()
        words = [self.name, *self.words, "--out", "out", *(self.resume if goes_on else [])]
        process = _FORK.Process(target=run_command, args=(words, folder))
        process.start()
        lock = folder / "out" / _LOCK
        while process.is_alive():
            if lock.is_file() and lock.read_text("utf-8").strip() == str(process.pid):
                break
            time.sleep(0.002)
        return process

    def finish(self, folder: Path) -> float:
        """Runs it to its end; returns the seconds in its folder."""
        process = self.start(folder)
        begin = time.monotonic()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{self.name} failed; see {folder / 'log.txt'}")
        return time.monotonic() - begin

    def kill(self, folder: Path, seconds: float) -> bool:
        """Runs it for so long in its folder; whether it was killed before it ended."""
        process = self.start(folder)
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode == -signal.SIGKILL


def run_command(words: list[str], folder: Path) -> None:
    """Runs a command line in this process, with one thread; its output goes to log.txt."""
    from actiontubes.tools.main import main as run

    os.chdir(folder)
    log = os.open("log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.modules["torch"].set_num_threads(1)
    sys.exit(run(words))


def import_all() -> None:
    """Imports what the commands do, once for all processes, which are forked from this one."""
    for package in ("torch", "accelerate", "cv2", "pyarrow.parquet", "matplotlib.pyplot"):
        importlib.import_module(package)
    for name in ("train", "detect", "demo"):
        importlib.import_module(f"actiontubes.tools.{name}")
    for module in ("training.detector", "training.state", "inference.load", "model.pretrained",
                   "inference.resumable_run", "visualization.report"):  # fmt: skip
        importlib.import_module(f"actiontubes.detect.{module}")


def draw_videos(folder: Path) -> None:
    """Draws four small videos, two to train on."""
    from actiontubes.datasets.figures.dataset import make_figure_dataset

    make_figure_dataset(folder, train=2, test=2, frames=52, height=96, width=128, progress=False)


def make_commands(folder: Path, names: Sequence[str]) -> list[Command]:
    """The commands at their smallest sizes, with their data in `folder`."""
    data = folder / "data"
    drawing = _FORK.Process(target=draw_videos, args=(data,))
    drawing.start()
    drawing.join()
    (folder / "tiny.yaml").write_text(_RECIPE)
    train = ["--config", str(folder / "tiny.yaml"), "--data", str(data), "--device", "cpu"]
    commands = [
        Command("train", train, ["--resume"], "state.pt"),
        Command("demo", ["--videos", "1", "--steps", "2", "--backbone", "i2d"]),
    ]
    if "detect" in names:
        Command("train", [*train, "--steps", "2"]).finish(folder / "weights")
        checkpoint = folder / "weights" / "out" / "detector.safetensors"
        words = [str(data / "videos"), "--checkpoint", str(checkpoint), "--threshold", "0.05"]
        commands.append(Command("detect", [*words, "--device", "cpu"]))
    return [command for command in commands if command.name in names]


def contents(out: Path) -> dict[str, bytes]:
    """What is compared, by relative path."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name not in _NOT_COMPARED:
            content = path.read_bytes()
            if path.name == "losses.csv":
                rows = csv.reader(content.decode().splitlines())
                content = "\n".join(",".join(row[:-2]) for row in rows).encode()
            found[str(path.relative_to(out))] = content
    return found


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The names of files that are only in one of them, or differ."""
    return [name for name in sorted({**found, **expected}) if found.get(name) != expected.get(name)]


def disturb(command: Command, folder: Path, kills: int, rng: random.Random) -> None:
    """Kills a command so many times, and compares each run that ends."""
    expected_folder = folder / f"{command.name}-undisturbed"
    command.seconds = command.finish(expected_folder)
    expected = contents(expected_folder / "out")
    while command.kills < kills:
        run = folder / f"{command.name}-{command.resumed}"
        for _ in range(min(_KILLS_IN_A_ROW, kills - command.kills)):
            if not command.kill(run, rng.uniform(0, _LATEST * command.seconds)):
                break
            command.kills += 1
        command.finish(run)
        command.resumed += 1
        different = differences(contents(run / "out"), expected)
        command.different += [f"{run.name}: {name}" for name in different]
        print(f"{run.name}: {command.kills} kills, {different or 'identical'}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40, help="in all, shared by the commands")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", nargs="+", default=["train", "detect", "demo"])
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    import_all()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        commands = make_commands(folder, options.commands)
        for number, command in enumerate(commands):
            left = options.kills - sum(each.kills for each in commands[:number])
            disturb(command, folder, left // (len(commands) - number), rng)
    print("| command | kills | runs resumed to their end | different files |")
    print("|---|---|---|---|")
    for command in commands:
        print(f"| {command.name} | {command.kills} | {command.resumed} | "
              f"{', '.join(command.different) or 'none'} |")  # fmt: skip
    return 1 if any(command.different for command in commands) else 0


if __name__ == "__main__":
    sys.exit(main())
