"""What a training run leaves in its folder: state.pt to go on from, its losses, its detector."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..datasets.files import InputError, whole_file
from .detector import Detector
from .detector_file import save_detector

STATE, LOSSES, DETECTOR = "state.pt", "losses.csv", "detector.safetensors"


def write_state(
    out: Path, detector: Detector, averaged: Detector, optimizer: Any, scaler: Any, step: int
) -> None:
    """Writes all that the run needs to go on, and the averaged detector.

    Args:
        scaler: of the gradients in half precision, or None.
        step: steps taken.

    Raises:
        InputError: the disk is full; the last state is untouched.
    """
    content = io.BytesIO()
    torch.save(
        {
            "step": step,
            "detector": detector.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler and scaler.state_dict(),
            "settings": _plain(detector),
        },
        content,
    )
    try:
        with whole_file(out / STATE) as temporary:
            temporary.write_bytes(content.getbuffer())
        save_detector(averaged, out / DETECTOR)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{out / STATE}: step {step} could not be saved ({reason}); make room and run again "
            "with --resume: the last state is whole"
        ) from error


def require_no_run(out: Path) -> None:
    """Raises an InputError where a folder holds the state of a run."""
    if (out / STATE).is_file():
        raise InputError(
            f"{out / STATE}: a run stands there; --resume goes on with it, --out starts one "
            "elsewhere"
        )


def read_state(
    path: Path, detector: Detector, averaged: Detector, optimizer: Any, scaler: Any, *, resume: bool
) -> int:
    """Takes over the state of an earlier run of the same detector, if there is one.

    Args:
        path: the file, which may be missing.
        detector, averaged, optimizer, scaler: get their states.
        resume: whether an earlier run is wanted.

    Returns:
        steps taken.

    Raises:
        InputError: there is a run and `resume` is off; the file is damaged, or of another detector
            or optimiser.
    """
    if not path.is_file():
        return 0
    if not resume:
        require_no_run(path.parent)
    anew = "resume with the same recipe and data, or start anew with another --out"
    try:
        # Of files of the run's own making, too, nothing but tensors and plain values is read.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch does not look at its check sums
                raise zipfile.BadZipFile
        state = torch.load(path, map_location="cpu", weights_only=True)
        step, before, groups = (
            int(state["step"]), dict(state["settings"]), state["optimizer"]["param_groups"],
        )  # fmt: skip
        options = [set(group) for group in groups]
    except Exception as error:
        raise InputError(
            f"{path}: not a readable state ({type(error).__name__}); start anew with another --out"
        ) from error
    for name, value in _plain(detector).items():
        if before.get(name) != value:
            raise InputError(f"{path}: {name} was {before.get(name)} and is {value} now; {anew}")
    if options != [set(group) for group in optimizer.state_dict()["param_groups"]]:
        raise InputError(f"{path}: of another optimiser; {anew}")
    try:
        detector.load_state_dict(state["detector"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
    # Frozen layers, too, change what the optimiser knows.
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not fit this detector ({reason}); {anew}") from error
    return step


def _plain(detector: Detector) -> dict[str, Any]:
    """The settings as values that a state may hold."""
    settings = asdict(detector.settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}


def rows_before(path: Path, step: int) -> list[list[str]]:
    """The header and the whole rows of a CSV file whose first column, a step, is less than that."""
    if not step or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    whole = (row for row in rows if len(row) == len(header) and row[0].isdigit())
    return [header, *(row for row in whole if int(row[0]) < step)]


class LossLog:
    """losses.csv, a row a step; of a resumed run the rows behind its state are written anew.

    Args:
        path: of the file.
        step: steps that were taken before.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        rows = rows_before(path, step)
        self._named = bool(rows)
        with whole_file(path) as temporary:
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
                f"{self.path}: step {step} could not be written ({error.strerror}); make room and "
                "run again with --resume"
            ) from error

    @staticmethod
    def _append(path: Path, rows: list) -> None:
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
