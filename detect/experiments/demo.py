"""What the demo adds to the usual report: the direction of time; and its data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.tables import Detections, Tubes, select_rows
from ..boxes.iou import rowwise_iou
from ..boxes.joins import join, row_keys

if TYPE_CHECKING:
    from ..visualization.page import Table


@dataclass(frozen=True)
class PairScores:
    """How well a detector distinguishes two classes that differ only in the direction of time.

    Attributes:
        ap: of both classes, frame AP at IoU 0.5 in percent.
        right: see `pair_accuracy`.
    """

    ap: tuple[float | None, float | None]
    right: float | None


def score_pairs(
    truth: Tubes,
    detections: Detections,
    frame_ap: Mapping[str, float | None],
    pairs: Sequence[tuple[str, str]],
) -> dict[str, PairScores]:
    """The scores of pairs of classes, by names such as "sit down / stand up".

    Args:
        truth, detections: with the same names of videos and labels.
        frame_ap: by class, in percent.
        pairs: of classes.
    """
    return {
        " / ".join(pair): PairScores(
            (frame_ap[pair[0]], frame_ap[pair[1]]), pair_accuracy(truth, detections, pair)
        )
        for pair in pairs
    }


def pair_accuracy(truth: Tubes, detections: Detections, pair: tuple[str, str]) -> float | None:
    """The percentage of a pair's ground truth boxes on which the true class scores higher.

    On each box the best score of the true class is compared with that of the other class, of the
    detections with IoU 0.5 or more, 0 without any. Ties do not count; 50 is chance.

    Returns:
        None if no detection overlaps a box.
    """
    codes = [truth.label_names.index(name) for name in pair]
    truth = select_rows(truth, np.isin(truth.label, codes))
    detections = select_rows(detections, np.isin(detections.label, codes))
    keys, truth_keys = row_keys([detections, truth], "video", "frame")
    order = np.argsort(truth_keys, kind="stable")
    row, target_row = join(keys, truth_keys[order])
    target_row = order[target_row]
    near = rowwise_iou(truth.boxes[target_row], detections.boxes[row]) >= 0.5
    target_row, row = target_row[near], row[near]
    best = np.zeros((2, len(truth)))  # of the other class, of the true class
    correct = detections.label[row] == truth.label[target_row]
    np.maximum.at(best, (correct.astype(int), target_row), detections.score[row])
    higher, lower = np.sum(best[1] > best[0]), np.sum(best[1] < best[0])
    return float(100 * higher / (higher + lower)) if higher + lower else None


def pairs_table(columns: Mapping[str, Mapping[str, PairScores]]) -> Table:
    """The pairs as column names and rows.

    Args:
        columns: the pairs' scores by the name of a detector.
    """
    names = ["pair", *(name for x in columns for name in (f"{x}: AP", "right"))]
    rows = []
    for pair in dict.fromkeys(pair for scores in columns.values() for pair in scores):
        row = [pair]
        for scores in columns.values():
            row += [" / ".join(map(_percent, scores[pair].ap)), _percent(scores[pair].right)]
        rows.append(row)
    return names, rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def make_demo_data(folder: Path, videos: int, seed: int) -> None:
    """Draws the data set, or uses the one that an earlier run with the same options drew.

    Raises:
        InputError: it was drawn with other options.
    """
    from ...datasets.errors import InputError
    from ...datasets.figures.dataset import make_figure_dataset
    from ...datasets.storage.files import write_json
    from ...datasets.storage.text_files import read_json

    record, options = folder / "figures.json", {"videos": videos, "seed": seed}
    if record.is_file():
        before = read_json(record)
        if before != options:
            words = " ".join(f"--{name} {value}" for name, value in before.items())
            raise InputError(
                f"{folder}: was made with {words}; run with the same options, or choose another "
                "--out"
            )
        return
    cores = os.cpu_count() or 1
    make_figure_dataset(folder, train=videos, seed=seed, workers=min(cores, 8) if cores > 1 else 0)
    write_json(options, record)
