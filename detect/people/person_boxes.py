"""Person boxes of one frame, their clean-up, and a source of them made from a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.box_coordinates import rescale_boxes
from ...datasets.errors import InputError

if TYPE_CHECKING:
    from ...datasets.video.reader import VideoInfo

NMS_IOU = 0.65  # two people who embrace overlap by 0.5 and more; both must stay
_SAME_BOX = 0.95  # of a detector that has suppressed overlaps itself
_NONE = np.empty((0, 4), np.float32)
_FRAMES_PER_BATCH = 4  # in one forward pass of a detector


@dataclass(frozen=True, eq=False)
class PersonBoxes:
    """The person boxes of one frame, P of them, best first.

    Attributes:
        boxes: (P, 4) x1 y1 x2 y2 in pixels of the frame, inside it.
        score: (P,) in [0, 1].
        person: (P,) whole numbers from 1, the same for one person in all frames of a video; None
            where the source does not tell people apart.
    """

    boxes: np.ndarray
    score: np.ndarray
    person: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def scaled(self, scale: np.ndarray) -> PersonBoxes:
        """In a frame of another size: `scale` (2,) is new size / old size along x and y."""
        return PersonBoxes(rescale_boxes(self.boxes, (1, 1), scale), self.score, self.person)


def as_person_boxes(boxes: PersonBoxes | np.ndarray) -> PersonBoxes:
    """From (P, 4) boxes x1 y1 x2 y2 whose score is 1, or (P, 5) boxes with their score."""
    if isinstance(boxes, PersonBoxes):
        return boxes
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(f"person boxes of a frame have shape {boxes.shape}, not (P, 4) or (P, 5)")
    score = boxes[:, 4] if boxes.shape[1] == 5 else np.ones(len(boxes), np.float32)
    return PersonBoxes(boxes[:, :4], score)


class FunctionSource:
    """A proposal source that keeps no state of a video.

    Args:
        function: frames (T, H, W, 3) uint8 RGB and the number of the first of them in its video →
            T times `PersonBoxes`, or arrays as `as_person_boxes` takes them.
    """

    def __init__(
        self, function: Callable[[np.ndarray, int], Iterable[PersonBoxes | np.ndarray]]
    ) -> None:
        self.function = function

    def open(self, video: VideoInfo) -> FunctionSource:
        return self

    def propose(self, frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
        return [as_person_boxes(boxes) for boxes in self.function(frames, first_frame)]


def user_source(
    function: Callable[[np.ndarray], Iterable[PersonBoxes | np.ndarray]],
) -> FunctionSource:
    """The source made of a user's function, whose boxes are checked.

    Args:
        function: frames (T, H, W, 3) uint8 RGB → T times `PersonBoxes`, or arrays (P, 4) or (P, 5)
            with the score, x1 y1 x2 y2 in pixels; all are used, clipped to the frame.
    """

    def propose(frames: np.ndarray, first_frame: int) -> list[PersonBoxes]:
        found = list(function(frames))
        if len(found) != len(frames):
            raise InputError(
                f"proposals: the function gave {len(found)} arrays for {len(frames)} frames; "
                "return one of boxes for each frame"
            )
        return [_check_boxes(boxes, frames.shape[1:3]) for boxes in found]

    return FunctionSource(propose)


def _check_boxes(boxes: PersonBoxes | np.ndarray, frame_size: tuple[int, int]) -> PersonBoxes:
    try:
        people = as_person_boxes(boxes if isinstance(boxes, PersonBoxes) or len(boxes) else _NONE)
    except (ValueError, TypeError) as error:
        raise InputError(f"proposals: {error}; return an array for each frame") from error
    if not ((people.score >= 0) & (people.score <= 1)).all():
        raise InputError("proposals: a score of the function is not between 0 and 1")
    if len(people) and np.abs(people.boxes).max() <= 1:
        raise InputError("proposals: the function's boxes are fractions; return pixels")
    return clean_boxes(
        people.boxes, people.score, frame_size, nms_iou=_SAME_BOX, person=people.person
    )


def batched_source(
    detect: Callable[[np.ndarray], Iterable[tuple[np.ndarray, np.ndarray]]], threshold: float
) -> FunctionSource:
    """The source made of a detector that takes several frames at a time.

    Args:
        detect: gives each frame's (N, 4) person boxes in pixels and their (N,) scores.
        threshold: the lowest score kept.
    """
    return FunctionSource(
        lambda frames, first_frame: [
            clean_boxes(boxes, scores, frames.shape[1:3], threshold=threshold)
            for start in range(0, len(frames), _FRAMES_PER_BATCH)
            for boxes, scores in detect(frames[start : start + _FRAMES_PER_BATCH])
        ]
    )


def clean_boxes(
    boxes: np.ndarray,
    scores: np.ndarray,
    frame_size: tuple[int, int],
    *,
    threshold: float = 0.0,
    nms_iou: float = NMS_IOU,
    person: np.ndarray | None = None,
) -> PersonBoxes:
    """Clips boxes to the frame, drops empty and low-scoring ones, and applies NMS.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels; boxes with NaN or infinite corners are dropped.
        scores: (N,) in [0, 1].
        frame_size: (height, width).
        threshold: the lowest score kept.
        nms_iou: of two boxes that overlap by more, the one with the lower score is dropped (greedy
            NMS; a box is x2 - x1 wide).
        person: (N,) see `PersonBoxes`.

    Returns:
        boxes and scores as float32, best first.
    """
    import torch
    from torchvision.ops import nms

    height, width = frame_size
    with np.errstate(invalid="ignore"):
        clipped = np.clip(np.asarray(boxes, np.float64), 0, [width, height, width, height])
        keep = (scores >= threshold) & (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    clipped, scores = clipped[keep], np.asarray(scores, np.float32)[keep]
    person = None if person is None else person[keep]
    best = nms(torch.from_numpy(clipped), torch.from_numpy(scores).double(), nms_iou).numpy()
    return PersonBoxes(
        clipped[best].astype(np.float32), scores[best], None if person is None else person[best]
    )
