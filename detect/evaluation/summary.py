"""Evaluations as text tables."""

from __future__ import annotations

from collections.abc import Sequence

from .average_precision import ClassAP
from .bootstrap import LEVEL
from .error_analysis import ERROR_KINDS
from .evaluate import Evaluation

# What a reader of a protocol's numbers should know about its public code.
_REMARKS = {
    "act": "no envelope over the curve; tubes that overlap a better one by over 0.3 are dropped",
    "multisports": "a tube of n frames counts as n - 1 long, so tubes of one frame never match",
    "road": "detected tubes are compared one pixel further right and down, as in its MATLAB code",
    "yowo": "detections on frames without ground truth do not count; recall ends below 100 by 1e-5",
}


def summary_table(evaluations: Sequence[Evaluation]) -> str:
    """Means and errors in percent, a column for each protocol, then remarks on the protocols."""
    names = [each.protocol.name for each in evaluations]
    has_intervals = any(each.intervals for each in evaluations)
    width = max(24 if has_intervals else 12, *(len(name) + 2 for name in names))

    def line(head: str, cells: Sequence[str]) -> str:
        return f"{head:24}" + "".join(f"{cell:>{width}}" for cell in cells)

    lines = [line("", names)]
    for name, row in mean_rows(evaluations).items():
        intervals = [_interval_of(each, name) for each in evaluations]
        lines.append(line(name, [percent(mean) + text for mean, text in zip(row, intervals)]))
    if has_intervals:
        lines.append(
            f"[low, high]: {LEVEL} % confidence, by {evaluations[0].num_resamples} resamples of "
            "the videos"
        )
    errors = [each.errors for each in evaluations]
    for part in errors[0]:
        title = f"{part} errors @ {evaluations[0].error_threshold:g} (they add to 100)"
        lines += ["", title]
        lines += [
            line(f"  {kind}", [percent(each[part][kind]) for each in errors])
            for kind in ERROR_KINDS
        ]
    remarks = [f"{name}: {_REMARKS[name]}" for name in names if name in _REMARKS]
    return "\n".join([*lines, "", *remarks])


def class_table(evaluation: Evaluation) -> str:
    """A row for each class: frame-AP and video-AP at IoU 0.5 in percent."""
    columns = scores_at(evaluation, 0.5)
    if not columns:
        return ""
    names = list(next(iter(columns.values())).ap)
    width = max(24, *(len(name) + 2 for name in names))
    rows = [("class", [f"{part}-AP @ 0.5" for part in columns])]
    rows += [(name, [percent(each.ap[name]) for each in columns.values()]) for name in names]
    return "\n".join(
        f"{name:{width}}" + "".join(f"{cell:>16}" for cell in row) for name, row in rows
    )


def mean_rows(evaluations: Sequence[Evaluation]) -> dict[str, list[float | None]]:
    """The mAP of all evaluations in percent, by a name such as "frame-mAP @ 0.5".

    Args:
        evaluations: all with the same thresholds.
    """
    rows: dict[str, list[float | None]] = {}
    for each in evaluations:
        for part, means in each.means.items():
            for name, mean in means.items():
                rows.setdefault(f"{part}-mAP @ {name}", []).append(mean)
    return rows


def comparison_table(evaluation: Evaluation) -> str:
    """The differences to another method: a row for each mAP, in percent."""
    lines = [
        f"{evaluation.protocol.name:24}{'this':>10}{'other':>10}{'difference':>12}"
        f"{f'{LEVEL} % interval':>20}{'sign differs':>14}"
    ]
    for part, differences in evaluation.differences.items():
        for name, each in differences.items():
            lines.append(
                f"{f'{part}-mAP @ {name}':24}{percent(evaluation.means[part][name]):>10}"
                f"{percent(each.other):>10}{each.difference:>+12.2f}"
                f"{f'[{each.interval.low:+.2f}, {each.interval.high:+.2f}]':>20}"
                f"{f'{100 * each.sign_differs:.1f} %':>14}"
            )
    return "\n".join(lines)


def _interval_of(evaluation: Evaluation, row: str) -> str:
    """The interval of a row of `mean_rows`, to stand behind its mAP; "" if there is none."""
    part, _, name = row.partition("-mAP @ ")
    found = evaluation.intervals.get(part, {}).get(name)
    return "" if found is None else f" [{found.low:.2f}, {found.high:.2f}]"


def scores_at(evaluation: Evaluation, threshold: float) -> dict[str, ClassAP]:
    """The scores at one IoU threshold by "frame" and "video", where it was evaluated."""
    return {
        part: each
        for part, scores in evaluation.scores.items()
        for each in scores
        if each.threshold == threshold
    }


def percent(value: float | None) -> str:
    """A number with two decimals; a dash for None."""
    return "-" if value is None else f"{value:.2f}"
