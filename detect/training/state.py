"""What a training run leaves in its folder: state.pt to continue from, losses, evaluations."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from ...backbones.weights.torch_file import load_torch_file
from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from ..model.checkpoint import current_fields

if TYPE_CHECKING:
    from .loop import Task

STATE, LOSSES, EVALUATIONS = "state.pt", "losses.csv", "evaluations.csv"
_SHOWN = 200  # characters of a setting in an error's line


def save_state(
    folder: Path, task: Task, averaged: nn.Module, optimizer: Any, scaler: Any, step: int
) -> None:
    """Writes all that the run needs to continue, and lets the task save the averaged model.

    Args:
        folder: of the run.
        task: its model, as it is trained, and its identity are stored.
        averaged: the model with the averaged weights.
        optimizer: of the run.
        scaler: of the gradients in half precision, or None.
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


def require_no_run(out: Path) -> None:
    """Refuses a folder that holds the state of a run."""
    if (out / STATE).is_file():
        raise InputError(
            f"{out / STATE}: this folder already contains a training run; continue it with "
            "--resume, or choose another --out"
        )


def load_state(
    path: Path,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: Any,
    scaler: Any,
    identity: Mapping[str, Any],
    *,
    resume: bool,
) -> int:
    """Loads the state of an earlier run of the same model, if there is one.

    Args:
        path: the file, which may be missing.
        model, averaged, optimizer, scaler: get their states.
        identity: what the earlier run must have been written with.
        resume: whether an earlier run is to be continued.

    Returns:
        Steps taken.

    Raises:
        InputError: there is a run and `resume` is off; the file is damaged, or of another model or
            optimizer.
    """
    if not path.is_file():
        return 0
    if not resume:
        require_no_run(path.parent)
    remedy = "resume with the same options and data, or choose another --out"
    try:
        # Files of the run itself are not trusted either: only tensors and plain values are read.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch does not check the checksums
                raise zipfile.BadZipFile
        state = load_torch_file(path)
        step, before = int(state["step"]), current_fields(state["settings"])
        groups = [set(group) for group in state["optimizer"]["param_groups"]]
    except Exception as error:
        raise InputError(
            f"{path}: is damaged or not a training state ({type(error).__name__}); choose "
            "another --out to start again"
        ) from error
    for name in {**identity, **before}:
        if before.get(name) != identity.get(name):
            raise InputError(
                f"{path}: this run was started with {name} {_shown(before.get(name))}, now it is "
                f"{_shown(identity.get(name))}; {remedy}"
            )
    if groups != [set(group) for group in optimizer.state_dict()["param_groups"]]:
        raise InputError(f"{path}: was written with another optimizer; {remedy}")
    try:
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
    # The optimizer's state also depends on which layers are frozen.
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not match this model ({reason}); {remedy}") from error
    return step


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def rows_before(path: Path, step: int) -> list[list[str]]:
    """The header and the complete rows of a CSV file up to a step, which the first column holds."""
    if not step or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    whole = (row for row in rows if len(row) == len(header) and row[0].isdigit())
    return [header, *(row for row in whole if int(row[0]) < step)]


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
        try:
            self._append(self.path, [*names, row])
        except OSError as error:
            raise InputError(
                f"{self.path}: could not be written at step {step} ({error.strerror}); free "
                "some disk space and run again with --resume"
            ) from error

    @staticmethod
    def _append(path: Path, rows: list) -> None:
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
