"""One function for all linkers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...datasets.tables import Detections, Tubelets, Tubes, Videos
from ..boxes.nms import as_tubelets
from .assembly import TubeBoxes, assemble_tubes
from .greedy import ACT, GreedyConfig, GreedyLinker, link_frames, link_greedily
from .viterbi import ViterbiConfig, link_viterbi

_AT_ONCE = 1 << 14  # boxes that are made into tubes together


def link(
    detections: Detections | Tubelets,
    rules: GreedyConfig | ViterbiConfig = ACT,
    videos: Videos | None = None,
) -> Tubes:
    """Links detections of any number of videos into action tubes.

    Args:
        detections: boxes with class and score; tubelets of several frames for greedy linking.
        rules: whose linking, and its parameters: `ACT`, `MOC`, `SINGH` or `RETINANET` of
            `greedy` (frame by frame, see `GreedyLinker` for boxes that come live), or `PENG`,
            `SAHA` or `YOWO` of `viterbi` (whole videos).
        videos: their lengths, where the rules ask for them.

    Returns:
        tubes by video and class without gaps; no box is in two of them. See `trimming` to cut
        them in time.
    """
    if isinstance(rules, GreedyConfig):
        return link_greedily(detections, rules)
    if isinstance(detections, Tubelets):
        detections = detections.as_detections()
    return link_viterbi(detections, rules, videos)


class PieceLinker:
    """Links the detections of one video as its pieces come.

    Greedy tubes are given out once they can grow no more, so memory grows with those that go on
    alone. Viterbi linking looks at whole videos: all detections are kept, at 52 bytes a box, and
    all tubes come at the end, for far more (see `link_viterbi`). No frame cuts a video in two
    there: boxes that do not overlap are joined, too, and frames without boxes are stepped over.

    Args:
        rules: of linking.
    """

    def __init__(self, rules: GreedyConfig | ViterbiConfig) -> None:
        self.rules = rules
        self._linker = GreedyLinker(rules) if isinstance(rules, GreedyConfig) else None
        self._kept: list[Detections] = []
        self._tubes = 0

    def add(self, detections: Detections) -> list[Tubes]:
        """Takes all detections of the next frames; returns the tubes that ended.

        Args:
            detections: of one video, the same names of labels each time; no frame is in two pieces.

        Returns:
            tables in which tubes have numbers that no other tube of this linker has.
        """
        if self._linker is None:
            self._kept.append(detections)
            return []
        link_frames(self._linker, as_tubelets(detections))
        return self._assembled(self._linker.take_closed(), detections)

    def finish(self, last: Detections) -> list[Tubes]:
        """Takes the last detections; returns the tubes that `add` has not returned."""
        tables = self.add(last)
        if isinstance(self.rules, ViterbiConfig):
            columns: dict[str, Any] = {
                name: np.concatenate([getattr(piece, name) for piece in self._kept])
                for name in ("video", "frame", "label", "score", "boxes")
            }
            return [link_viterbi(replace(last, **columns), self.rules)]
        assert self._linker is not None
        return tables + self._assembled(self._linker.linked(), last)

    def _assembled(self, linked: TubeBoxes, like: Detections) -> list[Tubes]:
        assert isinstance(self.rules, GreedyConfig)
        rules, tables = self.rules, []
        for part in _portions(linked):
            tubes = assemble_tubes(
                part, like.video_names, like.label_names, rules.min_score, rules.min_length,
                rules.score_top,
            )  # fmt: skip
            if len(tubes):
                tables.append(replace(tubes, tube=tubes.tube + self._tubes))
                self._tubes = int(tables[-1].tube[-1]) + 1
        return tables


def _portions(linked: TubeBoxes) -> list[TubeBoxes]:
    """Whole tubes, about `_AT_ONCE` boxes together."""
    if len(linked.tube) <= _AT_ONCE:
        return [linked] if len(linked.tube) else []
    _, place, count = np.unique(linked.tube, return_inverse=True, return_counts=True)
    portion = (np.cumsum(count) // _AT_ONCE)[place]
    return [linked.rows(portion == number) for number in np.unique(portion)]
