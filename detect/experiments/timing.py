"""Timing of several functions in alternating rounds, so that all see the same load."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from tqdm import tqdm


def synchronized_time(device: str) -> float:
    """Seconds of a clock, read after all kernels that were started on a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def time_rounds(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str,
    warmup: int = 1,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Runs all functions in turn, round by round.

    Args:
        runs: functions by name.
        repeats: rounds that are timed.
        device: where they run.
        warmup: rounds before these that are not timed.
        progress: show a progress bar on stderr.

    Returns:
        By name (repeats,) the seconds of each timed round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    bar = tqdm([*runs] * (warmup + repeats), unit=" runs", leave=False, disable=not progress)
    for name in bar:
        bar.set_description(name)
        start = synchronized_time(device)
        runs[name]()
        seconds[name].append(synchronized_time(device) - start)
    return {name: np.array(each[warmup:]) for name, each in seconds.items()}


def median(values: np.ndarray) -> float:
    """The median as a Python number, for JSON."""
    return float(np.median(values))
