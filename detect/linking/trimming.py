"""Where in a tube the action is: trimming in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ...datasets.tables import Tubes, select_rows
from .assembly import tube_scores


def trim_two_labels(
    tubes: Tubes, switch: float = 3.0, min_length: int = 8, score_top: int | None = 40
) -> Tubes:
    """Keeps the runs of frames that dynamic programming labels as the action.

    A frame labelled as the class gains its score s, one labelled as background gains 1 - s, and
    each change of label costs `switch`; the labels of the highest total are taken (Saha et al.
    2016). Defaults are those of Singh et al. 2017 (I01onlineTubes.m, convert2eval.m).

    Args:
        tubes: with `score`, each tube without gaps.
        switch: the cost of a change; higher gives fewer, longer runs.
        min_length: runs of fewer frames are dropped.
        score_top: a run's score is the mean of this many best frames; None is all.

    Returns:
        one tube for each run, numbered from 0 in the order of their tubes' numbers and frames.
    """
    assert tubes.score is not None
    order, index, position = _sort_by_tube(tubes)
    score = tubes.score[order]
    length = int(position.max(initial=-1)) + 1
    count = int(index.max(initial=-1)) + 1
    last = np.bincount(index, minlength=count) - 1
    gain = np.zeros((length, count))
    gain[position, index] = score
    # Column 0 is the class, column 1 the background. Frames after a tube's end do not count.
    totals = np.zeros((count, 2))
    switched = np.zeros((length, count, 2), bool)
    for frame in range(length):
        after_switch = totals[:, ::-1] - switch
        switched[frame] = after_switch > totals
        gains = np.stack([gain[frame], 1 - gain[frame]], axis=1)
        new_totals = np.maximum(totals, after_switch) + gains
        totals = np.where((frame <= last)[:, None], new_totals, totals)
    state = totals.argmax(axis=1)
    label = np.zeros((length, count), np.int64)
    columns = np.arange(count)
    for frame in range(length - 1, -1, -1):
        label[frame] = state
        is_switch = switched[frame, columns, state] & (frame <= last)
        state = np.where(is_switch, 1 - state, state)
    action = label[position, index] == 0
    breaks = (np.diff(index, prepend=-1) != 0) | (np.diff(action, prepend=False) != 0)
    run = np.cumsum(breaks)
    chosen = action & (np.bincount(run)[run] >= min_length)
    rows = order[chosen]
    _, number = np.unique(run[chosen], return_inverse=True)
    run_score = tube_scores(number, tubes.score[rows], int(number.max(initial=-1)) + 1, score_top)
    return replace(select_rows(tubes, rows), tube=number, tube_score=run_score[number])


def trim_max_subarray(
    tubes: Tubes, typical_length: Mapping[str, float], penalty: float = 1.0
) -> Tubes:
    """Keeps of each tube the frames that maximise mean score less a penalty on their number.

    They maximise mean score - penalty |length - typical| / typical (Peng & Schmid 2016).

    Args:
        tubes: with `score`, each tube without gaps.
        typical_length: frames that an action lasts, such as its mean in the training set, by class
            name.
        penalty: weight of the length.

    Returns:
        the trimmed tubes with their numbers; `tube_score` is the mean score of what is left.
    """
    assert tubes.score is not None
    order, index, _ = _sort_by_tube(tubes)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    kept = np.zeros(len(order), bool)
    score = np.empty(len(order))
    for low, high in pairwise([*starts, len(order)]):
        typical = typical_length[tubes.label_names[tubes.label[order[low]]]]
        begin, end, mean = best_subarray(tubes.score[order[low:high]], typical, penalty)
        kept[low + begin : low + end] = True
        score[low:high] = mean
    return replace(select_rows(tubes, order[kept]), tube_score=score[kept])


def best_subarray(score: np.ndarray, typical: float, penalty: float) -> tuple[int, int, float]:
    """The consecutive frames of the highest mean less penalty |length - typical| / typical.

    Args:
        score: (L,) in 0 to 1, L at least 1.
        typical: frames.
        penalty: weight of the length.

    Returns:
        the first frame, the frame after the last, and the mean score. Of equal ones the shortest,
        then the first.
    """
    sums = np.concatenate([[0.0], np.cumsum(score)])
    # A mean of at most 1 cannot make up for a larger penalty than that.
    longest = len(score) if penalty <= 0 else min(len(score), int(typical * (1 + 1 / penalty)) + 1)
    best = (-np.inf, 0, 0, 0.0)
    for length in range(1, max(longest, 1) + 1):
        means = (sums[length:] - sums[:-length]) / length
        begin = int(means.argmax())
        value = means[begin] - penalty * abs(length - typical) / typical
        if value > best[0]:
            best = (value, begin, begin + length, float(means[begin]))
    return best[1:]


def mean_tube_lengths(ground_truth: Tubes) -> dict[str, float]:
    """Mean number of frames of a ground truth tube, by class name; classes without are left out.

    Peng & Schmid (2016) take it from the training set.
    """
    _, first, count = np.unique(ground_truth.tube, return_index=True, return_counts=True)
    label = ground_truth.label[first]
    names = ground_truth.label_names
    return {names[code]: float(count[label == code].mean()) for code in np.unique(label)}


def _sort_by_tube(tubes: Tubes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R,) rows by tube and frame, each one's tube from 0, and its position in the tube."""
    order = np.lexsort((tubes.frame, tubes.tube))
    _, first, index = np.unique(tubes.tube[order], return_index=True, return_inverse=True)
    return order, index, np.arange(len(order)) - first[index]
