"""Linking of people first: one track a person, and then what each does and for how long.

The boxes of all classes on a frame are merged to people (`boxes.merging`), people are followed
(`box_tracker`) and their tracks smoothed (`motion`). Along a track each class has a score for each
box, 0 where the table has none, and `decoding` says from when to when the class is present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from ...datasets.options import at_least, between, greater_than
from ...datasets.overrides import override_fields
from ...datasets.tables import (
    Detections,
    Tubelets,
    Videos,
    concatenate_rows,
    select_rows,
)
from ..boxes.merging import group_overlapping
from .assembly import no_tubes
from .box_tracker import BoxTracker, TrackingConfig
from .decoding import decode_stretches
from .identities import Identities, LookSum, add_looks
from .interface import Calibration, LinkConfig, LinkResult
from .person_tubes import (
    ClassScores,
    ClassSequences,
    FollowedPeople,
    People,
    make_tubes,
)

_MOST_CERTAIN = 1 - 1e-9


@dataclass(frozen=True, kw_only=True)
class PersonsConfig(TrackingConfig):
    """Parameters of linking people.

    Attributes:
        merge_iou: boxes of a frame, of whatever class, that overlap a better one by this IoU or
            more are the same person.
        min_length: tracks of fewer frames are dropped.
        change_cost, max_evidence, boundary: see `decoding.decode_stretches`.
        prior_frames: a short tube is less certain: its score is the mean over its frames and this
            many of score 0.
    """

    merge_iou: Annotated[float, between(0, 1)] = 0.5
    min_length: Annotated[int, at_least(0)] = 4
    change_cost: Annotated[float, at_least(0)] = 1.0
    max_evidence: Annotated[float, greater_than(0)] = 2.0
    boundary: Annotated[float, between(0, 1)] = 0.5
    prior_frames: Annotated[int, at_least(0)] = 20


class PersonsLinker:
    """Links people and their actions; a `Linker`.

    The tubes of a person are returned once the track has ended, so memory grows with those who are
    followed alone.

    `update` takes the boxes of classes. Where what people do is known later than where they are,
    `follow`, `add_scores` and `pop_ended` are called in turn.

    Args:
        config: the parameters.
        key_frame_step: frames from one frame with detections to the next.
        calibration: makes probabilities of the tubes' scores.
    """

    def __init__(
        self,
        config: PersonsConfig = PersonsConfig(),
        key_frame_step: int = 1,
        calibration: Calibration | None = None,
    ) -> None:
        self.config, self.key_frame_step = config, key_frame_step
        self._calibration = calibration or Calibration()
        self._tracker = BoxTracker(config, key_frame_step)
        self._identities = Identities()
        self._looks: dict[int, LookSum] = {}
        self._people: list[People] = []
        nothing = np.empty(0, np.int64)
        self._scores = [ClassScores(nothing, nothing, nothing, np.empty(0))]
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._num_tubes = 0
        self._kept_rows = self._new_rows = 0  # of `_people`: kept by the last `_take_ended`, since

    def update(
        self, detections: Detections | Tubelets, appearance: np.ndarray | None = None
    ) -> LinkResult:
        """See `Linker.update`.

        Args:
            appearance: see `follow`.
        """
        if isinstance(detections, Tubelets):
            detections = detections.as_detections()
        track = self.follow(detections, appearance)
        self.add_scores(
            ClassScores(
                track=track, frame=detections.frame.astype(np.int64),
                label=detections.label.astype(np.int64), score=detections.score,
            )
        )  # fmt: skip
        return replace(self.pop_ended(), detection_track=track)

    def follow(self, detections: Detections, appearance: np.ndarray | None = None) -> np.ndarray:
        """Follows people over the next frames, whatever they do; `add_scores` says what.

        Args:
            detections: of the next frames, with the same names as before.
            appearance: (R, D) what each box looks like, any vectors whose angle is small for the
                same person; without, somebody who comes back has a new number.

        Returns:
            (R,) the number of each one's track; no number ever stands for two tracks.
        """
        self._names = detections.video_names, detections.label_names
        people, person = merge_people(detections, self.config.merge_iou)
        frames, first = np.unique(people.frame, return_index=True)
        bounds = [*first.tolist(), len(people.frame)]
        for index, frame in enumerate(frames.tolist()):
            rows = slice(bounds[index], bounds[index + 1])
            people.track[rows] = self._tracker.update(
                frame, people.video[rows], people.boxes[rows], people.score[rows]
            )
        self._people.append(people)
        self._new_rows += len(people.frame)
        track = people.track[person]
        if appearance is not None:
            add_looks(self._looks, track, appearance)
        return track

    def add_scores(self, scores: ClassScores) -> None:
        """Says what people do, whose tracks `pop_ended` has not returned yet."""
        self._scores.append(scores)

    def pop_ended(self) -> LinkResult:
        """The results of tracks that have ended, now or with a later call."""
        # Now and then is often enough: the work of separating rows stays linear in them.
        if self._new_rows < self._kept_rows:
            return LinkResult(no_tubes(*self._names))
        return self._pop_ended()

    def finish(self) -> LinkResult:
        """See `Linker.finish`; later detections start new tracks, of new people."""
        self._tracker.end_all()
        result = self._pop_ended()
        self._identities.end_shot()
        return result

    def _pop_ended(self) -> LinkResult:
        """The results of the tracks that have ended; they are forgotten."""
        names, config = self._names, self.config
        if not self._people:
            return LinkResult(no_tubes(*names))
        people, scores, looks = self._take_ended()
        long_enough = _long_tracks(people, config.min_length)
        num_dropped = len(np.unique(people.track)) - len(long_enough)
        people = select_rows(people, np.isin(people.track, long_enough))
        scores = select_rows(scores, np.isin(scores.track, long_enough))
        if not len(people.frame):
            return LinkResult(no_tubes(*names), num_dropped=num_dropped)
        tracks = FollowedPeople(people, config.motion)
        person = self._number_people(tracks, looks)
        sequences = ClassSequences(tracks, scores, len(names[1]))
        stretches = decode_stretches(
            sequences,
            config.change_cost,
            config.max_evidence,
            config.boundary,
        )
        tubes = make_tubes(
            sequences, stretches, person, names, config.prior_frames, self.key_frame_step
        )
        num_tubes = int(tubes.tube.max(initial=-1)) + 1
        assert tubes.tube_score is not None
        tubes = replace(
            tubes, tube=tubes.tube + self._num_tubes,
            tube_score=self._calibration.probability(tubes.tube_score),
        )  # fmt: skip
        self._num_tubes += num_tubes
        track_numbers = tracks.people.track[tracks.first_box]
        return LinkResult(
            tubes, tracks.tracks(person, names[0]), num_dropped=num_dropped,
            person_of=dict(zip(track_numbers.tolist(), person.tolist())),
        )  # fmt: skip

    def _take_ended(self) -> tuple[People, ClassScores, dict[int, LookSum]]:
        """Removes the rows of the tracks that have ended, and how their people look."""
        people, scores = concatenate_rows(self._people), concatenate_rows(self._scores)
        active = self._tracker.active
        is_open, has_open = np.isin(people.track, active), np.isin(scores.track, active)
        self._people = [select_rows(people, is_open)]
        self._scores = [select_rows(scores, has_open)]
        self._kept_rows, self._new_rows = int(is_open.sum()), 0
        ended = set(self._looks) - set(active.tolist())
        looks = {track: self._looks.pop(track) for track in ended}
        return select_rows(people, ~is_open), select_rows(scores, ~has_open), looks

    def _number_people(self, tracks: FollowedPeople, looks: Mapping[int, LookSum]) -> np.ndarray:
        """(K,) the number of each track's person in its video."""
        person = np.empty(len(tracks.first), np.int64)
        track = tracks.people.track[tracks.first_box]
        for index in np.lexsort((tracks.first, tracks.video)).tolist():
            first = int(tracks.first[index])
            last = first + int(tracks.length[index]) - 1
            person[index] = self._identities.number(
                int(tracks.video[index]), first, last, looks.get(int(track[index]), LookSum())
            )
        return person


