"""Linking a live video: frames one at a time, tubes at any moment."""

from __future__ import annotations

import numpy as np

from ...datasets.act_files import Tubelets
from ...datasets.tables import Tubes
from .assemble import LinkedBoxes, assemble
from .greedy import SINGH, GreedyLinker, GreedyRules
from .suppress import remaining_rows

Array = np.ndarray


class OnlineLinker:
    """Links the detections of one video as they come.

    Args:
        label_names: the classes that labels index.
        rules: the parameters; any of `greedy`'s.
        video: the video's name in the tables given out.
    """

    def __init__(
        self, label_names: tuple[str, ...], rules: GreedyRules = SINGH, video: str = "live"
    ) -> None:
        self.rules = rules
        self._names = (video,), label_names
        self._linker = GreedyLinker(rules)

    def update(self, frame: int, label: Array, score: Array, boxes: Array) -> Array:
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
        rows, scores = remaining_rows(
            of_frame, rules.suppression, rules.top, rules.soft, rules.pixels
        )
        numbers = np.full(len(score), -1)
        numbers[high[rows]] = self._linker.update(frame, label[rows], scores, boxes[rows])
        return numbers

    def tubes(self) -> Tubes:
        """All tubes so far that pass the rules, those that still grow too."""
        return self._assembled(self._linker.linked())

    def take_closed(self) -> Tubes:
        """The tubes that can grow no more; they are then forgotten, so memory stays bounded."""
        return self._assembled(self._linker.take_closed())

    def close(self, tubes: Array) -> None:
        """Lets some tubes grow no more, by the numbers of `update`, so that none grows for ever.

        What follows them starts new ones.
        """
        self._linker.close(tubes)

    def _assembled(self, linked: LinkedBoxes) -> Tubes:
        rules = self.rules
        return assemble(linked, *self._names, rules.min_score, rules.min_length, rules.score_top)
