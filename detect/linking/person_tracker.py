"""An online tracker of people by the IoU of their boxes, whatever they do.

Two rounds of matching a frame, confident boxes first and faint ones then, after ByteTrack (Zhang et
al. 2022, section 3): a faint box may continue a track but never starts one. The box of a track is
looked for where its last motion would have brought it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..boxes.carrying import match_boxes
from ..boxes.iou import pairwise_iou

_SAME_PERSON_IOU = 0.5

AppearanceStep = Callable[[np.ndarray], "np.ndarray | None"]
"""The next frame, (H, W, 3) uint8 → the person's box there, (4,), or None once they are lost."""
AppearanceTracker = Callable[[np.ndarray, np.ndarray], AppearanceStep]
"""Starts at a box (4,) in a frame (H, W, 3) uint8: people.appearance.track_appearance is one."""


@dataclass(eq=False)
class PersonTrack:
    """One person on consecutive frames.

    Attributes:
        start: index of the first frame, from 0.
        boxes: one x1 y1 x2 y2 a frame, in pixels, from frame `first_stored` on.
        scores: one person score a frame, from frame `first_stored` on. Frames without a detection
            have half of the last detection's score where the person was tracked by appearance, and
            the lower of the two neighbours' scores where the box is interpolated.
        velocity: (4,) recent motion of the box, in pixels a frame.
        last_detected: index of the last frame with a detection.
        appearance: tracks the person while the detector misses them; None while it does not.
        num_popped: number of frames whose boxes `pop_final` has removed.
    """

    start: int
    boxes: list[np.ndarray]
    scores: list[float]
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))
    last_detected: int = 0
    appearance: AppearanceStep | None = None
    num_popped: int = 0

    @property
    def first_stored(self) -> int:
        """Index of the first frame whose box is in `boxes`."""
        return self.start + self.num_popped

    @property
    def end(self) -> int:
        """Index of the frame after the last."""
        return self.first_stored + len(self.boxes)

    @property
    def length(self) -> int:
        """Number of frames, those removed by `pop_final` included."""
        return self.end - self.start

    def pop_final(self, before: int) -> tuple[list[np.ndarray], list[float]]:
        """Removes and returns the boxes and scores, now final, of the frames before `before`.

        The last detection stays, because the next one is looked for from there, and so do all
        frames after it, which may still be cut off.
        """
        count = max(min(before, self.last_detected) - self.first_stored, 0)
        boxes, scores = self.boxes[:count], self.scores[:count]
        del self.boxes[:count], self.scores[:count]
        self.num_popped += count
        return boxes, scores

    def predict_box(self, frame: int) -> np.ndarray:
        """(4,) where the box should be in `frame`."""
        return self.boxes[-1] + self.velocity * (frame - self.end + 1)

    def extend(self, frame: int, box: np.ndarray, score: float) -> None:
        """Appends the box of `frame` and interpolates the frames since the last one."""
        steps = frame - self.end + 1
        last, motion = self.boxes[-1], (box - self.boxes[-1]) / steps
        for step in range(1, steps):
            self.boxes.append(last + motion * step)
            self.scores.append(min(self.scores[-1], score))
        self.boxes.append(box)
        self.scores.append(score)
        # The center's motion alone: a box that grows and shrinks must not run away.
        center = (motion[:2] + motion[2:]) / 2
        self.velocity = 0.5 * self.velocity + 0.5 * np.concatenate([center, center])


