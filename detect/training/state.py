"""What a training run leaves in its folder: state.pt to continue from, losses, evaluations."""

from __future__ import annotations

import csv
import io
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from ...backbones.weights.torch_file import load_torch_file
from ...datasets.errors import InputError, as_option
from ...datasets.storage.files import atomic_write, sync_file
from ...datasets.storage.text_files import read_csv, read_json
from ..model.checkpoint import current_fields

if TYPE_CHECKING:
    from .loop import Task

STATE, LOSSES, EVALUATIONS = "state.pt", "losses.csv", "evaluations.csv"
RESULTS, PREDICTIONS = "results.json", "predictions.csv"
DETECTOR, CLASSIFIER, LAST = "detector.safetensors", "classifier.safetensors", "last.safetensors"
# Options that change no weight; --steps is checked by itself.
_FREE_OPTIONS = ("steps", "save_every", "evaluate_every", "patience", "cache")
_OPTION_NAMES = {"width_multiplier": "width"}  # where the field has another name
# Options that earlier states do not have, with the value that their runs had.
_LATER_OPTIONS = {"cache_features": "off"}
_SHOWN = 200  # characters of a setting in an error's line


def save_state(
    folder: Path, task: Task, averaged: nn.Module, optimizer: Any, scaler: Any, options: Mapping,
    step: int,
) -> None:  # fmt: skip
    """Writes all that the run needs to continue, and lets the task save the averaged model.

    Args:
        folder: of the run.
        task: its model, as it is trained, and its identity are stored.
        averaged: the model with the averaged weights.
        optimizer: of the run.
        scaler: of the gradients in half precision, or None.
        options: of the run, see `load_state`.
        step: steps taken.

    Raises:
        InputError: the disk is full; the last state is untouched.
    """
    content = io.BytesIO()
    torch.save(
        {
            "step": step,
            "model": task.model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler and scaler.state_dict(),
            "settings": dict(task.identity),
            "options": dict(options),
        },
        content,
    )
    try:
        with atomic_write(folder / STATE) as temporary:
            temporary.write_bytes(content.getbuffer())
        task.save(averaged, folder)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{folder / STATE}: could not be saved at step {step} ({reason}); free some disk "
            "space and run again with --resume (the previous state is intact)"
        ) from error


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuses a folder whose run or weights a new run would replace.

    Args:
        out: of the run.
        resume: whether its run is continued.

    Raises:
        InputError: it holds a run and `resume` is off, or weights without a run.

    Warns:
        `resume` is on and there is no run.
    """
    if (out / STATE).is_file():
        if not resume:
            raise InputError(
                f"{out / STATE}: this folder already contains a training run; continue it with "
                "--resume, or choose another --out"
            )
        return
    for name in (DETECTOR, CLASSIFIER, LAST):
        if (out / name).is_file():
            raise InputError(
                f"{out / name}: belongs to a run without {STATE}, which cannot be continued; "
                "choose another --out, or move the file away"
            )
    if resume:
        warnings.warn(f"{out / STATE}: not found; the run begins at step 0", stacklevel=2)


def load_state(
    path: Path,
    task: Task,
    averaged: nn.Module,
    optimizer: Any,
    scaler: Any,
    options: Mapping[str, Any],
    *,
    resume: bool,
) -> int:
    """Loads the state of an earlier run of the same model, if there is one.

    Args:
        path: the file, which may be missing.
        task: its model gets its state; its identity must be that of the earlier run.
        averaged, optimizer, scaler: get their states.
        options: that the steps depend on, by name, as plain values; "steps", "decay" among them.
        resume: whether an earlier run is to be continued.

    Returns:
        Steps taken.

    Raises:
        InputError: there is a run and `resume` is off; the file is damaged, or of another model or
            optimizer, or was written with other options.
    """
    if not path.is_file():
        for name in (RESULTS, EVALUATIONS, PREDICTIONS):  # of a run without a state
            (path.parent / name).unlink(missing_ok=True)
        return 0
    if not resume:
        check_folder(path.parent, resume=False)
    remedy = "resume with the same options and data, or choose another --out"
    try:
        # Files of the run itself are not trusted either: only tensors and plain values are read.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch does not check the checksums
                raise zipfile.BadZipFile
        state = load_torch_file(path)
        step, before = int(state["step"]), current_fields(state["settings"])
        old_options = {n: value for n, value in _LATER_OPTIONS.items() if n in options}
        old_options |= dict(state.get("options", {}))  # none in version 0.1
        groups = [set(group) for group in state["optimizer"]["param_groups"]]
        if not all(isinstance(name, str) for name in {**before, **old_options}):
            raise TypeError
    except Exception as error:
        raise InputError(
            f"{path}: is damaged or not a training state ({type(error).__name__}); choose "
            "another --out to start again"
        ) from error
    known = {name: v for name, v in old_options.items() if name not in _FREE_OPTIONS}
    differences = _differences(before, task.identity)
    differences += _differences(known, {name: options.get(name) for name in known})
    if options["decay"] != "none":  # else the rates are the same for any number of steps
        steps = old_options.get("steps", options["steps"])
        differences += _differences({"steps": steps}, {"steps": options["steps"]})
    if step > options["steps"]:
        raise InputError(f"{path}: has {step} steps, and --steps is {options['steps']}; {remedy}")
    if differences:
        raise InputError(f"{path}: of this run {', '.join(differences)}; {remedy}")
    if groups != [set(group) for group in optimizer.state_dict()["param_groups"]]:
        raise InputError(f"{path}: was written with another optimizer; {remedy}")
    try:
        task.model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
    # The optimizer's state also depends on which layers are frozen.
    except (
        LookupError, TypeError, AttributeError, ValueError, RuntimeError, ArithmeticError
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not match this model ({reason}); {remedy}") from error
    return step


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, as "--seed was 0 and is 7 now"."""
    lines = []
    for name in {**now, **before}:
        was, value = before.get(name), now.get(name)
        if was != value:
            option = as_option(_OPTION_NAMES.get(name, name))
            lines.append(f"{option} was {_shown(was)} and is {_shown(value)} now")
    return lines


