"""Which detection gets which ground truth: best score first, many frames at once."""

from __future__ import annotations

import numpy as np

from ...datasets.tables import Detections


def sort_by_preference(proposer: np.ndarray, target: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """(P,) order of pairs: proposers ascending, each one's targets from the most wanted.

    Args:
        proposer: (P,) ascending, and for each of them `target` ascending.
        target: (P,) index of the target of each pair.
        worth: (P,) how much the proposer wants this target; of equal ones, the lower index.
    """
    order = np.arange(len(proposer))
    same = np.diff(proposer) == 0
    several = np.zeros(len(order), bool)
    several[1:] |= same
    several[:-1] |= same
    rows = order[several]
    order[several] = rows[np.lexsort((target[rows], -worth[rows], proposer[rows]))]
    return order


def greedy_match(proposer: np.ndarray, target: np.ndarray, targets: int) -> np.ndarray:
    """Serves proposers in order; each takes the target it wants most among those still free.

    That is the loop over detections by falling score in every public evaluator. It is computed
    without the loop: where all targets rank their proposers alike, the one-at-a-time order gives
    the only stable matching, and deferred acceptance (Gale & Shapley 1962) finds the same one
    with all proposers acting at once. Work is linear in the pairs.

    Args:
        proposer: (P,) who is served when, ascending; numbers may be skipped.
        target: (P,) for each proposer its targets, most wanted first.
        targets: how many targets there are.

    Returns:
        (P,) bool, the pairs that were made: each proposer and each target in at most one.
    """
    pointer = np.flatnonzero(np.diff(proposer, prepend=-1))
    end = np.append(pointer[1:], len(proposer))
    nobody = len(pointer)
    holder = np.full(targets, nobody)
    active = np.arange(nobody)
    while len(active):
        choice = target[pointer[active]]
        before = holder[choice]
        np.minimum.at(holder, choice, active)
        after = holder[choice]
        lost = active[after != active]
        displaced = np.unique(before[(before != after) & (before < nobody)])
        rejected = np.concatenate([lost, displaced])
        pointer[rejected] += 1
        active = rejected[pointer[rejected] < end[rejected]]
    made = np.zeros(len(proposer), bool)
    made[pointer[holder[holder < nobody]]] = True
    return made


def first_of_each(proposer: np.ndarray) -> np.ndarray:
    """(P,) bool: the first pair of each proposer, `proposer` ascending."""
    return np.diff(proposer, prepend=-1) != 0


def rank_by_score(detections: Detections, group: np.ndarray | None = None) -> np.ndarray:
    """Rows group by group, best score first; equal scores in an order that no shuffling changes.

    Args:
        detections: R boxes.
        group: (R,) what to sort by first; None is by label.
    """
    group = detections.label if group is None else group
    order = np.argsort(-detections.score)
    # Few values sort in linear time if they are short.
    small = np.uint16 if group.max(initial=0) < 2**16 else group.dtype
    order = order[np.argsort(group[order].astype(small), kind="stable")]
    same = (np.diff(detections.score[order]) == 0) & (np.diff(group[order]) == 0)
    tied = np.zeros(len(order), bool)
    tied[1:] |= same
    tied[:-1] |= same
    rows = order[tied]
    keys = (*detections.boxes[rows].T, detections.frame[rows], detections.video[rows])
    order[tied] = rows[np.lexsort((*keys, -detections.score[rows], group[rows]))]
    return order
