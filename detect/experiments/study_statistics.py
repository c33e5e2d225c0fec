"""What the study says of its runs: accuracy, pairs of opposite classes, means over seeds.

Needs neither torch nor the networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = Mapping[str, Any]
"""Of one run, as `study.train_and_score` writes it."""

MEASURES = {
    "top1": ("normal", "top1"),
    "pairs": ("normal", "pairs"),
    "reversed_top1": ("reversed", "top1"),
    "reversed_pairs": ("reversed", "pairs"),
}
"""Where in a record each percentage stands."""


@dataclass(frozen=True)
class Interval:
    """The mean of n runs, and the half width of its 95 % confidence interval (None for one)."""

    mean: float
    half: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.half is None else f" ± {self.half:.1f}")


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean and confidence interval of the mean by Student's t.

    The half width is t · s / √n, where s is the standard deviation with n - 1 degrees of freedom.

    Args:
        values: one a seed, at least one.
        level: of the interval.
    """
    from scipy.stats import sem, t

    n = len(values)
    half = float(t.ppf((1 + level) / 2, n - 1) * sem(values)) if n > 1 else None
    return Interval(float(np.mean(values)), half, n)


def clip_accuracy(
    logits: np.ndarray, label: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Accuracy in percent over all clips, and within pairs of classes.

    Args:
        logits: (V, classes), V at least 1.
        label: (V,) int.
        pairs: of classes.

    Returns:
        {"top1", "pairs": over the clips of all pairs, "per_pair": each}: of a pair's clips those
        whose true class scores above the other; None for pairs without a clip.
    """
    rows = np.arange(len(label))
    other = np.full(logits.shape[1], -1)
    for first, second in pairs:
        other[first], other[second] = second, first
    against = other[label]
    right = logits[rows, label] > logits[rows, np.maximum(against, 0)]
    return {
        "top1": _percent(logits.argmax(axis=1) == label),
        "pairs": _percent(right[against >= 0]),
        "per_pair": [_percent(right[np.isin(label, pair)]) for pair in pairs],
    }


def _percent(hits: np.ndarray) -> float | None:
    return 100 * float(hits.mean()) if len(hits) else None


def summarise(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for each backbone and stream, in the order in which they come.

    Returns:
        backbone, streams, seeds, multiply_adds, parameters, clips_per_second and step_seconds
        (medians over the seeds), and each of `MEASURES` as an `Interval`, or None where it was not
        measured.
    """
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        grouped.setdefault((record["backbone"], record["streams"]), []).append(record)
    rows = []
    for (backbone, streams), mine in grouped.items():
        row = {"backbone": backbone, "streams": streams, "seeds": len(mine)}
        row |= {name: mine[0][name] for name in ("multiply_adds", "parameters")}
        for name in ("clips_per_second", "step_seconds"):
            row[name] = float(np.median([record[name] for record in mine]))
        for name in MEASURES:
            values = [value for r in mine if (value := get_measure(r, name)) is not None]
            row[name] = interval(values) if values else None
        rows.append(row)
    return rows


def get_measure(record: Record, measure: str) -> float | None:
    """One of `MEASURES` of a run, in percent; None where it was not measured."""
    part, name = MEASURES[measure]
    return None if record[part] is None else record[part][name]


def paired_difference(
    records: Sequence[Record],
    one: tuple[str, str],
    other: tuple[str, str],
    streams: str = "rgb",
) -> Interval | None:
    """By how many points one is above the other, over the seeds that have both; None without any.

    Runs of one seed see the same clips in the same order, so that their difference varies less
    than each of them does.

    Args:
        one, other: a backbone and one of `MEASURES` each.
    """
    ours, theirs = (_by_seed(records, *each, streams) for each in (one, other))
    both = sorted(ours.keys() & theirs.keys())
    return interval([ours[seed] - theirs[seed] for seed in both]) if both else None


def equal_cost_difference(
    records: Sequence[Record],
    line: Sequence[str],
    other: Sequence[str],
    measure: str,
    streams: str = "rgb",
) -> Interval | None:
    """By how many points one line of networks is above another at the same multiply-adds.

    Of each seed, the mean over the inner networks of `line` whose multiply-adds the other line
    covers; between two of its networks the other line is straight.

    Args:
        line, other: backbones, whose two ends may be the same networks.
    """
    cost = {record["backbone"]: record["multiply_adds"] for record in records}
    found = [{b: _by_seed(records, b, measure, streams) for b in names} for names in (line, other)]
    seeds = {seed for by_seed in found[0].values() for seed in by_seed}
    above = []
    for seed in sorted(seeds):
        knots = sorted((cost[b], values[seed]) for b, values in found[1].items() if seed in values)
        inner = [b for b in line if b not in other and seed in found[0][b]]
        if len(knots) < 2:
            continue
        x, y = np.array(knots).T
        inside = [b for b in inner if x[0] <= cost[b] <= x[-1]]
        if inside:
            above.append(
                np.mean([found[0][b][seed] - np.interp(cost[b], x, y) for b in inside]).item()
            )
    return interval(above) if above else None


def _by_seed(
    records: Sequence[Record], backbone: str, measure: str, streams: str
) -> dict[int, float]:
    return {
        record["seed"]: value
        for record in records
        if (record["backbone"], record["streams"]) == (backbone, streams)
        and (value := get_measure(record, measure)) is not None
    }