def make_persons_linker(
    config: LinkConfig, videos: Videos | None = None, calibration: Calibration | None = None
) -> PersonsLinker:
    """A linker of people, with the parameters of the calibration where there is one.

    Where detections are on every n-th frame alone, a track goes on over one of those frames
    without a box.
    """
    known, step = calibration or Calibration(), config.key_frame_step
    usual = PersonsConfig()
    preset = replace(
        usual,
        change_cost=known.change_cost,
        boundary=known.boundary,
        motion=known.motion,
        min_length=config.min_length(known.min_length),
        prior_frames=config.min_length(usual.prior_frames),
        gap=usual.gap if step == 1 else max(usual.gap, 2 * step),
    )
    return PersonsLinker(override_fields(preset, config.overrides), step, calibration)


def merge_people(detections: Detections, iou: float) -> tuple[People, np.ndarray]:
    """The people of each frame, from the boxes of all classes.

    A person has the box with the highest score, and as score the probability that at least one of
    the boxes is right, were they independent. `track` is not set.

    Args:
        detections: R boxes.
        iou: see `PersonsConfig.merge_iou`.

    Returns:
        the people by frame and video, and (R,) the person of each box.
    """
    num_videos = max(len(detections.video_names), 1)
    key = detections.frame.astype(np.int64) * num_videos + detections.video
    best, person = group_overlapping(detections, key, iou)
    count = len(best)
    frame, video = np.divmod(key[best], num_videos)
    wrong = np.bincount(person, np.log1p(-np.minimum(detections.score, _MOST_CERTAIN)), count)
    people = People(
        frame=frame, video=video, track=np.full(count, -1), score=-np.expm1(wrong),
        boxes=detections.boxes[best],
    )  # fmt: skip
    return people, person


def _long_tracks(people: People, min_length: int) -> np.ndarray:
    """The numbers of the tracks that are long enough."""
    track, index = np.unique(people.track, return_inverse=True)
    first = np.full(len(track), np.iinfo(np.int64).max)
    last = np.full(len(track), -1)
    np.minimum.at(first, index, people.frame)
    np.maximum.at(last, index, people.frame)
    return track[last - first + 1 >= min_length]
