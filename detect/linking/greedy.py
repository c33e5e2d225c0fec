"""Greedy linking, frame by frame: ACT's tubelet linking and Singh's online paths.

Both serve the tubes of a class in an order of merit; each takes the best box of the new frame that
overlaps its last one; boxes left over start tubes; tubes that find nothing for some frames are
closed. They differ in their parameters only, so they are one linker here. It goes through a video
once and never back: frames can be given as they come, and its tubes be had at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...datasets.tables import Detections, Tubelets, Tubes, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import join
from ..boxes.matching import greedy_match, sort_by_preference
from ..boxes.nms import as_tubelets, nms_rows, nms_tubelets
from .assembly import TubeBoxes, assemble_tubes


@dataclass(frozen=True)
class GreedyConfig:
    """Parameters of greedy linking.

    Attributes:
        suppression: IoU above which a better box of frame and class removes another first.
        soft: suppressed boxes stay with a lower score (MOC).
        top: boxes kept in a frame and class.
        min_box_score: boxes below are not looked at.
        iou: least overlap of a box with the tube's last one (for tubelets the mean over the frames
            that both cover).
        cost: what a tube wants most among overlapping boxes: their score, or the mean of score and
            IoU (3D-RetinaNet).
        gap: a tube closes when nothing was found up to `gap` frames after its last box.
        merit: tubes are served by the mean of all their scores, or of the `gap` + 1 best (Singh).
        min_score: tubes of a lower mean score are dropped.
        min_length: tubes of fewer frames are dropped.
        score_top: a tube's score is the mean of so many best box scores; None is all.
        pixels: how wide a box is.
    """

    suppression: float = 0.3
    soft: bool = False
    top: int | None = 10
    min_box_score: float = 0.0
    iou: float = 0.2
    cost: Literal["score", "score and iou"] = "score"
    gap: int = 5
    merit: Literal["mean", "best"] = "mean"
    min_score: float = 0.01
    min_length: int = 15
    score_top: int | None = None
    pixels: BoxExtent = "inclusive"


# Kalogeiton et al. 2017, ACT.py: BuildTubes.
ACT = GreedyConfig()
# Li et al. 2020, MOC's ACT_build.py: BuildTubes. There a tube closes after K = 7 frames.
MOC = GreedyConfig(suppression=0.6, soft=True, iou=0.5, gap=7, min_score=0.005)
# Singh et al. 2017, actionPaths.m, incremental_linking.m and convert2eval.m. Gaps are filled
# linearly here, there by the box after the gap; trim with two labels as the paper does.
SINGH = GreedyConfig(
    suppression=0.45,
    min_box_score=0.001,
    iou=0.1,
    gap=3,
    merit="best",
    min_score=0.0,
    min_length=8,
    score_top=40,
)
# 3D-RetinaNet's gen_dets.py with the defaults of its README; per class here, there over classes.
RETINANET = GreedyConfig(
    suppression=0.5,
    top=20,
    min_box_score=0.025,
    iou=0.5,
    cost="score and iou",
    gap=4,
    merit="best",
    min_score=0.1,
    min_length=6,
    pixels="continuous",
)


class GreedyLinker:
    """Links boxes that come frame by frame, of one video or of many side by side.

    Boxes of different groups (a class, or a video and class) are never linked.
    """

    def __init__(self, rules: GreedyConfig = ACT) -> None:
        self.rules = rules
        self._linked: list[TubeBoxes] = []
        self._next_tube = 0
        self._open = _OpenTubes.none(length=1, best=rules.gap + 1)

    def update(
        self, frame: int, group: np.ndarray, score: np.ndarray, boxes: np.ndarray
    ) -> np.ndarray:
        """Takes the boxes of the next frame, after suppression.

        Args:
            frame: above that of the last call; frames without boxes may be left out.
            group: (N,) ascending.
            score: (N,) falling within a group.
            boxes: (N, K, 4), or (N, 4); K the same in all calls.

        Returns:
            (N,) number of the tube that each box belongs to.
        """
        boxes = boxes.reshape(len(boxes), -1, 4) if len(boxes) else boxes.reshape(0, 1, 4)
        tubes = self._open.rows(np.flatnonzero(frame - self._open.last <= self.rules.gap))
        tubes = tubes.rows(np.argsort(-tubes.merit(self.rules.merit), kind="stable"))
        proposer, target = join(tubes.group, group)
        iou = _overlap(tubes, boxes, proposer, target, frame, self.rules.pixels)
        near = iou >= self.rules.iou
        proposer, target = proposer[near], target[near]
        if self.rules.cost == "score and iou":
            wanted = sort_by_preference(proposer, target, score[target] + iou[near])
            proposer, target = proposer[wanted], target[wanted]
        made = greedy_match(proposer, target, len(group))
        taker = np.full(len(group), -1)
        taker[target[made]] = proposer[made]
        found, fresh = np.flatnonzero(taker >= 0), np.flatnonzero(taker < 0)
        tube = np.empty(len(group), np.int64)
        tube[found] = tubes.tube[taker[found]]
        tube[fresh] = self._next_tube + np.arange(len(fresh))
        self._next_tube += len(fresh)
        if len(boxes):
            if len(found):
                tubes.extend(taker[found], frame, score[found], boxes[found])
            self._open = tubes.joined(tube[fresh], group[fresh], frame, score[fresh], boxes[fresh])
            self._linked.append(TubeBoxes(np.full(len(group), frame), tube, group, score, boxes))
        else:
            self._open = tubes
        return tube

    def linked(self) -> TubeBoxes:
        """All boxes so far with the number of their tube, but those taken."""
        self._linked = [TubeBoxes.concatenate(self._linked)]
        return self._linked[0]

    def close(self, tubes: np.ndarray) -> None:
        """Lets some tubes grow no more, by their numbers; what follows them starts new ones."""
        self._open = self._open.rows(np.flatnonzero(~np.isin(self._open.tube, tubes)))

    def take_closed(self) -> TubeBoxes:
        """The boxes of tubes that can grow no more; they are then forgotten."""
        linked = self.linked()
        growing = np.isin(linked.tube, self._open.tube)
        self._linked = [linked.rows(growing)]
        return linked.rows(~growing)


@dataclass(eq=False)
class _OpenTubes:
    """The state of tubes that can still grow: (T,) columns, last boxes (T, K, 4)."""

    tube: np.ndarray
    group: np.ndarray
    last: np.ndarray
    count: np.ndarray
    total: np.ndarray
    best: np.ndarray
    boxes: np.ndarray

    @classmethod
    def none(cls, length: int, best: int) -> _OpenTubes:
        whole = np.empty(0, np.int64)
        empty = np.empty((0, best))
        return cls(whole, whole, whole, whole, np.empty(0), empty, np.empty((0, length, 4)))

    def rows(self, chosen: np.ndarray) -> _OpenTubes:
        return _OpenTubes(*(values.take(chosen, axis=0) for values in vars(self).values()))

    def merit(self, by: str) -> np.ndarray:
        """(T,) what tubes are served by."""
        if by == "mean":
            return self.total / self.count
        return self.best.sum(axis=1) / np.minimum(self.count, self.best.shape[1])

    def extend(self, rows: np.ndarray, frame: int, score: np.ndarray, boxes: np.ndarray) -> None:
        """Each of `rows` gets one box."""
        self.last[rows] = frame
        self.count[rows] += 1
        self.total[rows] += score
        self.boxes[rows] = boxes
        least = self.best[rows].argmin(axis=1)
        self.best[rows, least] = np.maximum(self.best[rows, least], score)

    def joined(
        self, tube: np.ndarray, group: np.ndarray, frame: int, score: np.ndarray, boxes: np.ndarray
    ) -> _OpenTubes:
        """These tubes and new ones of one box each."""
        best = np.zeros((len(tube), self.best.shape[1]))
        best[:, 0] = score
        new = (tube, group, np.full(len(tube), frame), np.ones(len(tube), np.int64), score, best)
        old = list(vars(self).values())
        if not len(self.boxes):
            old[-1] = np.empty((0, *boxes.shape[1:]))
        return _OpenTubes(*(np.concatenate(pair) for pair in zip(old, (*new, boxes))))


def link_greedily(detections: Detections | Tubelets, rules: GreedyConfig = ACT) -> Tubes:
    """Links the boxes of every video and class into tubes.

    Args:
        detections: boxes, or tubelets of K frames.
        rules: the parameters; `ACT`, `MOC`, `SINGH` and `RETINANET` are the papers'.

    Returns:
        tubes by video and class, without gaps, with `score` and `tube_score`. A frame that several
        tubelets of a tube cover gets their mean.
    """
    tubelets = as_tubelets(detections) if isinstance(detections, Detections) else detections
    linker = GreedyLinker(rules)
    link_frames(linker, tubelets)
    return assemble_tubes(
        linker.linked(),
        tubelets.video_names,
        tubelets.label_names,
        rules.min_score,
        rules.min_length,
        rules.score_top,
    )


def link_frames(linker: GreedyLinker, tubelets: Tubelets) -> None:
    """Gives a linker all boxes, or tubelets, of some frames, of which it has seen none before."""
    rules = linker.rules
    low = tubelets.score < rules.min_box_score
    if low.any():
        tubelets = select_rows(tubelets, ~low)
    tubelets = nms_tubelets(tubelets, rules.suppression, rules.top, rules.soft, rules.pixels)
    labels = len(tubelets.label_names)
    group = tubelets.video.astype(np.int64) * labels + tubelets.label
    # Already by group and falling score within a frame: a stable sort by frame keeps that.
    order = np.argsort(tubelets.frame, kind="stable")
    frames, starts = np.unique(tubelets.frame[order], return_index=True)
    for frame, rows in zip(frames.tolist(), np.split(order, starts[1:])):
        linker.update(frame, group[rows], tubelets.score[rows], tubelets.boxes.take(rows, axis=0))


def _overlap(
    tubes: _OpenTubes,
    boxes: np.ndarray,
    proposer: np.ndarray,
    target: np.ndarray,
    frame: int,
    pixels: BoxExtent,
) -> np.ndarray:
    """(P,) IoU of new boxes with a tube's last ones, the mean over the frames that both cover."""
    length = boxes.shape[1]
    if length == 1:
        return rowwise_iou(
            boxes[:, 0].take(target, axis=0), tubes.boxes[:, 0].take(proposer, axis=0), pixels
        )
    offset = frame - tubes.last[proposer]
    total = np.zeros(len(proposer))
    for k in range(length):
        both = np.flatnonzero(k + offset < length)
        total[both] += rowwise_iou(
            boxes[target[both], k], tubes.boxes[proposer[both], k + offset[both]], pixels
        )
    apart = np.flatnonzero(offset >= length)
    total[apart] = rowwise_iou(boxes[target[apart], 0], tubes.boxes[proposer[apart], -1], pixels)
    return total / np.maximum(length - offset, 1)


