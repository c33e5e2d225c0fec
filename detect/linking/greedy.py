"""Greedy linking, frame by frame: ACT's tubelet linking and Singh's online paths.

Both serve the tubes of a class in an order of priority; each takes the best box of the new frame
that overlaps its last box. Boxes that no tube takes start new tubes, and a tube without a box for
some frames is closed. The two differ in their parameters only, so they are one linker here. It goes
through a video once, so detections can be given as they come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np

from ...datasets.options import Options, at_least, between
from ...datasets.overrides import override_fields
from ...datasets.tables import Detections, Tubelets, Tubes, Videos, concatenate_rows, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import join
from ..boxes.matching import greedy_match, sort_by_preference
from ..boxes.nms import nms_rows
from .assembly import TubeBoxes, assemble_tubes, no_boxes, no_tubes
from .interface import Calibration, LinkConfig, LinkResult


@dataclass(frozen=True, kw_only=True)
class GreedyConfig(Options):
    """Parameters of greedy linking.

    Attributes:
        suppression: IoU above which a better box of the same frame and class removes a box before
            linking (NMS).
        soft: lower the scores of suppressed boxes instead (MOC).
        top: most boxes kept in a frame and class.
        min_box_score: boxes with a lower score are ignored.
        iou: least IoU of a box with the tube's last one (of tubelets the mean over the frames that
            both cover).
        cost: which of the overlapping boxes a tube takes: that of the highest score, or of the
            highest mean of score and IoU (3D-RetinaNet).
        gap: a tube closes when it gets no box up to `gap` frames after its last one.
        priority: tubes choose in the order of the mean of all their scores, or of the `gap` + 1
            best (Singh).
        min_score: tubes of a lower mean score are dropped.
        min_length: tubes of fewer frames are dropped.
        score_top: a tube's score is the mean of this many best box scores; None is all.
        extent: how wide a box is.
    """

    suppression: Annotated[float, between(0, 1)] = 0.3
    soft: bool = False
    top: Annotated[int | None, at_least(1)] = 10
    min_box_score: Annotated[float, between(0, 1)] = 0.0
    iou: Annotated[float, between(0, 1)] = 0.2
    cost: Literal["score", "score and iou"] = "score"
    gap: Annotated[int, between(0, 100_000)] = 5
    priority: Literal["mean", "best"] = "mean"
    min_score: Annotated[float, between(0, 1)] = 0.01
    min_length: Annotated[int, at_least(0)] = 15
    score_top: Annotated[int | None, at_least(1)] = None
    extent: BoxExtent = "inclusive"


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
    priority="best",
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
    priority="best",
    min_score=0.1,
    min_length=6,
    extent="continuous",
)


class GreedyLinker:
    """Links the boxes of one video, or of many side by side; a `Linker`.

    Boxes of different videos or classes are never linked. Tubes are returned once they are closed,
    so memory grows with the open ones alone.
    """

    def __init__(self, config: GreedyConfig = ACT) -> None:
        self.config = config
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._linked: list[TubeBoxes] = []
        self._next_tube = 0
        self._num_returned = 0
        self._num_dropped = 0
        self._open = _start_tubes(no_boxes(), config.gap + 1)

    def update(self, detections: Detections | Tubelets) -> LinkResult:
        """See `Linker.update`."""
        self.assign(detections)
        return self._result()

    def finish(self) -> LinkResult:
        """See `Linker.finish`; later detections start new tubes."""
        self.close(self._open.tube)
        return self._result()

    def _result(self) -> LinkResult:
        self._num_dropped = 0
        tubes = self.pop_closed()
        return LinkResult(tubes, num_dropped=self._num_dropped)

    def assign(
        self, detections: Detections | Tubelets, last_frame: int | None = None
    ) -> np.ndarray:
        """Links the detections of the next frames and says to which tube each was added.

        Args:
            detections: N boxes or tubelets, see `Linker.update`.
            last_frame: the last of these frames, where it may be without boxes: tubes are closed
                by it. None is that of the last box.

        Returns:
            (N,) the tube's number within this linker, not that of a table; -1 for boxes that were
            suppressed or whose score is too low.
        """
        config = self.config
        tubelets = detections
        if isinstance(tubelets, Detections):
            tubelets = Tubelets.from_detections(tubelets)
        self._names = tubelets.video_names, tubelets.label_names
        tube = np.full(len(tubelets.score), -1)
        high = np.flatnonzero(tubelets.score >= config.min_box_score)
        tubelets = select_rows(tubelets, high)
        rows, score = nms_rows(tubelets, config.suppression, config.top, config.soft, config.extent)
        # Already by group and falling score within a frame: a stable sort by frame keeps that.
        order = np.argsort(tubelets.frame[rows], kind="stable")
        rows, score = rows[order], score[order]
        group = tubelets.video[rows].astype(np.int64) * len(tubelets.label_names)
        group += tubelets.label[rows]
        boxes = tubelets.boxes.take(rows, axis=0)
        frames, starts = np.unique(tubelets.frame[rows], return_index=True)
        for frame, bounds in zip(frames.tolist(), pairwise([*starts, len(rows)])):
            part = slice(*bounds)
            tube[high[rows[part]]] = self._link_frame(frame, group[part], score[part], boxes[part])
        if last_frame is not None:
            self._close_before(last_frame)
        return tube

    def close(self, tubes: np.ndarray) -> None:
        """Closes some tubes by the numbers of `assign`; boxes that follow them start new ones."""
        self._open = select_rows(self._open, ~np.isin(self._open.tube, tubes))

    def pop_closed(self) -> Tubes:
        """Returns the closed tubes and forgets them; no two ever have the same number."""
        if not self._linked:
            return no_tubes(*self._names)
        linked = concatenate_rows(self._linked)
        is_open = np.isin(linked.tube, self._open.tube)
        self._linked = [select_rows(linked, is_open)]
        config = self.config
        closed = select_rows(linked, ~is_open)
        tubes = assemble_tubes(
            closed, *self._names, config.min_score, config.min_length, config.score_top
        )
        numbered = replace(tubes, tube=tubes.tube + self._num_returned)
        num_tubes = int(tubes.tube.max(initial=-1)) + 1
        self._num_returned += num_tubes
        self._num_dropped += len(np.unique(closed.tube)) - num_tubes
        return numbered

    def _close_before(self, frame: int) -> None:
        """Closes the tubes whose last box is too long before `frame`."""
        self._open = select_rows(self._open, frame - self._open.last <= self.config.gap)

    def _link_frame(
        self, frame: int, group: np.ndarray, score: np.ndarray, boxes: np.ndarray
    ) -> np.ndarray:
        """Links the boxes of one frame that are left after suppression.

        Args:
            frame: above that of the last call.
            group: (N,) ascending, N at least 1.
            score: (N,) falling within a group.
            boxes: (N, K, 4), K the same in all calls.

        Returns:
            (N,) number of the tube that each box belongs to.
        """
        config = self.config
        self._close_before(frame)
        order = np.argsort(-self._open.priority(config.priority), kind="stable")
        tubes = select_rows(self._open, order)
        proposer, target = join(tubes.group, group)
        iou = _overlap(tubes, boxes, proposer, target, frame, config.extent)
        near = iou >= config.iou
        proposer, target = proposer[near], target[near]
        if config.cost == "score and iou":
            order = sort_by_preference(proposer, target, score[target] + iou[near])
            proposer, target = proposer[order], target[order]
        matched = greedy_match(proposer, target, len(group))
        row = np.full(len(group), -1)
        row[target[matched]] = proposer[matched]
        continued, new = np.flatnonzero(row >= 0), np.flatnonzero(row < 0)
        tube = np.empty(len(group), np.int64)
        tube[continued] = tubes.tube[row[continued]]
        tube[new] = self._next_tube + np.arange(len(new))
        self._next_tube += len(new)
        if len(continued):
            tubes.extend(row[continued], frame, score[continued], boxes[continued])
        frames = np.full(len(group), frame)
        linked = TubeBoxes(frame=frames, tube=tube, group=group, score=score, boxes=boxes)
        self._linked.append(linked)
        started = _start_tubes(select_rows(linked, new), config.gap + 1)
        self._open = concatenate_rows([tubes, started]) if len(tubes.tube) else started
        return tube


def make_greedy_linker(
    preset: GreedyConfig,
    config: LinkConfig,
    videos: Videos | None = None,
    calibration: Calibration | None = None,
) -> GreedyLinker:
    """A greedy linker with a preset's parameters.

    Where detections are on every n-th frame alone, a tube stays open for one of those frames
    without a box.
    """
    preset = replace(preset, min_length=config.min_length(preset.min_length))
    if config.key_frame_step > 1:
        preset = replace(preset, gap=max(preset.gap, 2 * config.key_frame_step))
    return GreedyLinker(override_fields(preset, config.overrides))


@dataclass(eq=False)
class _OpenTubes:
    """The state of the tubes that are not closed.

    Attributes:
        tube: (T,) their numbers.
        group: (T,) see `TubeBoxes`.
        last: (T,) frame of the last box.
        count: (T,) how many boxes.
        total: (T,) sum of their scores.
        best: (T, B) the best scores, in any order, 0 where there are fewer.
        boxes: (T, K, 4) the last box or tubelet.
    """

    tube: np.ndarray
    group: np.ndarray
    last: np.ndarray
    count: np.ndarray
    total: np.ndarray
    best: np.ndarray
    boxes: np.ndarray

    def priority(self, kind: Literal["mean", "best"]) -> np.ndarray:
        """(T,) the higher, the earlier a tube chooses its box."""
        if kind == "mean":
            return self.total / self.count
        return self.best.sum(axis=1) / np.minimum(self.count, self.best.shape[1])

    def extend(self, rows: np.ndarray, frame: int, score: np.ndarray, boxes: np.ndarray) -> None:
        """Adds one box to each of the tubes `rows`."""
        self.last[rows] = frame
        self.count[rows] += 1
        self.total[rows] += score
        self.boxes[rows] = boxes
        least = self.best[rows].argmin(axis=1)
        self.best[rows, least] = np.maximum(self.best[rows, least], score)


def _start_tubes(first: TubeBoxes, num_best: int) -> _OpenTubes:
    """New tubes of one box each."""
    best = np.zeros((len(first.tube), num_best))
    best[:, 0] = first.score
    return _OpenTubes(
        tube=first.tube, group=first.group, last=first.frame, count=np.ones(len(best), np.int64),
        total=first.score, best=best, boxes=first.boxes,
    )  # fmt: skip


def _overlap(
    tubes: _OpenTubes,
    boxes: np.ndarray,
    proposer: np.ndarray,
    target: np.ndarray,
    frame: int,
    extent: BoxExtent,
) -> np.ndarray:
    """(P,) IoU of new boxes with a tube's last ones, the mean over the frames that both cover."""
    length = boxes.shape[1]
    offset = frame - tubes.last[proposer]
    total = np.zeros(len(proposer))
    for k in range(length - 1):  # the new boxes are at least one frame later
        both = np.flatnonzero(k + offset < length)
        total[both] += rowwise_iou(
            boxes[target[both], k], tubes.boxes[proposer[both], k + offset[both]], extent
        )
    apart = np.flatnonzero(offset >= length)
    last = tubes.boxes[:, -1].take(proposer[apart], axis=0)
    total[apart] = rowwise_iou(boxes[:, 0].take(target[apart], axis=0), last, extent)
    return total / np.maximum(length - offset, 1)
