"""The linkers on the same detections: how good and how steady their tubes are, and their time."""

from __future__ import annotations

import time
import timeit
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from ...datasets.tables import Detections, Tubes
from ..boxes.iou import rowwise_iou
from ..boxes.joins import join, row_keys
from ..evaluation.evaluate import evaluate_tables
from ..evaluation.protocols import PROTOCOLS
from ..linking.interface import Calibration
from ..linking.linker import link
from ..linking.persons import PersonsConfig
from ..linking.trimming import trim_two_labels

_METHODS: dict[str, Mapping[str, Any]] = {
    "act": {"linker": "act"},
    "act, boxes from 0.4": {"linker": "act", "min_box_score": 0.4},
    "viterbi": {"linker": "viterbi"},
    "viterbi, trimmed": {"linker": "viterbi"},
    "online": {"linker": "online"},
    "online, trimmed": {"linker": "online"},
    "persons": {"linker": "persons"},
    "persons, calibrated": {"linker": "persons"},
}
_THRESHOLDS = (0.2, 0.5, 0.75)
_COVERS = 0.5  # least IoU of a tube's box with the true one that it follows


def compare_linkers(
    truth: Tubes, detections: Detections, calibration: Calibration | None = None, repeats: int = 3
) -> list[dict[str, Any]]:
    """Links the detections with each method in turn, several times.

    Args:
        truth: the ground truth, with the same names of videos and labels.
        detections: of its videos.
        calibration: of the detector; None leaves out the row with it.
        repeats: how often; the shortest time counts.

    Returns:
        for each method `video_map` by threshold in percent, `switches`, `tubes` and `seconds` of
        processor time.
    """
    methods = {
        name: options for name, options in _METHODS.items()
        if calibration is not None or name != "persons, calibrated"
    }  # fmt: skip
    seconds = dict.fromkeys(methods, float("inf"))
    tubes: dict[str, Tubes] = {}

    def run(name: str) -> None:
        known = calibration if name.endswith("calibrated") else None
        tubes[name] = link(detections, calibration=known, **methods[name])
        if name.endswith("trimmed"):
            tubes[name] = trim_two_labels(tubes[name])

    # Round by round, so that a busy moment of the machine does not hit one method alone.
    for _ in range(repeats):
        for name in methods:
            timer = timeit.Timer(partial(run, name), timer=time.process_time)
            seconds[name] = min(seconds[name], timer.timeit(1))
    return [
        {
            "method": name, "video_map": video_map(truth, tubes[name]),
            "switches": count_switches(truth, tubes[name]),
            "tubes": len(np.unique(tubes[name].tube)), "seconds": seconds[name],
        }
        for name in methods
    ]  # fmt: skip


def halve_and_double(
    truth: Tubes, detections: Detections, calibration: Calibration | None = None
) -> list[dict[str, Any]]:
    """The tubes of `persons` with each of its numbers halved and doubled, an IoU up to 1.

    Returns:
        for each number its name, and for each value of it `video_map`.
    """
    rows = []
    for name, usual in _numbers(calibration):
        most = 1.0 if name in ("iou", "merge_iou", "boundary") else float("inf")
        values = [type(usual)(usual / 2), usual, type(usual)(min(2 * usual, most))]
        maps = [
            video_map(truth, link(detections, "persons", calibration=calibration, **{name: value}))
            for value in values
        ]
        rows.append({"number": name, "values": values, "video_map": maps})
    return rows


def _numbers(calibration: Calibration | None) -> Iterator[tuple[str, Any]]:
    """The parameters of `persons`, those of the calibration where there is one."""
    usual = PersonsConfig()
    for each in fields(usual):
        yield each.name, getattr(calibration, each.name, getattr(usual, each.name))


def video_map(truth: Tubes, tubes: Tubes) -> dict[str, float | None]:
    """Video-mAP in percent by threshold, by the protocol `act`."""
    (result,) = evaluate_tables(truth, PROTOCOLS[:1], None, tubes)
    scores: dict[str, float | None] = result.as_json()["video_map"]
    return scores


def count_switches(truth: Tubes, tubes: Tubes) -> int:
    """How often the tube that follows a true one is another than before.

    On each frame that is the tube of its class with the highest score of those that overlap it by
    0.5 or more; frames without one do not count.

    Args:
        truth, tubes: with the same names of videos and labels.
    """
    assert tubes.tube_score is not None
    keys, other_keys = row_keys([truth, tubes], "video", "frame", "label")
    order = np.argsort(other_keys, kind="stable")
    row, other = join(keys, other_keys[order])
    other = order[other]
    near = rowwise_iou(truth.boxes[row], tubes.boxes[other]) >= _COVERS
    row, other = row[near], other[near]
    best = np.lexsort((tubes.tube[other], -tubes.tube_score[other], row))
    best = best[np.diff(row[best], prepend=-1) != 0]
    row, other = row[best], other[best]
    by_time = np.lexsort((truth.frame[row], truth.tube[row]))
    same = np.diff(truth.tube[row[by_time]]) == 0
    return int((same & (np.diff(tubes.tube[other[by_time]]) != 0)).sum())


def linkers_table(rows: list[dict[str, Any]]) -> str:
    """The result of `compare_linkers` as a table in Markdown."""
    names = [*(f"@{threshold}" for threshold in _THRESHOLDS), "@0.5:0.95"]
    lines = [
        f"| method | {' | '.join(names)} | switches | tubes | seconds |",
        "|---" * (len(names) + 4) + "|",
    ]
    for row in rows:
        cells = [_percent(row["video_map"][name[1:]]) for name in names]
        cells += [f"{row['switches']:,}", f"{row['tubes']:,}", f"{row['seconds']:.2f}"]
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread_table(rows: list[dict[str, Any]]) -> str:
    """The result of `halve_and_double` as a table in Markdown."""
    lines = ["| number | half | value | double | half | as it is | double |", "|---" * 7 + "|"]
    for row in rows:
        values = [f"{value:g}" for value in row["values"]]
        scores = [_percent(each["0.5"]) for each in row["video_map"]]
        lines.append(f"| {row['number']} | {' | '.join(values + scores)} |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
