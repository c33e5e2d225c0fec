"""People followed through a video, whatever they do: an online linker of person boxes by IoU.

Two rounds of matching a frame, confident boxes first and faint ones then, after ByteTrack (Zhang et
al. 2022, section 3): a faint box may continue a track but never starts one. Each track looks for
its box where its last motion would have brought it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..boxes.iou import pairwise_iou
from ..people.appearance import Follow, track_appearance

_SAME_PERSON = 0.5


@dataclass(eq=False)
class PersonTrack:
    """One person over consecutive frames.

    Attributes:
        start: number of the first frame.
        boxes: one x1 y1 x2 y2 a frame, in pixels, from frame `kept` on.
        scores: one person score a frame, from frame `kept` on. Frames in which nobody was detected
            have half of the last detection's score where the person was followed by appearance,
            and the lower of the two neighbours' scores where the box is interpolated.
        velocity: recent motion of the box, in pixels a frame.
        detected: number of the last frame with a detection.
        follow: finds the person in the next frame while the detector misses them.
        taken: frames whose boxes `take` has given away.
    """

    start: int
    boxes: list[np.ndarray]
    scores: list[float]
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))
    detected: int = 0
    follow: Follow | None = None
    taken: int = 0

    @property
    def kept(self) -> int:
        """Number of the first frame whose box is here."""
        return self.start + self.taken

    @property
    def end(self) -> int:
        """Number of the frame after the last."""
        return self.kept + len(self.boxes)

    @property
    def length(self) -> int:
        """How many frames, those taken away among them."""
        return self.end - self.start

    def take(self, before: int) -> tuple[list[np.ndarray], list[float]]:
        """Gives away boxes and scores of the frames from `kept` to `before`; those are final.

        The last detection stays, for the next one is looked for from there, and all frames after
        it, which may yet be cut off.
        """
        count = max(min(before, self.detected) - self.kept, 0)
        boxes, scores = self.boxes[:count], self.scores[:count]
        del self.boxes[:count], self.scores[:count]
        self.taken += count
        return boxes, scores

    def expected(self, frame: int) -> np.ndarray:
        """Where the box should be in `frame`."""
        return self.boxes[-1] + self.velocity * (frame - self.end + 1)

    def extend(self, frame: int, box: np.ndarray, score: float) -> None:
        """Appends the box of `frame`, interpolating the frames since the last one."""
        steps = frame - self.end + 1
        last, motion = self.boxes[-1], (box - self.boxes[-1]) / steps
        for step in range(1, steps):
            self.boxes.append(last + motion * step)
            self.scores.append(min(self.scores[-1], score))
        self.boxes.append(box)
        self.scores.append(score)
        # The centre's motion alone: a box that grows and shrinks must not run away.
        centre = (motion[:2] + motion[2:]) / 2
        self.velocity = 0.5 * self.velocity + 0.5 * np.concatenate([centre, centre])


class PersonTracker:
    """Takes the people of one frame after the other and keeps the tracks that go on.

    Of a track that goes on, all boxes stay that nobody takes (`PersonTrack.take`).

    Args:
        start_score: person score that a box needs to start a track.
        iou: least overlap of a box with where its track expects it.
        gap: frames without a box after which a track ends.
        follow: frames without a detection through which a person is followed by appearance.
        min_length: tracks of fewer frames are dropped, and shorter ones are not followed.
    """

    def __init__(
        self,
        start_score: float = 0.5,
        iou: float = 0.3,
        gap: int = 15,
        follow: int = 30,
        min_length: int = 8,
    ) -> None:
        self.start_score, self.iou, self.min_length = start_score, iou, min_length
        self.gap, self.follow = gap, follow
        self.active: list[PersonTrack] = []
        self._picture: np.ndarray | None = None

    def step(
        self, frame: int, people: np.ndarray, picture: np.ndarray | None = None
    ) -> list[PersonTrack]:
        """Links the people of `frame`; returns the tracks that ended before it.

        Args:
            frame: its number; frames come in rising order.
            people: (P, 5) x1 y1 x2 y2 in pixels and score.
            picture: (H, W, 3) uint8, to follow those by who are not detected; None not to.
        """
        over = [track for track in self.active if frame - track.end >= self.gap]
        self.active = [track for track in self.active if frame - track.end < self.gap]
        left = list(self.active)
        confident = people[:, 4] >= self.start_score
        left, new = self._continue(frame, left, people[confident], self.iou)
        left, _ = self._continue(frame, left, people[~confident], self.iou)
        # Somebody who moved fast is still more likely the one just lost than somebody new.
        left, new = self._continue(frame, left, new, self.iou / 3)
        if picture is not None:
            for track in left:
                self._follow(track, frame, picture)
        here = [track.boxes[-1] for track in self.active if track.detected == frame]
        if here and len(new):
            # A second box of somebody who is already followed is nobody new.
            new = new[pairwise_iou(new, np.stack(here)).max(axis=1) < _SAME_PERSON]
        for *box, score in new.tolist():
            self.active.append(PersonTrack(frame, [np.array(box)], [score], detected=frame))
        self._picture = picture
        return _trimmed(over, self.min_length)

    def finish(self) -> list[PersonTrack]:
        """Ends and returns the tracks that still go on, short ones too: the video cut them off."""
        over, self.active = self.active, []
        return _trimmed(over, min_length=1)

    def _continue(
        self, frame: int, tracks: list[PersonTrack], people: np.ndarray, iou: float
    ) -> tuple[list[PersonTrack], np.ndarray]:
        """Extends tracks by the people who match them best; returns those left over of both."""
        if not tracks or not len(people):
            return tracks, people
        overlap = pairwise_iou(np.stack([track.expected(frame) for track in tracks]), people)
        # Pairs that are too far apart must not sway the choice among the others.
        overlap[overlap < iou] = 0
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        good = overlap[rows, columns] > 0
        for row, column in zip(rows[good], columns[good], strict=True):
            *box, score = people[column].tolist()
            tracks[row].extend(frame, np.array(box), score)
            tracks[row].detected, tracks[row].follow = frame, None
        matched = set(rows[good].tolist())
        left = [track for i, track in enumerate(tracks) if i not in matched]
        return left, np.delete(people, columns[good], axis=0)

    def _follow(self, track: PersonTrack, frame: int, picture: np.ndarray) -> None:
        if frame - track.detected > self.follow or track.end < frame:
            return
        if track.follow is None:
            if track.length < self.min_length or self._picture is None:
                return
            track.follow = track_appearance(self._picture, track.boxes[-1])
        box = track.follow(picture)
        if box is not None:
            score = track.scores[track.detected - track.kept] / 2
            track.extend(frame, box, score)


def _trimmed(tracks: list[PersonTrack], min_length: int) -> list[PersonTrack]:
    """The tracks up to their last detection, without those that are then too short."""
    for track in tracks:
        track.follow = None  # frees the tracker's filters, some megabytes
        # Followed beyond it, they most likely left, and something else was followed.
        here = track.detected - track.kept + 1
        del track.boxes[here:], track.scores[here:]
    return [track for track in tracks if track.length >= min_length]
