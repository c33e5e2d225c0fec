"""Precision and recall curves, and the area under them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

APMethod = Literal["trapezoid", "envelope"]
"""The area that is called average precision.

* "trapezoid": under straight lines between the points of the curve, from (recall 0, precision 1)
  on (pr_to_ap in ACT's ACT.py).
* "envelope": under steps, each precision being the best at that recall or a higher one (PASCAL VOC
  2010 and later).
"""

AVERAGED_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The IoU thresholds of a mean that is printed as 0.5:0.95."""


@dataclass(frozen=True, eq=False)
class ClassAP:
    """Average precision of every class at one IoU threshold.

    Attributes:
        threshold: the IoU threshold.
        ap: percent, by class name; None where there is no ground truth.
        curves: precision and recall, each (D,), by class name, for classes with ground truth.
    """

    threshold: float
    ap: dict[str, float | None]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def mean(self) -> float | None:
        """mAP in percent: the mean over classes with ground truth; None if there is none."""
        values = [value for value in self.ap.values() if value is not None]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True, eq=False)
class RankedMatches:
    """What every number of one protocol follows from: which detections match, and in what order.

    The D detections (boxes or tubes) and G ground truths are all that the protocol evaluates.

    Attributes:
        video, label, score: (D,) of the detections, label by label, best score first.
        hits: (D,) bool by rising IoU threshold: does the detection match a ground truth?
        truth_video, truth_label: (G,) of the ground truths.
        video_names, label_names: names that the codes index.
        classes: those with an AP, from `evaluated_classes`.
        method: the area that is called AP.
        epsilon: see `precision_recall_curve`.
    """

    video: np.ndarray
    label: np.ndarray
    score: np.ndarray
    hits: dict[float, np.ndarray]
    truth_video: np.ndarray
    truth_label: np.ndarray
    video_names: tuple[str, ...]
    label_names: tuple[str, ...]
    classes: list[tuple[str, slice, int]]
    method: APMethod
    epsilon: float = 0.0

    def class_aps(self) -> list[ClassAP]:
        """AP of every class at each IoU threshold."""
        return [self._class_ap(threshold) for threshold in self.hits]

    def _class_ap(self, threshold: float) -> ClassAP:
        ap: dict[str, float | None] = dict.fromkeys(self.label_names)
        curves = {}
        for name, rows, num_positives in self.classes:
            hits = self.hits[threshold][rows]
            curves[name] = precision_recall_curve(hits, num_positives, self.epsilon)
            ap[name] = 100 * average_precision(*curves[name], self.method)
        return ClassAP(threshold, ap, curves)


def precision_recall_curve(
    hits: np.ndarray, num_positives: int, epsilon: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one class after each detection.

    Args:
        hits: (D,) bool, detections by falling score: does it match a ground truth?
        num_positives: number of ground truths, at least 1.
        epsilon: added to `num_positives` (1e-5 in YOWO's video-mAP).

    Returns:
        precision and recall, each (D,) float64 in 0..1.
    """
    num_hits = np.cumsum(hits)
    return num_hits / np.arange(1, len(hits) + 1), num_hits / (num_positives + epsilon)


def split_area(recall: np.ndarray, shares: np.ndarray, method: APMethod) -> np.ndarray:
    """Splits the area below precision 1 among precision and other shares of the detections.

    Args:
        recall: (D,) non-decreasing, 0..1.
        shares: (S, D) after each detection; row 0 is precision, the other rows are the shares of
            kinds of errors. Each column adds to 1 where they are complete.
        method: how AP is computed; an error's share is taken at the same points as the precision.

    Returns:
        (S,) areas in 0..1; of complete shares they add to the last recall.
    """
    if not len(recall):
        return np.zeros(len(shares))
    steps = np.diff(recall, prepend=0.0)
    if method == "trapezoid":
        before = np.zeros_like(shares)
        before[:, 1:] = shares[:, :-1]
        before[0, 0] = 1.0
        return 0.5 * ((shares + before) * steps).sum(axis=1)
    # From where the envelope takes its value: the best precision from here on, the last of equals.
    reversed_precision = shares[0, ::-1]
    best = np.maximum.accumulate(reversed_precision)
    is_new = np.diff(best, prepend=-1.0) > 0
    source = np.maximum.accumulate(np.where(is_new, np.arange(len(best)), 0))
    index = len(best) - 1 - source[::-1]
    return (shares[:, index] * steps).sum(axis=1)


def average_precision(precision: np.ndarray, recall: np.ndarray, method: APMethod) -> float:
    """Area under the curve of one class, 0..1.

    Args:
        precision, recall: (D,) from `precision_recall_curve`.
        method: which area.
    """
    return float(split_area(recall, precision[None], method)[0])


def evaluated_classes(
    labels: np.ndarray,
    truth_labels: np.ndarray,
    label_names: tuple[str, ...],
    ignored: tuple[str, ...],
) -> list[tuple[str, slice, int]]:
    """The classes that have an AP: name, slice of the detections, number of ground truths.

    Args:
        labels: (D,) of the detections, index into `label_names`, ascending.
        truth_labels: (G,) of the ground truths.
        label_names: of all classes.
        ignored: names of classes to leave out; those without ground truth are, too.
    """
    num_positives = np.bincount(truth_labels, minlength=len(label_names))
    bounds = np.searchsorted(labels, np.arange(len(label_names) + 1))
    return [
        (name, slice(bounds[index], bounds[index + 1]), int(num_positives[index]))
        for index, name in enumerate(label_names)
        if num_positives[index] and name not in ignored
    ]