def plain_values(*records: Any) -> dict[str, Any]:
    """The fields of dataclasses as values that state.pt may hold."""
    values = {name: value for record in records for name, value in asdict(record).items()}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def rows_before(path: Path, step: int) -> list[list[str]]:
    """The header and the complete rows of a CSV file up to a step, which the first column holds."""
    if not step or not path.is_file():
        return []
    header, *rows = read_csv(path) or [[]]
    whole = (row for row in rows if len(row) == len(header) and re.fullmatch(r"[0-9]{1,9}", row[0]))
    return [header, *(row for row in whole if int(row[0]) < step)]


def is_evaluated(folder: Path, step: int) -> bool:
    """Whether the evaluation after `step` steps was completed: its row is written last."""
    rows = rows_before(folder / EVALUATIONS, step + 1)
    return bool(rows) and rows[-1][0] == str(step) and (folder / RESULTS).is_file()


def evaluations_since_best(folder: Path) -> int:
    """How many evaluations followed the best by the first score in evaluations.csv."""
    header, *rows = read_csv(folder / EVALUATIONS) if (folder / EVALUATIONS).is_file() else [[]]
    column = next((i for i, name in enumerate(header) if name not in ("step", "protocol")), 0)
    scores = [float(row[column]) for row in rows if len(row) == len(header)]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def read_results(folder: Path) -> dict[str, Any] | None:
    """results.json, the scores of the best weights so far; None without the file.

    Raises:
        InputError: it is damaged.
    """
    path = folder / RESULTS
    try:
        return dict(read_json(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path}: is damaged; delete it and run again with --resume") from error


def keep_last(folder: Path, name: str) -> None:
    """Copies last.safetensors, which was saved before it was evaluated, to `name`."""
    with atomic_write(folder / name) as temporary:
        shutil.copyfile(folder / LAST, temporary)


def write_evaluation(path: Path, step: int, values: Mapping[str, str]) -> None:
    """Adds a step to the table of evaluations, atomically.

    A resumed run may take a step for the second time; the rows of that step and later ones are
    replaced.
    """
    rows = rows_before(path, step) or [["step", *values]]
    rows.append([str(step), *values.values()])
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)


class LossLog:
    """losses.csv, one row a step; a resumed run replaces the rows after its state.

    Args:
        path: of the file.
        step: steps that were taken before.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        rows = rows_before(path, step)
        self._named = bool(rows)
        with atomic_write(path) as temporary:
            self._append(temporary, rows)

    def write(
        self, step: int, rate: float, losses: Mapping[str, float], seconds: float, waited: float
    ) -> None:
        """Appends a step.

        Raises:
            InputError: the disk is full.
        """
        names = [] if self._named else [["step", "lr", *losses, "seconds", "waited"]]
        self._named = True
        values = [f"{value:.9g}" for value in losses.values()]
        row = [step, f"{rate:.6g}", *values, f"{seconds:.4f}", f"{waited:.4f}"]
        with self._errors(f"at step {step}"):
            self._append(self.path, [*names, row])

    def sync(self) -> None:
        """Waits until the disk has all rows.

        Raises:
            InputError: the disk is full.
        """
        with self._errors():
            sync_file(self.path)

    @contextmanager
    def _errors(self, when: str = "to the end") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.path}: could not be written {when} ({error.strerror}); free some disk "
                "space and run again with --resume"
            ) from error

    @staticmethod
    def _append(path: Path, rows: list) -> None:
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
