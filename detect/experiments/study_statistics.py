"""Numbers of the study: accuracy, pairs of opposite classes, means over seeds, differences.

Needs neither torch nor the networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Record = Mapping[str, Any]
"""The results of one run, see `study.train_and_score`."""

MEASURES = {
    "top1": ("normal", "top1"),
    "pairs": ("normal", "pairs"),
    "reversed_top1": ("reversed", "top1"),
    "reversed_pairs": ("reversed", "pairs"),
}
"""Percentages of a run, and where its record has them."""


@dataclass(frozen=True)
class Interval:
    """The mean of n runs, and half the width of its 95 % confidence interval (None for one run)."""

    mean: float
    half: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.half is None else f" ± {self.half:.1f}")


def confidence_interval(values: Sequence[float] | pd.Series) -> Interval | None:
    """Mean and 95 % confidence interval of the mean by Student's t.

    The half width is t · s / √n, where s is the standard deviation with n - 1 degrees of freedom.

    Args:
        values: one for each seed; NaN is left out.

    Returns:
        None without any value.
    """
    from scipy.stats import t

    known = pd.Series(values, dtype=float).dropna()
    n = len(known)
    if not n:
        return None
    half = float(t.ppf(0.975, n - 1) * known.sem()) if n > 1 else None
    return Interval(float(known.mean()), half, n)


def clip_accuracy(
    logits: np.ndarray, label: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Accuracy in percent over all clips, and within pairs of classes.

    Args:
        logits: (V, C) float, V at least 1.
        label: (V,) int, the true class.
        pairs: of opposite classes.

    Returns:
        "top1"; "pairs", over the clips of all pairs, and "per_pair", for each pair: the percentage
        of clips whose true class scores above its opposite, None without clips.
    """
    rows = np.arange(len(label))
    opposite_class = np.full(logits.shape[1], -1)
    for first, second in pairs:
        opposite_class[[first, second]] = second, first
    opposite = opposite_class[label]
    correct = logits[rows, label] > logits[rows, np.maximum(opposite, 0)]
    return {
        "top1": _percent(logits.argmax(axis=1) == label),
        "pairs": _percent(correct[opposite >= 0]),
        "per_pair": [_percent(correct[np.isin(label, pair)]) for pair in pairs],
    }


def _percent(correct: np.ndarray) -> float | None:
    return 100 * float(correct.mean()) if len(correct) else None


def runs_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each run: its record, and each of `MEASURES` as a float (NaN: not measured)."""
    runs = pd.DataFrame([*records])
    for name, (part, value) in MEASURES.items():
        values = [None if record[part] is None else record[part][value] for record in records]
        runs[name] = np.array(values, float)
    return runs


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each backbone and streams, in the order of the runs.

    Args:
        runs: of `runs_table`.

    Returns:
        backbone, streams, seeds (their number), multiply_adds, parameters, clips_per_second and
        step_seconds (medians over the seeds), and each of `MEASURES` as an `Interval`, or None.
    """
    groups = runs.groupby(["backbone", "streams"], sort=False)
    table = groups.agg(
        seeds=("seed", "size"), multiply_adds=("multiply_adds", "first"),
        parameters=("parameters", "first"), clips_per_second=("clips_per_second", "median"),
        step_seconds=("step_seconds", "median"),
    )  # fmt: skip
    for name in MEASURES:
        intervals = [confidence_interval(group[name]) for _, group in groups]
        table[name] = pd.Series(intervals, table.index, dtype=object)
    return table.reset_index()


def paired_difference(
    runs: pd.DataFrame, one: tuple[str, str], other: tuple[str, str]
) -> Interval | None:
    """By how many points `one` is above `other` on RGB, over the seeds that have both.

    Runs of one seed see the same clips in the same order, so that their difference varies less
    than each of them does.

    Args:
        runs: of `runs_table`.
        one, other: a backbone and one of `MEASURES` each.

    Returns:
        None without a seed that has both.
    """
    ours, theirs = (
        runs[(runs.streams == "rgb") & (runs.backbone == backbone)].set_index("seed")[measure]
        for backbone, measure in (one, other)
    )
    return confidence_interval(ours - theirs)


def equal_cost_difference(
    runs: pd.DataFrame, line: Sequence[str], other: Sequence[str], measure: str
) -> Interval | None:
    """By how many points one line of networks is above another at the same multiply-adds, on RGB.

    For each seed, the mean over the networks that only `line` has and whose multiply-adds are
    within the range of the other line, which is interpolated linearly.

    Args:
        runs: of `runs_table`.
        line, other: backbones; both lines may end in the same networks.
        measure: one of `MEASURES`.

    Returns:
        None without a seed that has such networks.
    """
    rgb = runs[runs.streams == "rgb"]
    cost = rgb.groupby("backbone").multiply_adds.first()
    inner = [backbone for backbone in line if backbone not in other]
    differences = []
    for _, values in rgb.pivot(index="seed", columns="backbone", values=measure).iterrows():
        points, knots = (values.reindex(names).dropna() for names in (inner, other))
        knots = knots[cost[knots.index].sort_values().index]
        if len(knots) > 1:
            expected = np.interp(
                cost[points.index], cost[knots.index], knots, left=np.nan, right=np.nan
            )
            differences.append((points - expected).mean())
    return confidence_interval(differences)