class OnlineGreedyLinker:
    """Links the detections of one video as they come.

    Args:
        label_names: the classes that labels index.
        rules: the parameters; any of `greedy`'s.
        video: the video's name in the tables given out.
    """

    def __init__(
        self, label_names: tuple[str, ...], rules: GreedyConfig = SINGH, video: str = "live"
    ) -> None:
        self.rules = rules
        self._names = (video,), label_names
        self._linker = GreedyLinker(rules)

    def update(
        self, frame: int, label: np.ndarray, score: np.ndarray, boxes: np.ndarray
    ) -> np.ndarray:
        """Takes the detections of the next frame.

        Args:
            frame: its number, above that of the last call; a frame without boxes may be left out.
            label: (N,) index into the label names.
            score: (N,).
            boxes: (N, 4) x1 y1 x2 y2 in pixels.

        Returns:
            (N,) the number of the tube that each box was given to, -1 for boxes that were
            suppressed or score too low.
        """
        high = np.flatnonzero(score >= self.rules.min_box_score)
        same = np.zeros(len(high), np.int32)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 1, 4)[high]
        label = np.asarray(label, np.int64)[high]
        of_frame = Tubelets(same, same, label, np.asarray(score)[high], boxes, *self._names)
        rules = self.rules
        rows, scores = nms_rows(of_frame, rules.suppression, rules.top, rules.soft, rules.pixels)
        numbers = np.full(len(score), -1)
        numbers[high[rows]] = self._linker.update(frame, label[rows], scores, boxes[rows])
        return numbers

    def tubes(self) -> Tubes:
        """All tubes so far that pass the rules, those that still grow too."""
        return self._assembled(self._linker.linked())

    def take_closed(self) -> Tubes:
        """The tubes that can grow no more; they are then forgotten, so memory stays bounded."""
        return self._assembled(self._linker.take_closed())

    def close(self, tubes: np.ndarray) -> None:
        """Lets some tubes grow no more, by the numbers of `update`, so that none grows for ever.

        What follows them starts new ones.
        """
        self._linker.close(tubes)

    def _assembled(self, linked: TubeBoxes) -> Tubes:
        rules = self.rules
        return assemble_tubes(
            linked, *self._names, rules.min_score, rules.min_length, rules.score_top
        )
