"""From when to when a class is present along a track, by two levels of its scores.

No level is fixed beforehand, since detectors score lower on videos unlike those of their training.
The scores of each class along each track have a level while the class is present and one of the
background. Both, and the noise around them, are estimated in turn with the labels of the boxes:
labels from levels by dynamic programming, levels from labels as means.
"""

from __future__ import annotations

import numpy as np

from .interface import to_log_odds
from .person_tubes import ClassSequences, Stretches

_ROUNDS = 5  # on the demo and UCF101-24 no label changes after the fourth
_MIN_VARIANCE = _MIN_COST = 1e-6


def decode_stretches(
    sequences: ClassSequences,
    change_cost: float,
    max_evidence: float,
    boundary: float = 0.5,
    contrast: float = 2.0,
) -> Stretches:
    """From when to when each class is present.

    Where two levels explain a sequence no better than one, its class is present along the whole
    track: whether it is there at all, the tube's score says. They do where they lower the Bayesian
    information criterion: the second level and each change cost `change_cost` x log(boxes). And the
    levels must differ by more than a detector is more certain of a class here than there: one that
    scores 0.86 in half of a track and 0.81 in the rest sees the class all along.

    Args:
        sequences: the scores.
        change_cost: of a change between present and background, by the logarithm of the number of
            boxes; 1 is that of the Bayesian information criterion for change points (Yao 1988).
        max_evidence: greatest log-odds from one box, so that a few boxes that are wrong change
            nothing.
        boundary: score that is as likely present as background, as a share of the way from the
            lower to the higher level.
        contrast: least ratio of the odds of the two levels.
    """
    score, start, length = sequences.score, sequences.start, sequences.length
    index = np.repeat(np.arange(len(start)), length)

    def means(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        total = np.bincount(index, weight, len(start))
        return np.bincount(index, weight * values, len(start)) / np.maximum(total, 1e-9)

    every = np.ones(len(score))
    mean = means(score, every)
    above = score > mean[index]
    high, low = means(score, above), means(score, ~above)
    variance = one_level = means((score - mean[index]) ** 2, every) + _MIN_VARIANCE
    cost = np.maximum(change_cost * np.log(np.maximum(length, 2)), _MIN_COST)
    present, has_both = above, np.zeros(len(start), bool)
    for _ in range(_ROUNDS):
        middle = low + boundary * (high - low)
        evidence = (score - middle[index]) * ((high - low) / variance)[index]
        evidence = np.clip(evidence, -max_evidence, max_evidence)
        present = decode_present(evidence / cost[index], start, length, 1.0)
        count = np.bincount(index, present, len(start))
        has_both = (count > 0) & (count < length)
        high = np.where(has_both, means(score, present), high)
        low = np.where(has_both, means(score, ~present), low)
        error = score - np.where(present, high[index], low[index])
        variance = np.where(has_both, means(error**2, every) + _MIN_VARIANCE, variance)
    is_change = np.diff(present, prepend=False)
    is_change[start] = False
    changes = np.bincount(index, is_change, len(start))
    better = length / 2 * np.log(one_level / variance) > cost * (changes + 1)
    differ = to_log_odds(high) - to_log_odds(low) >= np.log(contrast)
    return _find_stretches(sequences, present | ~(has_both & better & differ)[index])


def _find_stretches(sequences: ClassSequences, present: np.ndarray) -> Stretches:
    """The runs of boxes labelled present."""
    index = np.repeat(np.arange(len(sequences.start)), sequences.length)
    position = np.arange(len(present)) - sequences.start[index]
    change = np.diff(present, prepend=False) | (position == 0)
    first = np.flatnonzero(present & change)
    is_end = np.append(change[1:], True)
    last = np.flatnonzero(present & is_end)
    return Stretches(index[first], position[first], position[last])


def decode_present(
    gain: np.ndarray, start: np.ndarray, length: np.ndarray, cost: float
) -> np.ndarray:
    """The most likely labels of sequences, present or background, by the Viterbi algorithm.

    A label sequence is worth the sum of the gains of the boxes labelled present, less the cost of
    each change. With two states the algorithm is a clipped sum: what being present now is worth
    more than background is never more than the cost (a change would do better), so the best value
    follows d_t = clip(d_t-1, -cost, cost) + gain_t; and going back the label at t is present where
    d_t > cost, background where d_t < -cost, and that at t + 1 in between.

    Args:
        gain: of all sequences, one after the other: log-odds of present against background.
        start, length: (S,) index and number of each sequence's gains; at least one.
        cost: of a change, 0 or more.

    Returns:
        bool for each gain: is the class present?
    """
    advantage = np.empty(len(gain))
    order = np.argsort(-length, kind="stable")
    start, length = start[order], length[order]
    # How many sequences go on to position t.
    counts = len(length) - np.searchsorted(length[::-1], np.arange(length.max(initial=0)), "right")
    current = np.zeros(len(start))
    for position, count in enumerate(counts.tolist()):
        row = start[:count] + position
        current = np.clip(current[:count], -cost, cost) + gain[row]
        advantage[row] = current
    is_last = np.zeros(len(gain), bool)
    is_last[start + length - 1] = True
    decided = is_last | (np.abs(advantage) > cost)
    # Each takes the label of the next decided one; the last of a sequence is one.
    following = np.flatnonzero(decided)[np.cumsum(decided) - decided]
    return advantage[following] > 0
