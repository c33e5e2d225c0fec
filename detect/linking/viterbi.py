"""Viterbi linking: the best path through all frames of a video, then the next best, and so on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np

from ...datasets.options import Options, at_least, between
from ...datasets.overrides import override_fields
from ...datasets.tables import Detections, Tubelets, Videos, concatenate_rows, select_rows
from ..boxes.iou import BoxExtent, rowwise_iou
from ..boxes.joins import expand_runs, join
from ..boxes.nms import nms
from .assembly import TubeBoxes, assemble_tubes, no_tubes
from .interface import Calibration, LinkConfig, LinkResult


@dataclass(frozen=True, kw_only=True)
class ViterbiConfig(Options):
    """Parameters of Viterbi linking.

    A path has one box on each frame. Its value is the sum over neighbouring frames of score_weight
    (s1 + s2) + product_weight s1 s2 + iou_weight IoU, where an IoU below `iou` counts as 0.

    Attributes:
        suppression: IoU above which a better box of the same frame and class removes a box before
            linking (NMS).
        top: most boxes kept in a frame and class.
        score_weight, product_weight, iou_weight: the weights of a step.
        iou: least IoU that counts.
        paths: most paths in a video and class; there are fewer where a frame runs out of boxes.
        missing: frames without any box are skipped and interpolated between their neighbours
            ("skip"), or get the boxes of the nearest frame that has some ("copy", from the video's
            first frame to its last; YOWO).
        min_score: tubes of a lower mean score are dropped.
        min_length: tubes of fewer frames are dropped.
        extent: how wide a box is.
    """

    suppression: Annotated[float, between(0, 1)] = 0.3
    top: Annotated[int | None, at_least(1)] = 10
    score_weight: float = 1.0
    product_weight: float = 0.0
    iou_weight: float = 1.0
    iou: Annotated[float, between(0, 1)] = 0.0
    paths: Annotated[int, at_least(1)] = 5
    missing: Literal["skip", "copy"] = "skip"
    min_score: Annotated[float, between(0, 1)] = 0.0
    min_length: Annotated[int, at_least(0)] = 1
    extent: BoxExtent = "inclusive"


# Peng & Schmid 2016: scores plus overlap, and overlap only above a threshold. Weight and threshold
# are options there; 1 and 0.3 are ours.
PENG = ViterbiConfig(iou=0.3)
# Saha et al. 2016: scores plus overlap, paths until a frame runs out of boxes.
SAHA = ViterbiConfig(paths=10)
# Köpüklü et al. 2019, core/eval_results.py: link_bbxes_between_frames.
YOWO = ViterbiConfig(product_weight=0.5, paths=3, missing="copy")


class ViterbiLinker:
    """Links the boxes of every video and class into paths over the whole video; a `Linker`.

    Trim the tubes in time afterwards (see `trimming`): a path covers all frames, also those without
    the action.

    All detections are kept until `finish`, at 52 bytes a box. Memory is highest there: some 600
    bytes for each box where a frame and class have one, 750 where they have 4, 1500 where they have
    10, since all boxes of neighbouring frames are paired.

    Args:
        config: the parameters.
        videos: their lengths, for `missing` "copy"; without, a video ends at its last detection.
    """

    def __init__(self, config: ViterbiConfig = PENG, videos: Videos | None = None) -> None:
        self.config = config
        self._videos = videos
        self._detections: list[Detections] = []

    def update(self, detections: Detections | Tubelets) -> LinkResult:
        """See `Linker.update`; no tube ends before `finish`."""
        if isinstance(detections, Tubelets):
            detections = detections.as_detections()
        self._detections.append(detections)
        return LinkResult(no_tubes(detections.video_names, detections.label_names))

    def finish(self) -> LinkResult:
        """See `Linker.finish`."""
        parts, self._detections = self._detections, []
        if not parts:
            return LinkResult(no_tubes((), ()))
        return self._link(concatenate_rows(parts) if len(parts) > 1 else parts[0])

    def _link(self, detections: Detections) -> LinkResult:
        config = self.config
        boxes = nms(detections, config.suppression, config.top, extent=config.extent)
        num_labels = max(len(boxes.label_names), 1)
        group = boxes.video.astype(np.int64) * num_labels + boxes.label
        order = np.argsort(group, kind="stable")
        boxes, group = select_rows(boxes, order), group[order]
        frame = boxes.frame.astype(np.int64)
        if config.missing == "copy":
            rows, frame = _copy_to_empty_frames(boxes, group, self._videos)
            boxes, group = select_rows(boxes, rows), group[rows]
        trellis = _build_trellis(boxes, group, frame, config)
        path = np.full(len(group), -1)
        is_open = np.ones(len(np.unique(group)), bool)
        is_free = np.ones(len(group), bool)
        for number in range(config.paths):
            if not is_open.any():
                break
            rows = trellis.best_paths(is_free & is_open[trellis.group])
            path[rows] = trellis.group[rows] * config.paths + number
            is_free[rows] = False
            num_free = np.bincount(trellis.layer[is_free], minlength=len(trellis.layer_group))
            is_open[trellis.layer_group[num_free == 0]] = False
        linked = path >= 0
        tubes = assemble_tubes(
            TubeBoxes(
                frame=frame[linked], tube=path[linked], group=group[linked],
                score=boxes.score[linked], boxes=boxes.boxes[linked][:, None],
            ),
            boxes.video_names, boxes.label_names, config.min_score, config.min_length,
        )  # fmt: skip
        num_tubes = int(tubes.tube.max(initial=-1)) + 1
        return LinkResult(tubes, num_dropped=len(np.unique(path[linked])) - num_tubes)


def make_viterbi_linker(
    preset: ViterbiConfig,
    config: LinkConfig,
    videos: Videos | None = None,
    calibration: Calibration | None = None,
) -> ViterbiLinker:
    """A Viterbi linker with a preset's parameters.

    Its paths go from each frame with boxes to the next, so `config.key_frame_step` changes nothing.
    """
    preset = replace(preset, min_length=config.min_length(preset.min_length))
    return ViterbiLinker(override_fields(preset, config.overrides), videos)


@dataclass(frozen=True, eq=False)
class _Trellis:
    """The boxes of all groups, in layers of one frame, and the steps between them.

    Attributes:
        group: (R,) index of each box's video and class, counting those with boxes.
        layer: (R,) index of its group and frame, ascending.
        distance: (R,) layers from here to the group's last.
        start, stop: (E,) rows that a step joins, `start` ascending.
        value: (E,) of each step.
        layer_group: (F,) the group of each layer.
    """

    group: np.ndarray
    layer: np.ndarray
    distance: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    value: np.ndarray
    layer_group: np.ndarray

    def best_paths(self, usable: np.ndarray) -> np.ndarray:
        """The best path of every group that has a usable box on each of its frames.

        Args:
            usable: (R,) bool.

        Returns:
            the rows of all those paths.
        """
        value = np.where(usable, 0.0, -np.inf)
        following = np.full(len(self.group), -1)
        by_distance = np.argsort(self.distance[self.start], kind="stable")
        bounds = np.searchsorted(
            self.distance[self.start][by_distance], np.arange(1, self.distance.max(initial=0) + 2)
        )
        for low, high in pairwise(bounds):
            steps = by_distance[low:high]
            start, stop = self.start[steps], self.stop[steps]
            total = self.value[steps] + value[stop]
            first = np.flatnonzero(np.diff(start, prepend=-1))
            best = np.maximum.reduceat(total, first)
            repeated = np.repeat(best, np.diff(first, append=len(start)))
            # Of several best steps the first: it is written last.
            equal = np.flatnonzero(total == repeated)[::-1]
            following[start[equal]] = stop[equal]
            value[start[first]] += best
        heads = np.flatnonzero(np.diff(self.group, prepend=-1))
        in_first_layer = self.layer[heads][self.group] == self.layer
        starts = np.flatnonzero(in_first_layer & (value > -np.inf))
        starts = starts[np.lexsort((starts, -value[starts], self.group[starts]))]
        current = starts[np.diff(self.group[starts], prepend=-1) != 0]
        paths = [current]
        while len(current):
            current = following[current]
            current = current[current >= 0]
            paths.append(current)
        return np.concatenate(paths)


def _build_trellis(
    boxes: Detections, group: np.ndarray, frame: np.ndarray, config: ViterbiConfig
) -> _Trellis:
    """From boxes sorted by group, frame and falling score."""
    new_group = np.diff(group, prepend=-1) != 0
    new_layer = new_group | (np.diff(frame, prepend=-1) != 0)
    dense, layer = np.cumsum(new_group) - 1, np.cumsum(new_layer) - 1
    layer_group = dense[new_layer]
    last = np.searchsorted(layer_group, layer_group, "right") - 1
    distance = (last - np.arange(len(last)))[layer]
    start, stop = join(layer + 1, layer)
    same = dense[start] == dense[stop]
    start, stop = start[same], stop[same]
    iou = rowwise_iou(boxes.boxes[start], boxes.boxes[stop], config.extent)
    first, second = boxes.score[start], boxes.score[stop]
    value = (
        config.score_weight * (first + second)
        + config.product_weight * first * second
        + config.iou_weight * np.where(iou >= config.iou, iou, 0)
    )
    return _Trellis(
        group=dense, layer=layer, distance=distance, start=start, stop=stop, value=value,
        layer_group=layer_group,
    )  # fmt: skip


def _copy_to_empty_frames(
    boxes: Detections, group: np.ndarray, videos: Videos | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, some repeated, and their frames, so that each group has boxes on all its frames.

    Args:
        boxes: sorted by group and frame.
        group: (R,) of each box.
        videos: their lengths; a video that is not there ends at its last box.
    """
    lengths = np.zeros(len(boxes.video_names), np.int64)
    np.maximum.at(lengths, boxes.video, boxes.frame + 1)
    if videos is not None:
        known = dict(zip(videos.video, videos.num_frames.tolist()))
        lengths = np.array(
            [known.get(name, length) for name, length in zip(boxes.video_names, lengths.tolist())]
        )
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    all_rows, all_frames = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for low, high in pairwise([*starts, len(group)]):
        present, first, count = np.unique(
            boxes.frame[low:high], return_index=True, return_counts=True
        )
        frames = np.arange(lengths[boxes.video[low]])
        after = np.searchsorted(present, frames).clip(0, len(present) - 1)
        before = (after - 1).clip(0)
        # As np.argmin of the distances does: of two equally near ones the earlier.
        is_before = np.abs(present[before] - frames) <= np.abs(present[after] - frames)
        nearest = np.where(is_before, before, after)
        number, rows = expand_runs(low + first[nearest], count[nearest])
        all_rows.append(rows)
        all_frames.append(frames[number])
    return np.concatenate(all_rows), np.concatenate(all_frames)