class PersonTracker:
    """Links the person boxes of one frame after the other; keeps the tracks that are not over.

    A track keeps all its boxes until `PersonTrack.pop_final` removes them.

    Args:
        start_score: least person score of a box that starts a track.
        iou: least IoU of a box with where its track predicts it.
        gap: frames without a box after which a track ends.
        appearance: tracks people who are not detected by their looks; None does not.
        appearance_frames: longest stretch without a detection that is bridged by appearance.
        min_length: tracks of fewer frames are dropped, and shorter ones are not tracked by
            appearance.

    Attributes:
        best_score: of all boxes so far, -1 without any.
        num_dropped: tracks that were too short.
    """

    def __init__(
        self,
        start_score: float = 0.5,
        iou: float = 0.3,
        gap: int = 15,
        appearance: AppearanceTracker | None = None,
        appearance_frames: int = 30,
        min_length: int = 8,
    ) -> None:
        self.start_score, self.iou, self.gap, self.min_length = start_score, iou, gap, min_length
        self.appearance, self.appearance_frames = appearance, appearance_frames
        self.active: list[PersonTrack] = []
        self.best_score, self.num_dropped = -1.0, 0
        self._previous_image: np.ndarray | None = None

    def update(
        self, frame: int, people: np.ndarray, image: np.ndarray | None = None
    ) -> list[PersonTrack]:
        """Links the people of the next frame; returns the tracks that ended before it.

        Args:
            frame: its index, above that of the last call.
            people: (P, 5) x1 y1 x2 y2 in pixels and score.
            image: (H, W, 3) uint8, the frame itself, for tracking by appearance.
        """
        ended = [track for track in self.active if frame - track.end >= self.gap]
        self.active = [track for track in self.active if frame - track.end < self.gap]
        self.best_score = max(self.best_score, people[:, 4].max(initial=-1.0))
        confident = people[:, 4] >= self.start_score
        unmatched, new = self._match(frame, list(self.active), people[confident], self.iou)
        unmatched, _ = self._match(frame, unmatched, people[~confident], self.iou)
        # Somebody who moved fast is still more likely the one just lost than somebody new.
        unmatched, new = self._match(frame, unmatched, new, self.iou / 3)
        if image is not None and self.appearance is not None:
            for track in unmatched:
                self._track_by_appearance(track, frame, image, self.appearance)
        matched = [track.boxes[-1] for track in self.active if track.last_detected == frame]
        if matched and len(new):
            # A second box of somebody who is already tracked is nobody new.
            new = new[pairwise_iou(new, np.stack(matched)).max(axis=1) < _SAME_PERSON_IOU]
        for *box, score in new.tolist():
            self.active.append(PersonTrack(frame, [np.array(box)], [score], last_detected=frame))
        self._previous_image = image
        kept = _cut_to_detections(ended, self.min_length)
        self.num_dropped += len(ended) - len(kept)
        return kept

    def finish(self) -> list[PersonTrack]:
        """Ends and returns all tracks, short ones too: the end of the video cut them off."""
        ended, self.active = self.active, []
        return _cut_to_detections(ended, min_length=1)

    def _match(
        self, frame: int, tracks: list[PersonTrack], people: np.ndarray, iou: float
    ) -> tuple[list[PersonTrack], np.ndarray]:
        """Extends tracks by the people who match them best; returns the unmatched of both."""
        if not tracks or not len(people):
            return tracks, people
        predicted = np.stack([track.predict_box(frame) for track in tracks])
        rows, columns = match_boxes(predicted, people, iou)
        for row, column in zip(rows, columns, strict=True):
            *box, score = people[column].tolist()
            tracks[row].extend(frame, np.array(box), score)
            tracks[row].last_detected, tracks[row].appearance = frame, None
        matched = set(rows.tolist())
        unmatched = [track for i, track in enumerate(tracks) if i not in matched]
        return unmatched, np.delete(people, columns, axis=0)

    def _track_by_appearance(
        self, track: PersonTrack, frame: int, image: np.ndarray, start: AppearanceTracker
    ) -> None:
        if frame - track.last_detected > self.appearance_frames or track.end < frame:
            return
        if track.appearance is None:
            if track.length < self.min_length or self._previous_image is None:
                return
            track.appearance = start(self._previous_image, track.boxes[-1])
        box = track.appearance(image)
        if box is not None:
            score = track.scores[track.last_detected - track.first_stored] / 2
            track.extend(frame, box, score)


def _cut_to_detections(tracks: list[PersonTrack], min_length: int) -> list[PersonTrack]:
    """The tracks up to their last detection, without those that are then too short.

    Where somebody was tracked by appearance beyond it, they most likely left, and the tracker went
    on with something else.
    """
    for track in tracks:
        track.appearance = None  # frees the tracker's filters, some megabytes
        count = track.last_detected - track.first_stored + 1
        del track.boxes[count:], track.scores[count:]
    return [track for track in tracks if track.length >= min_length]
