"""What the demo shows beside the usual report: which way time runs, and a sheet of pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import join, pack_keys

if TYPE_CHECKING:
    from ..visualization.page import Table


@dataclass(frozen=True)
class PairScores:
    """How well a detector tells the two classes of a time-direction pair apart.

    Attributes:
        ap: of each class, frame AP at IoU 0.5 in percent.
        right: percent of the pair's ground truth boxes where, of the detections that overlap them
            by 0.5 or more, the best of the true class scores higher than the best of the other;
            50 is chance. None where nothing overlaps.
    """

    ap: tuple[float | None, float | None]
    right: float | None


I2D = {
    "sit down / stand up": PairScores((28.5, 44.7), 52.1),
    "pick up / put down": PairScores((37.4, 45.1), 44.6),
    "push / pull": PairScores((59.0, 66.6), 60.0),
}
"""What `actiontubes demo --backbone i2d --out i2d` wrote to i2d/pairs.json (12 tubes a pair)."""


def score_pairs(
    truth: Tubes,
    detections: Detections,
    frame_ap: Mapping[str, float | None],
    pairs: Sequence[tuple[str, str]],
) -> dict[str, PairScores]:
    """The scores of pairs of classes by name, "sit down / stand up".

    Args:
        truth, detections: with the same names of videos and labels.
        frame_ap: by class, in percent.
        pairs: of classes.
    """
    return {
        f"{first} / {second}": PairScores(
            (frame_ap[first], frame_ap[second]), pair_accuracy(truth, detections, (first, second))
        )
        for first, second in pairs
    }


def pair_accuracy(truth: Tubes, detections: Detections, pair: tuple[str, str]) -> float | None:
    codes = np.array([truth.label_names.index(name) for name in pair])
    boxes = select_rows(truth, np.isin(truth.label, codes))
    found = select_rows(detections, np.isin(detections.label, codes))
    span = max(int(truth.frame.max(initial=0)), int(detections.frame.max(initial=0))) + 1
    keys, wanted = (
        pack_keys((table.video, len(truth.video_names)), (table.frame, span))
        for table in (found, boxes)
    )
    order = np.argsort(keys, kind="stable")
    box, row = join(wanted, keys[order])
    row = order[row]
    near = rowwise_iou(boxes.boxes[box], found.boxes[row]) >= 0.5
    box, row = box[near], row[near]
    mine = found.label[row] == boxes.label[box]
    best, other = np.zeros((2, len(boxes)))
    np.maximum.at(best, box[mine], found.score[row[mine]])
    np.maximum.at(other, box[~mine], found.score[row[~mine]])
    won, lost = int((best > other).sum()), int((best < other).sum())
    return 100 * won / (won + lost) if won + lost else None


def pairs_table(columns: Mapping[str, Mapping[str, PairScores]]) -> Table:
    """The pairs as a table's heads and rows.

    Args:
        columns: the pairs' scores by the name of a detector.
    """
    heads = ["pair", *(head for x in columns for head in (f"{x}: AP", "right"))]
    rows = []
    for name in dict.fromkeys(name for pairs in columns.values() for name in pairs):
        row = [name]
        for pairs in columns.values():
            row += [" / ".join(map(_percent, pairs[name].ap)), _percent(pairs[name].right)]
        rows.append(row)
    return heads, rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def make_demo_data(folder: Path, videos: int, seed: int) -> None:
    """Draws the data set, or takes over the one that an earlier run with the same options drew."""
    from ...datasets.errors import InputError
    from ...datasets.figures.dataset import make_figure_dataset
    from ...datasets.files import write_json

    made, options = folder / "figures.json", {"videos": videos, "seed": seed}
    if made.is_file():
        before = json.loads(made.read_text("utf-8"))
        if before != options:
            words = " ".join(f"--{name} {value}" for name, value in before.items())
            raise InputError(
                f"{folder}: was made with {words}; run with the same options, or choose another "
                "--out"
            )
        return
    cores = os.cpu_count() or 1
    make_figure_dataset(folder, train=videos, seed=seed, workers=min(cores, 8) if cores > 1 else 0)
    write_json(options, made)
