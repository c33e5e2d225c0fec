"""Linking of people first: one track a person, and then what each does and for how long.

The boxes of all classes on a frame are merged to people (`boxes.merging`), people are followed
(`box_tracker`) and their tracks smoothed (`motion`). Along a track each class has a score for each
box, 0 where the table has none, and `decoding` says from when to when the class is present.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from .assembly import merge_results, no_tubes
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
from .track_parts import TrackParts, iter_groups, take_parts

_MOST_CERTAIN = 1 - 1e-9
_SCORES_AT_ONCE = 1 << 19  # that are decoded together


@dataclass(frozen=True, kw_only=True)
class PersonsConfig(TrackingConfig):
    """Parameters of linking people.

    Attributes:
        merge_iou: boxes of a frame, of whatever class, that overlap a better one by this IoU or
            more are the same person.
        min_length: tracks of fewer frames are dropped.
        change_cost, max_evidence, boundary, contrast: see `decoding.decode_stretches`.
        prior_frames: a short tube is less certain: its score is the mean over its frames and this
            many of score 0.
        part_length: frames of a track that are decoded together, at most half as many more; longer
            ones are decoded in parts.
    """

    merge_iou: Annotated[float, between(0, 1)] = 0.5
    min_length: Annotated[int, at_least(0)] = 4
    change_cost: Annotated[float, at_least(0)] = 1.0
    max_evidence: Annotated[float, greater_than(0)] = 2.0
    boundary: Annotated[float, between(0, 1)] = 0.5
    contrast: Annotated[float, at_least(1)] = 2.0
    prior_frames: Annotated[int, at_least(0)] = 20
    part_length: Annotated[int, at_least(2)] = 1500


class PersonsLinker:
    """Links people and their actions; a `Linker`.

    The tubes of a person are returned once the track has ended, those of a long track in parts (see
    `track_parts`, `assembly.join_parts`), so memory grows with the number of those in sight alone.

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
        self._numbers: dict[int, int] = {}  # the persons of tracks whose first parts were returned
        self._people: list[People] = []
        nothing = np.empty(0, np.int64)
        self._scores = [ClassScores(nothing, nothing, nothing, np.empty(0))]
        self._names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._num_tubes = 0
        self._kept_rows = self._new_rows = 0  # of `_people`: kept by the last `_pop_ended`, since

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
        """The results of tracks that have ended, and of parts of long ones; they are forgotten."""
        results, is_more = [LinkResult(no_tubes(*self._names))], bool(self._people)
        num_before = self._num_tubes
        while is_more:
            divided = take_parts(
                concatenate_rows(self._people), concatenate_rows(self._scores),
                self._tracker.active, self.config.part_length,
            )  # fmt: skip
            self._people, self._scores = [divided.other_people], [divided.other_scores]
            self._kept_rows, self._new_rows = len(divided.other_people.frame), 0
            results += self._link_parts(divided.parts, divided.people, divided.scores)
            is_more = bool(divided.parts.goes_on.any())
        merged = merge_results(results)
        tube = merged.tubes.tube
        tube = tube - tube.min(initial=self._num_tubes) + num_before
        return replace(merged, tubes=replace(merged.tubes, tube=tube))

    def _link_parts(
        self, parts: TrackParts, people: People, scores: ClassScores
    ) -> Iterator[LinkResult]:
        """The results of tracks, or of parts of them, with these rows."""
        config = self.config
        is_long = parts.last - parts.first + 1 >= config.min_length
        long_enough = select_rows(parts, is_long)
        people = select_rows(people, np.isin(people.track, long_enough.track))
        scores = select_rows(scores, np.isin(scores.track, long_enough.track))
        person_of = self._number_people(long_enough)
        for track in parts.track[~parts.goes_on].tolist():
            self._looks.pop(track, None)
            self._numbers.pop(track, None)
        yield LinkResult(
            no_tubes(*self._names), num_dropped=int((~is_long).sum()), person_of=person_of
        )
        continued = parts.track[parts.goes_on]
        for group in iter_groups(people, scores, len(self._names[1]), _SCORES_AT_ONCE):
            yield self._link_tracks(*group, continued, person_of)

    def _link_tracks(
        self,
        people: People,
        scores: ClassScores,
        continued: np.ndarray,
        person_of: Mapping[int, int],
    ) -> LinkResult:
        names, config = self._names, self.config
        tracks = FollowedPeople(people, config.motion, continued)
        track_numbers = tracks.people.track[tracks.first_box]
        person = np.array([person_of[track] for track in track_numbers.tolist()], np.int64)
        sequences = ClassSequences(tracks, scores, len(names[1]))
        stretches = decode_stretches(
            sequences,
            config.change_cost,
            config.max_evidence,
            config.boundary,
            config.contrast,
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
        return LinkResult(tubes, tracks.tracks(person, names[0]))

    def _number_people(self, parts: TrackParts) -> dict[int, int]:
        """The number of each track's person in its video; parts of one track are of one person."""
        numbers = {}
        for row in np.lexsort((parts.first, parts.video)).tolist():
            track, is_open = int(parts.track[row]), bool(parts.is_open[row])
            numbers[track] = self._numbers[track] = self._identities.number(
                int(parts.video[row]), int(parts.first[row]),
                None if is_open else int(parts.last[row]), self._looks.get(track, LookSum()),
                self._numbers.get(track),
            )  # fmt: skip
        return numbers


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
