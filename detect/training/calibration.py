"""What linking needs to know of a detector's scores, measured on videos that it was not trained on.

The detections of the held-out videos are linked with several values of each parameter, and the
values are taken whose tubes lie best on the ground truth, if that is more than chance. Then the
scores of the tubes are mapped to the probability that a tube is right (Platt 1999, with his
targets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.stats import t as student_t

from ...datasets.clips.detection_set import DetectionSet, select_videos
from ...datasets.tables import Detections, Tubes
from ..evaluation.video_map import index_tubes, tube_overlaps
from ..linking.interface import Calibration, to_log_odds
from ..linking.linker import link

_CHANGE_COSTS = (1.0, 2.0)  # the usual one at least: a lower one splits what flickers
_BOUNDARIES = (0.5, 0.4, 0.6, 0.7, 0.8)
_MOTIONS = (0.03, 0.1, 0.3, 1.0)  # from boxes that need much smoothing to precise ones
_RIGHT_IOU = 0.5
_SIGNIFICANCE = 0.05
_MIN_SCALE = 0.01  # the order of the scores is kept


def hold_out(videos: DetectionSet, most: int) -> tuple[DetectionSet, DetectionSet | None]:
    """The videos to train on, and those to calibrate on.

    Args:
        videos: the training videos, V of them.
        most: how many to hold out; never more than a tenth of them, evenly spread over the list,
            and none without which there would be no video of a class to train on.

    Returns:
        the rest; and those held out, or None for none, as with fewer than ten videos.
    """
    count = min(most, len(videos) // 10)
    spread = (np.arange(count) * len(videos) + len(videos) // 2) // max(count, 1)
    has_class = np.zeros((len(videos), len(videos.labels)), bool)
    has_class[videos.tubes.video, videos.tubes.label] = True
    left, held_out = has_class.sum(axis=0), []
    for row in spread.tolist():
        if (left[has_class[row]] > 1).all():
            left -= has_class[row]
            held_out.append(row)
    rest = np.setdiff1d(np.arange(len(videos)), held_out)
    chosen = select_videos(videos, held_out)
    if not len(chosen.tubes):
        return videos, None
    return select_videos(videos, rest.tolist()), chosen


def fit_calibration(detections: Detections, truth: Tubes) -> Calibration:
    """The calibration of the detector that found these detections.

    Args:
        detections: in videos that it was not trained on.
        truth: of the same videos and labels, one tube at least.

    Returns:
        The usual values are kept where no others give the true tubes a greater IoU by more than
        chance, see `is_more_than_chance`.
    """
    _, lengths = np.unique(truth.tube, return_counts=True)
    usual = Calibration(min_length=max(int(lengths.min()) // 2, 1))
    best = _choose(
        detections, truth,
        [
            replace(usual, change_cost=change_cost, boundary=boundary)
            for change_cost, boundary in product(_CHANGE_COSTS, _BOUNDARIES)
        ],
    )  # fmt: skip
    # Boxes and ends of tubes are nearly independent.
    best = _choose(detections, truth, [replace(best, motion=motion) for motion in _MOTIONS])
    tubes = link(detections, "persons", calibration=best)
    right = _overlaps(tubes, truth).max(axis=1, initial=0) >= _RIGHT_IOU
    score = index_tubes(tubes).score
    assert score is not None
    scale, shift = fit_log_odds(score, right)
    return replace(best, score_scale=scale, score_shift=shift)


def _choose(detections: Detections, truth: Tubes, choices: Sequence[Calibration]) -> Calibration:
    """The choice whose tubes lie best on the truth, of those that are better than the first by more
    than chance; without any, the first."""
    iou = np.stack([_best_iou(detections, truth, choice) for choice in choices])
    gain = iou[1:] - iou[0]
    better = [is_more_than_chance(each, len(gain)) for each in gain]
    if not any(better):
        return choices[0]
    return choices[1 + int(np.where(better, gain.mean(axis=1), -np.inf).argmax())]


def _best_iou(detections: Detections, truth: Tubes, calibration: Calibration) -> np.ndarray:
    """(G,) the IoU of each true tube with the best tube of its class."""
    tubes = link(detections, "persons", calibration=calibration)
    return _overlaps(tubes, truth).max(axis=0, initial=0)


def is_more_than_chance(gain: np.ndarray, num_choices: int) -> bool:
    """Whether some gains are significantly above 0; never for fewer than two.

    Student's one-sided t-test at 5 %, divided by the number of choices that are compared
    (Bonferroni): of ten choices one is often better than the usual by its standard error on the few
    tubes of some clips, and worse on others.

    Args:
        gain: (N,) of paired examples.
        num_choices: that are tested likewise.
    """
    if len(gain) < 2:
        return False
    needed = student_t.ppf(1 - _SIGNIFICANCE / num_choices, len(gain) - 1)
    return bool(gain.mean() > needed * gain.std(ddof=1) / np.sqrt(len(gain)))


def fit_log_odds(score: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Scale and shift of the log-odds of scores that make them probabilities of being right.

    They minimize the cross-entropy. The targets are a little inside 0 and 1, by the number of each
    (Platt 1999), so that few examples do not make certain.

    Args:
        score: (N,) in 0 to 1.
        right: (N,) bool.
    """
    num_right, num_wrong = int(right.sum()), int((~right).sum())
    target = np.where(right, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    odds = to_log_odds(score)

    def loss(values: np.ndarray) -> float:
        logits = values[0] * odds + values[1]
        return float(np.sum(np.logaddexp(0, logits) - target * logits))

    fitted = minimize(loss, np.array([1.0, 0.0]), bounds=[(_MIN_SCALE, None), (None, None)])
    return float(fitted.x[0]), float(fitted.x[1])


def _overlaps(tubes: Tubes, truth: Tubes) -> np.ndarray:
    """(T, G) spatio-temporal IoU of each tube with each ground truth tube of its class, else 0."""
    pairs = tube_overlaps(tubes, truth, ["continuous"], same_label=True)
    overlaps = np.zeros((len(pairs.index), len(pairs.other_index)))
    iou = pairs.spatial_iou["continuous"] * pairs.num_shared / pairs.num_either
    overlaps[pairs.tube, pairs.other] = iou
    return overlaps
