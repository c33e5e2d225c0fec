"""An evaluation as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import KINDS, mean_errors
from .evaluate import Evaluation, coco_average
from .frames import ClassScores

# What the public code of a protocol does that a reader of its numbers should know.
_REMARKS = {
    "act": "no envelope over the curve; tubes that overlap a better one by over 0.3 are dropped",
    "multisports": "a tube of n frames counts as n - 1 long, so tubes of one frame never match",
    "road": "detected tubes are compared one pixel further right and down, as in its MATLAB code",
    "yowo": "detections on frames without ground truth do not count; recall ends below 100 by 1e-5",
}


def summary(evaluations: Sequence[Evaluation]) -> str:
    """Tables of the means, side by side by protocol, then what is particular to each protocol."""
    width = max(12, *(len(each.protocol.name) + 2 for each in evaluations))
    head = " " * 24 + "".join(f"{each.protocol.name:>{width}}" for each in evaluations)
    lines = [head]
    for part in ("frame", "video"):
        columns = [_means(getattr(each, part)) for each in evaluations]
        lines += [
            f"{part + '-mAP @ ' + name:24}"
            + "".join(f"{_percent(column[name]):>{width}}" for column in columns)
            for name in columns[0]
        ]
    for part in ("frame", "video"):
        if getattr(evaluations[0], f"{part}_errors"):
            columns = [mean_errors(getattr(each, f"{part}_errors")) for each in evaluations]
            lines.append("")
            lines.append(f"{part} errors @ {evaluations[0].error_threshold:g} (they add to 100)")
            lines += [
                f"  {kind:22}" + "".join(f"{_percent(column[kind]):>{width}}" for column in columns)
                for kind in KINDS
            ]
    lines.append("")
    lines += [
        f"{each.protocol.name}: {_REMARKS[each.protocol.name]}"
        for each in evaluations
        if each.protocol.name in _REMARKS
    ]
    return "\n".join(lines)


def class_table(evaluation: Evaluation) -> str:
    """AP of each class at 0.5, frame and video, under one protocol."""
    columns = {}
    for part, scores in (("frame", evaluation.frame), ("video", evaluation.video)):
        at_half = next((each for each in scores if each.threshold == 0.5), None)
        if at_half is not None:
            columns[f"{part}-AP @ 0.5"] = at_half.ap
    if not columns:
        return ""
    names = list(next(iter(columns.values())))
    width = max(24, *(len(name) + 2 for name in names))
    lines = [f"{'class':{width}}" + "".join(f"{title:>16}" for title in columns)]
    lines += [
        f"{name:{width}}" + "".join(f"{_percent(ap[name]):>16}" for ap in columns.values())
        for name in names
    ]
    return "\n".join(lines)


def _means(scores: Sequence[ClassScores]) -> dict[str, float | None]:
    means = {f"{each.threshold:g}": each.mean for each in scores}
    averaged = coco_average(scores)
    if averaged is not None:
        means["0.5:0.95"] = averaged.mean
    return means


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
