"""Precision, recall and F1 by score, for those who must choose a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .average_precision import RankedMatches
from .evaluate import Evaluation

SCORES = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class OperatingPoint:
    """What remains of the detections that score at least `threshold`.

    Attributes:
        threshold: 0..1.
        precision: percent of them that match; 100 where none is left.
        recall: percent of the ground truth that they match.
        f1: the harmonic mean of both.
        detections: their number.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    detections: int


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """The numbers after each distinct score, best first; classes without ground truth are left out.

    Attributes:
        score: (N,) falling.
        num_hits, num_found: (N,) of the detections that score at least that.
        num_positives: number of ground truths.
    """

    score: np.ndarray
    num_hits: np.ndarray
    num_found: np.ndarray
    num_positives: int

    @property
    def f1(self) -> np.ndarray:
        """(N,) percent."""
        return 200 * self.num_hits / (self.num_found + self.num_positives)

    def at(self, threshold: float) -> OperatingPoint:
        """What remains at a threshold."""
        index = int(np.searchsorted(-self.score, -threshold, "right")) - 1
        hits, found = (0, 0) if index < 0 else (self.num_hits[index], self.num_found[index])
        return OperatingPoint(
            threshold=threshold, precision=100 * float(hits / found) if found else 100.0,
            recall=100 * float(hits / self.num_positives),
            f1=200 * float(hits / (found + self.num_positives)), detections=int(found),
        )  # fmt: skip

    def best(self) -> OperatingPoint | None:
        """The threshold of the highest F1, of equals the highest; None without detections."""
        return self.at(float(self.score[np.argmax(self.f1)])) if len(self.score) else None


def score_curve(matches: RankedMatches, iou: float, label: str | None = None) -> ScoreCurve:
    """Counts of one class, or of all classes together.

    A better detection never loses its match to a worse one, so what is below a threshold changes
    nothing above it.

    Args:
        matches: of an `Evaluation`.
        iou: one of its IoU thresholds.
        label: a class with ground truth; None for all of them.
    """
    classes = [each for each in matches.classes if label in (None, each[0])]
    hits = np.concatenate([matches.hits[iou][:0], *(matches.hits[iou][r] for _, r, _ in classes)])
    score = np.concatenate([matches.score[:0], *(matches.score[rows] for _, rows, _ in classes)])
    order = np.argsort(-score, kind="stable")
    score, num_hits = score[order], np.cumsum(hits[order])
    last = np.flatnonzero(np.diff(score, append=-1.0))  # of equal scores
    positives = sum(count for _, _, count in classes)
    return ScoreCurve(score[last], num_hits[last], last + 1, positives)


def precision_recall_json(evaluation: Evaluation, iou: float) -> dict[str, Any]:
    """The object that `evaluate --json` writes under "precision_recall".

    Raises:
        InputError: as `require_iou`.
    """
    require_iou(evaluation, iou)
    result: dict[str, Any] = {"iou": iou}
    for part, matches in evaluation.matches.items():
        curve = score_curve(matches, iou)
        result[part] = {
            "best": _as_json(curve.best()),
            "by_threshold": [_as_json(curve.at(score)) for score in SCORES],
            "best_by_class": {
                name: _as_json(score_curve(matches, iou, name).best())
                for name, _, _ in matches.classes
            },
        }
    return result


def precision_recall_table(evaluation: Evaluation, iou: float) -> str:
    """Text: a row for each score threshold, then the best one and that of each class."""
    require_iou(evaluation, iou)
    lines: list[str] = []
    for part, matches in evaluation.matches.items():
        curve = score_curve(matches, iou)
        things = "detections" if part == "frame" else "tubes"
        lines += [
            f"{part} @ IoU {iou:g}, all classes with ground truth together ({things} that score at "
            "least the threshold)",
            f"{'threshold':24}{'precision':>10}{'recall':>10}{'F1':>10}{things:>12}",
            *(_row(f"{score:g}", curve.at(score)) for score in SCORES),
            _row("best F1", curve.best(), exact=True),
            *(
                _row(f"  {name}", score_curve(matches, iou, name).best(), exact=True)
                for name, _, _ in matches.classes
            ),
            "",
        ]
    return "\n".join(lines[:-1])


def require_iou(evaluation: Evaluation, iou: float) -> None:
    """Refuses an IoU that was not evaluated.

    Raises:
        InputError: names the option that adds it.
    """
    for part, matches in evaluation.matches.items():
        if iou not in matches.hits:
            known = " ".join(f"{each:g}" for each in matches.hits)
            raise InputError(
                f"--precision-recall {iou:g}: {part}-mAP is not evaluated at this IoU ({known}); "
                f"add it with --{part}-iou"
            )


def _as_json(point: OperatingPoint | None) -> dict[str, Any] | None:
    return None if point is None else asdict(point)


def _row(name: str, point: OperatingPoint | None, exact: bool = False) -> str:
    if point is None:
        return f"{name:24}{'no detections':>20}"
    if exact:
        name = f"{name} {point.threshold:.4f}"
    cells: Sequence[float] = (point.precision, point.recall, point.f1)
    return f"{name:24}" + "".join(f"{cell:>10.2f}" for cell in cells) + f"{point.detections:>12}"
