"""Greedy one-to-one matching, best score first, on many frames at once."""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections, Tubelets


def sort_by_preference(proposer: np.ndarray, target: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sorts pairs by proposer, then from its most to its least preferred target.

    Args:
        proposer: (P,) index, ascending.
        target: (P,) index, ascending for each proposer.
        value: (P,) the higher, the more the proposer prefers the target; of equal ones the lower
            index is preferred.

    Returns:
        (P,) order of the pairs.
    """
    order = np.arange(len(proposer))
    has_choice = _has_equal_neighbor(np.diff(proposer) == 0, len(order))
    rows = order[has_choice]
    order[has_choice] = rows[np.lexsort((target[rows], -value[rows], proposer[rows]))]
    return order


def greedy_match(proposer: np.ndarray, target: np.ndarray, num_targets: int) -> np.ndarray:
    """Matches in the order of the proposers: each takes its most preferred target that is free.

    This is the loop over detections by falling score in every public evaluator. It is computed
    without the loop: where all targets rank their proposers alike, the one-at-a-time order gives
    the only stable matching, and deferred acceptance (Gale & Shapley 1962) finds the same one
    with all proposers acting at once. Work is linear in the pairs.

    Args:
        proposer: (P,) index, ascending: the order in which they choose; numbers may be skipped.
        target: (P,) for each proposer its targets, most preferred first.
        num_targets: how many targets there are.

    Returns:
        (P,) bool, the matched pairs: each proposer and each target is in at most one.
    """
    pair = np.flatnonzero(np.diff(proposer, prepend=-1))  # the one each proposer tries next
    end = np.append(pair[1:], len(proposer))
    no_match = len(pair)
    match = np.full(num_targets, no_match)  # position in `pair` of each target's proposer
    active = np.arange(no_match)
    while len(active):
        choice = target[pair[active]]
        before = match[choice]
        np.minimum.at(match, choice, active)
        after = match[choice]
        lost = active[after != active]
        displaced = np.unique(before[(before != after) & (before < no_match)])
        rejected = np.concatenate([lost, displaced])
        pair[rejected] += 1
        active = rejected[pair[rejected] < end[rejected]]
    matched = np.zeros(len(proposer), bool)
    matched[pair[match[match < no_match]]] = True
    return matched


def first_of_each(proposer: np.ndarray) -> np.ndarray:
    """(P,) bool: is it the first pair of its proposer? `proposer` (P,) is ascending."""
    return np.diff(proposer, prepend=-1) != 0


def rank_by_score(detections: Detections | Tubelets, group: np.ndarray | None = None) -> np.ndarray:
    """Ranks detections within groups, best score first.

    Equal scores are ordered by video, frame and (first) box, so that shuffled rows are ranked the
    same.

    Args:
        detections: R boxes or tubelets.
        group: (R,) integers from 0; None groups by label.

    Returns:
        (R,) row numbers, group by group.
    """
    group = detections.label if group is None else group
    order = np.argsort(-detections.score)
    # Short integers of few values are sorted in linear time.
    short = np.uint16 if group.max(initial=0) < 2**16 else group.dtype
    order = order[np.argsort(group[order].astype(short), kind="stable")]
    same = (np.diff(detections.score[order]) == 0) & (np.diff(group[order]) == 0)
    tied = _has_equal_neighbor(same, len(order))
    rows = order[tied]
    boxes = detections.boxes.take(rows, axis=0)
    boxes = boxes[:, 0] if boxes.ndim == 3 else boxes
    keys = (*boxes.T, detections.frame[rows], detections.video[rows])
    order[tied] = rows[np.lexsort((*keys, -detections.score[rows], group[rows]))]
    return order


def _has_equal_neighbor(same: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool: is row i equal to the one before or after? `same[i]`: is it to row i + 1?"""
    result = np.zeros(count, bool)
    result[1:] |= same
    result[:-1] |= same
    return result
