"""One answer to who does what and when: the best of a person's tubes at each time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...datasets.tables import Actions, Tubes, select_rows
from ..boxes.joins import pack_keys

_LEAST_SHARE = 0.5  # of a tube's frames, that no better tube has, for an action


@dataclass(frozen=True, eq=False)
class Spans:
    """From when to when people do things in one video, N rows.

    Attributes:
        person, label: (N,) int64.
        first, last: (N,) int64, frames; both are in it.
        score: (N,) that this person does this here.
    """

    person: np.ndarray
    label: np.ndarray
    first: np.ndarray
    last: np.ndarray
    score: np.ndarray


def choose_actions(tubes: Spans) -> Spans:
    """One action of a person at a time, from tubes that may overlap.

    By falling score each tube takes the frames on which its person does nothing yet; its action is
    the longest run of them, if that is half of the tube or more.

    Args:
        tubes: the first and last frame of each.

    Returns:
        by person and first frame.
    """
    taken: dict[int, list[tuple[int, int]]] = {}
    rows, first, last = [], [], []
    for row in np.argsort(-tubes.score, kind="stable").tolist():
        spans = taken.setdefault(int(tubes.person[row]), [])
        start, stop = int(tubes.first[row]), int(tubes.last[row])
        begin, end = _longest_gap(spans, start, stop)
        if end - begin + 1 >= _LEAST_SHARE * (stop - start + 1):
            spans.append((begin, end))
            rows.append(row)
            first.append(begin)
            last.append(end)
    chosen = select_rows(tubes, np.array(rows, np.int64))
    chosen = replace(chosen, first=np.array(first, np.int64), last=np.array(last, np.int64))
    return select_rows(chosen, np.lexsort((chosen.first, chosen.person)))


def _longest_gap(spans: list[tuple[int, int]], first: int, last: int) -> tuple[int, int]:
    """The longest run of frames in `first` to `last` that is in no span; its last is before its
    first where there is none."""
    best, begin = (first, first - 1), first
    for start, stop in [*sorted(spans), (last + 1, last + 1)]:
        end = min(start - 1, last)
        if end - begin > best[1] - best[0]:
            best = begin, end
        begin = max(begin, stop + 1)
    return best


def boxes_of_actions(tubes: Tubes, actions: Actions) -> Tubes:
    """The rows of tubes on the frames of their person's actions.

    Args:
        tubes: of one video, with persons.
        actions: of this video.
    """
    assert tubes.person is not None
    code = {name: number for number, name in enumerate(tubes.label_names)}
    # A label of an action is one of a tube.
    label = np.array([code[actions.label_names[each]] for each in actions.label.tolist()], np.int64)
    sizes = [
        int(max(values.max(initial=0), others.max(initial=0))) + 1
        for values, others in (
            (actions.person, tubes.person), (label, tubes.label),
            (actions.last_frame, tubes.frame),
        )
    ]  # fmt: skip
    starts = pack_keys(*zip((actions.person, label, actions.first_frame), sizes))
    order = np.argsort(starts)
    keys = pack_keys(*zip((tubes.person, tubes.label, tubes.frame), sizes))
    place = np.searchsorted(starts[order], keys, "right") - 1
    row = np.append(order, -1)[place]  # -1, which is before all actions, is the appended one
    inside = np.flatnonzero(row >= 0)
    row = row[inside]
    same = (actions.person[row] == tubes.person[inside]) & (label[row] == tubes.label[inside])
    return select_rows(tubes, inside[same & (tubes.frame[inside] <= actions.last_frame[row])])
