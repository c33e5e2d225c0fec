"""Viterbi linking: the best path through all frames of a video, then the next best, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from ...datasets.tables import Detections, Tubes, Videos, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import join
from ..boxes.nms import nms
from .assembly import TubeBoxes, assemble_tubes


@dataclass(frozen=True)
class ViterbiConfig:
    """Parameters of Viterbi linking.

    A path through one box a frame is worth the sum over neighbouring frames of score_weight (s1 +
    s2) + product_weight s1 s2 + iou_weight IoU, the IoU counting from `iou` on.

    Attributes:
        suppression: IoU above which a better box of frame and class removes another first.
        top: boxes kept in a frame and class.
        score_weight, product_weight, iou_weight: what a step is worth.
        iou: an overlap below counts as none.
        paths: at most so many paths in a video and class; they end earlier when a frame runs out
            of boxes.
        missing: a frame without any box is stepped over and its box later put on a line between
            its neighbours ("skip"), or gets the boxes of the nearest frame that has some ("copy",
            from the video's first frame to its last; YOWO).
        min_score: tubes of a lower mean score are dropped.
        min_length: tubes of fewer frames are dropped.
        pixels: how wide a box is.
    """

    suppression: float = 0.3
    top: int | None = 10
    score_weight: float = 1.0
    product_weight: float = 0.0
    iou_weight: float = 1.0
    iou: float = 0.0
    paths: int = 5
    missing: Literal["skip", "copy"] = "skip"
    min_score: float = 0.0
    min_length: int = 1
    pixels: BoxExtent = "inclusive"


# Peng & Schmid 2016: scores plus overlap, and overlap only above a threshold. Weight and threshold
# are settings there; 1 and 0.3 are ours.
PENG = ViterbiConfig(iou=0.3)
# Saha et al. 2016: scores plus overlap, paths until a frame runs out of boxes.
SAHA = ViterbiConfig(paths=10)
# Köpüklü et al. 2019, core/eval_results.py: link_bbxes_between_frames.
YOWO = ViterbiConfig(product_weight=0.5, paths=3, missing="copy")


def link_viterbi(
    detections: Detections, rules: ViterbiConfig = PENG, videos: Videos | None = None
) -> Tubes:
    """Links the boxes of every video and class into paths over the whole video.

    Trim them in time afterwards (see `trimming`): a path spans all frames, also those without the
    action.

    Memory grows with the boxes: at its height some 600 bytes for each where a frame and class have
    one, 750 where they have 4, 1500 where they have 10, since all boxes of neighbouring frames are
    paired.

    Args:
        detections: boxes of any number of videos.
        rules: the parameters; `PENG`, `SAHA` and `YOWO` are the papers'.
        videos: their lengths, for `missing` "copy"; without, a video ends at its last detection.

    Returns:
        tubes by video and class, without gaps, with `score` and `tube_score`, its mean. No box is
        in two of them.
    """
    boxes = nms(detections, rules.suppression, rules.top, pixels=rules.pixels)
    labels = max(len(boxes.label_names), 1)
    group = boxes.video.astype(np.int64) * labels + boxes.label
    order = np.argsort(group, kind="stable")
    boxes, group = select_rows(boxes, order), group[order]
    frame = boxes.frame.astype(np.int64)
    if rules.missing == "copy":
        rows, frame = _copied(boxes, group, labels, videos)
        boxes, group = select_rows(boxes, rows), group[rows]
    trellis = _Trellis.of(boxes, group, frame, rules)
    path_of = np.full(len(group), -1)
    open_groups = np.ones(trellis.groups, bool)
    free = np.ones(len(group), bool)
    for number in range(rules.paths):
        if not open_groups.any():
            break
        on_path = trellis.best_path(free & open_groups[trellis.group])
        path_of[on_path] = trellis.group[on_path] * rules.paths + number
        free[on_path] = False
        left = np.bincount(trellis.place[free], minlength=trellis.places)
        open_groups[trellis.group_of_place[left == 0]] = False
    linked = path_of >= 0
    return assemble_tubes(
        TubeBoxes(
            frame[linked],
            path_of[linked],
            group[linked],
            boxes.score[linked],
            boxes.boxes[linked][:, None],
        ),
        boxes.video_names,
        boxes.label_names,
        rules.min_score,
        rules.min_length,
    )


@dataclass(frozen=True, eq=False)
class _Trellis:
    """The boxes of all groups and the steps between them, by distance from each group's end.

    Attributes:
        group: (R,) dense number of the video and class.
        place: (R,) dense number of the group and frame, rising.
        distance: (R,) frames with boxes from here to the group's end.
        start, stop: (E,) rows that a step joins, `start` ascending.
        worth: (E,) what the step is worth.
        group_of_place: (F,) the group of each place.
    """

    group: np.ndarray
    place: np.ndarray
    distance: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    worth: np.ndarray
    group_of_place: np.ndarray

    @property
    def groups(self) -> int:
        return int(self.group[-1]) + 1 if len(self.group) else 0

    @property
    def places(self) -> int:
        return len(self.group_of_place)

    @classmethod
    def of(
        cls, boxes: Detections, group: np.ndarray, frame: np.ndarray, rules: ViterbiConfig
    ) -> _Trellis:
        """From boxes sorted by group, frame and falling score."""
        new_group = np.diff(group, prepend=-1) != 0
        new_place = new_group | (np.diff(frame, prepend=-1) != 0)
        dense, place = np.cumsum(new_group) - 1, np.cumsum(new_place) - 1
        group_of_place = dense[new_place]
        last = np.searchsorted(group_of_place, group_of_place, "right") - 1
        distance = (last - np.arange(len(last)))[place] if len(last) else place
        start, stop = join(place + 1, place)
        same = dense[start] == dense[stop]
        start, stop = start[same], stop[same]
        iou = rowwise_iou(boxes.boxes[start], boxes.boxes[stop], rules.pixels)
        first, second = boxes.score[start], boxes.score[stop]
        worth = (
            rules.score_weight * (first + second)
            + rules.product_weight * first * second
            + rules.iou_weight * np.where(iou >= rules.iou, iou, 0)
        )
        return cls(dense, place, distance, start, stop, worth, group_of_place)

    def best_path(self, usable: np.ndarray) -> np.ndarray:
        """Rows of the best path of every group that has a usable box in each of its frames."""
        value = np.where(usable, 0.0, -np.inf)
        follower = np.full(len(self.group), -1)
        by_distance = np.argsort(self.distance[self.start], kind="stable")
        bounds = np.searchsorted(
            self.distance[self.start][by_distance], np.arange(1, self.distance.max(initial=0) + 2)
        )
        for low, high in pairwise(bounds):
            edges = by_distance[low:high]
            start, stop = self.start[edges], self.stop[edges]
            worth = self.worth[edges] + value[stop]
            first = np.flatnonzero(np.diff(start, prepend=-1))
            best = np.maximum.reduceat(worth, first)
            rows = start[first]
            spread = np.repeat(best, np.diff([*first, len(start)]))
            # Of equal ones the first: written last.
            equal = np.flatnonzero(worth == spread)[::-1]
            follower[start[equal]] = stop[equal]
            value[rows] += best
        heads = np.flatnonzero(np.diff(self.group, prepend=-1))
        first_place = self.place[heads][self.group] == self.place
        candidates = np.flatnonzero(first_place & (value > -np.inf))
        candidates = candidates[
            np.lexsort((candidates, -value[candidates], self.group[candidates]))
        ]
        current = candidates[np.diff(self.group[candidates], prepend=-1) != 0]
        path = [current]
        while len(current):
            current = follower[current]
            current = current[current >= 0]
            path.append(current)
        return np.concatenate(path)


def _copied(
    boxes: Detections, group: np.ndarray, labels: int, videos: Videos | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, some repeated, and their frames, so that each group has boxes on all its frames."""
    lengths = np.zeros(len(boxes.video_names), np.int64)
    np.maximum.at(lengths, boxes.video, boxes.frame + 1)
    if videos is not None:
        known = dict(zip(videos.video, videos.num_frames.tolist()))
        lengths = np.array(
            [known.get(name, length) for name, length in zip(boxes.video_names, lengths.tolist())]
        )
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rows, frames = [], []
    for low, high in zip(starts, [*starts[1:], len(group)]):
        frame = boxes.frame[low:high]
        present, first = np.unique(frame, return_index=True)
        stop = np.append(first[1:], len(frame))
        wanted = np.arange(lengths[group[low] // labels])
        after = np.searchsorted(present, wanted).clip(0, len(present) - 1)
        before = (after - 1).clip(0)
        # As np.argmin of the distances does: of two equally near ones the earlier.
        nearer = np.abs(present[before] - wanted) <= np.abs(present[after] - wanted)
        nearest = np.where(nearer, before, after)
        count = (stop - first)[nearest]
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        rows.append(low + np.repeat(first[nearest], count) + offset)
        frames.append(np.repeat(wanted, count))
    whole = np.empty(0, np.int64)
    return np.concatenate([whole, *rows]), np.concatenate([whole, *frames])
