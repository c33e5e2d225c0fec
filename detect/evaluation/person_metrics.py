"""HOTA and IDF1: how well persons are found and kept apart over time, whatever they do.

HOTA is Luiten et al. 2021 (IJCV), IDF1 Ristani et al. 2016; both as TrackEval computes them: boxes
are x2 - x1 wide, HOTA is the mean over IoU 0.05 to 0.95, IDF1 is at IoU 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...datasets.errors import InputError
from ...datasets.tables import PersonRows, Tubes, select_rows
from ..boxes.iou import pairwise_iou

_ALPHAS = np.arange(0.05, 0.99, 0.05)
_EPSILON = np.finfo(float).eps


@dataclass(frozen=True)
class PersonScores:
    """All numbers are percent.

    Attributes:
        hota: the geometric mean of the next two, averaged over the IoU thresholds.
        detection, association: DetA and AssA, averaged likewise.
        idf1, id_precision, id_recall: of the best one-to-one pairing of persons.
    """

    hota: float
    detection: float
    association: float
    idf1: float
    id_precision: float
    id_recall: float

    def as_json(self) -> dict[str, float]:
        """The object that `evaluate --json` writes under "persons"."""
        return {"HOTA": self.hota, "DetA": self.detection, "AssA": self.association,
                "IDF1": self.idf1, "IDP": self.id_precision, "IDR": self.id_recall}  # fmt: skip


def person_scores(ground_truth: Tubes, persons: PersonRows) -> PersonScores:
    """Scores persons over all videos together.

    A person who does two things at once has two boxes on a frame, of which the best-scored counts.

    Args:
        ground_truth: with persons.
        persons: with `person`, and the ground truth's names of videos.

    Raises:
        InputError: one of them has no persons.
    """
    if ground_truth.person is None:
        raise InputError(
            "--persons: the ground truth has no column person; add one (where each tube is a "
            "person of its own, the number of the tube)"
        )
    if persons.person is None:
        raise InputError("--persons: the file has no column person")
    truth = _one_box_a_frame(ground_truth)
    found = _one_box_a_frame(persons)
    hits = np.zeros(len(_ALPHAS))
    association = np.zeros(len(_ALPHAS))
    identity_hits = 0
    for video in range(len(ground_truth.video_names)):
        parts = [select_rows(table, table.video == video) for table in (truth, found)]
        if len(parts[0]) and len(parts[1]):
            video_hits, video_association, video_identity = _score_video(*parts)
            hits += video_hits
            association += video_association
            identity_hits += video_identity
    total = len(truth) + len(found)
    detection = hits / np.maximum(total - hits, 1)
    association /= np.maximum(hits, 1)
    return PersonScores(
        hota=100 * float(np.sqrt(detection * association).mean()),
        detection=100 * float(detection.mean()), association=100 * float(association.mean()),
        idf1=200 * identity_hits / max(total, 1),
        id_precision=100 * identity_hits / max(len(found), 1),
        id_recall=100 * identity_hits / max(len(truth), 1),
    )  # fmt: skip


def person_table(scores: PersonScores) -> str:
    """A line of text for people."""
    cells = "".join(f"{name:>8}{value:7.2f}" for name, value in scores.as_json().items())
    return f"persons{cells}"


def _one_box_a_frame(table: Tubes | PersonRows) -> PersonRows:
    """The best-scored row of each person on each frame, video by video and frame by frame."""
    assert table.person is not None
    score = np.zeros(len(table)) if table.score is None else table.score
    order = np.lexsort((-score, table.person, table.frame, table.video))
    keys = np.stack([table.video, table.frame, table.person])[:, order]
    first = np.append(True, np.diff(keys, axis=1).any(axis=0))[: len(order)]
    rows = order[first]
    return PersonRows(
        video=table.video[rows], frame=table.frame[rows], score=score[rows],
        boxes=table.boxes[rows], person=table.person[rows], video_names=table.video_names,
    )  # fmt: skip


def _score_video(truth: PersonRows, found: PersonRows) -> tuple[np.ndarray, np.ndarray, int]:
    """(A,) matched boxes and (A,) their summed association by threshold; identity's hits."""
    from scipy.optimize import linear_sum_assignment

    assert truth.person is not None and found.person is not None
    _, true_id, true_count = np.unique(truth.person, return_inverse=True, return_counts=True)
    _, found_id, found_count = np.unique(found.person, return_inverse=True, return_counts=True)
    shape = (len(true_count), len(found_count))
    potential, identity = np.zeros(shape), np.zeros(shape, np.int64)
    frames = []
    for left, right in _shared_frames(truth.frame, found.frame):
        iou = pairwise_iou(truth.boxes[left], found.boxes[right])
        ids = np.ix_(true_id[left], found_id[right])
        either = iou.sum(axis=0)[None] + iou.sum(axis=1)[:, None] - iou
        potential[ids] += np.divide(iou, either, out=np.zeros_like(iou), where=either > _EPSILON)
        identity[ids] += iou >= 0.5
        frames.append((ids, iou))
    alignment = potential / (true_count[:, None] + found_count[None] - potential)
    matches = np.zeros((len(_ALPHAS), *shape))
    for ids, iou in frames:
        rows, columns = linear_sum_assignment(-alignment[ids] * iou)
        near = iou[rows, columns] >= _ALPHAS[:, None] - _EPSILON
        matches[:, ids[0][rows, 0], ids[1][0, columns]] += near
    either_count = true_count[:, None] + found_count[None] - matches
    association = (matches * matches / np.maximum(either_count, 1)).sum(axis=(1, 2))
    rows, columns = linear_sum_assignment(-identity)
    return matches.sum(axis=(1, 2)), association, int(identity[rows, columns].sum())


def _shared_frames(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """The rows of each frame that both have; both (R,) ascending."""
    for frame in np.intersect1d(left, right):
        yield tuple(slice(*np.searchsorted(each, [frame, frame + 1])) for each in (left, right))  # type: ignore[misc]
