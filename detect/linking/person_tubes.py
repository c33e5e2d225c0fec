"""The tables of people who were followed: where they are, and what they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...datasets.tables import Tracks, Tubes, select_rows
from ..boxes.joins import expand_runs, pack_keys
from .motion import smooth_tracks


@dataclass(eq=False)
class People:
    """Detected people, N rows.

    Attributes:
        frame, video, track: (N,) int64 of each.
        score: (N,) that it is a person.
        boxes: (N, 4) x1 y1 x2 y2.
    """

    frame: np.ndarray
    video: np.ndarray
    track: np.ndarray
    score: np.ndarray
    boxes: np.ndarray


@dataclass(eq=False)
class ClassScores:
    """Scores of classes for people, M rows; a class without a row has score 0.

    Attributes:
        track, frame, label: (M,) int64, the person and the class.
        score: (M,) in 0 to 1; of several rows for the same the highest counts.
    """

    track: np.ndarray
    frame: np.ndarray
    label: np.ndarray
    score: np.ndarray


class FollowedPeople:
    """K tracks without gaps, made of the N detected people of whole tracks.

    Args:
        people: the N people, in any order.
        noise: see `motion.smooth_tracks`.
        continued: numbers of tracks whose last frame is another part's (see `track_parts`).

    Attributes:
        people: by track and frame.
        index: (N,) each one's track, from 0.
        video: (K,) of each track.
        first, length: (K,) first frame, and number of frames, gaps included.
        first_box, num_boxes: (K,) first row in `people`, and number of them.
        track: (R,) of each frame of each track.
        frame: (R,).
        boxes: (R, 4) smoothed.
        before, after: (R,) the rows of `people` on this frame, or before and after it.
        share: (R,) of the way from `before` to `after`.
        is_own: (R,) False on frames that are another part's.
    """

    def __init__(self, people: People, noise: float, continued: np.ndarray) -> None:
        self.people = people = select_rows(people, np.lexsort((people.frame, people.track)))
        is_first = np.diff(people.track, prepend=-1) != 0
        self.first_box = np.flatnonzero(is_first)
        self.num_boxes = np.diff(self.first_box, append=len(is_first))
        self.index = np.cumsum(is_first) - 1
        self.video = people.video[self.first_box]
        self.first = people.frame[self.first_box]
        self.length = people.frame[self.first_box + self.num_boxes - 1] - self.first + 1
        self.first_row = np.cumsum(self.length) - self.length
        self.track, self.frame = expand_runs(self.first, self.length)
        self.is_own = np.ones(len(self.track), bool)
        is_continued = np.isin(people.track[self.first_box], continued)
        self.is_own[(self.first_row + self.length - 1)[is_continued]] = False
        row = self.first_row[self.index] + people.frame - self.first[self.index]
        measured = np.zeros((len(self.track), 4))
        weight = np.zeros(len(self.track))
        measured[row], weight[row] = people.boxes, 1
        # The first and last frame of a track have a box, so each row lies between two.
        self.before = np.cumsum(weight > 0) - 1
        self.after = self.before + (weight == 0)
        start, stop = people.frame[self.before], people.frame[self.after]
        self.share = (self.frame - start) / np.maximum(stop - start, 1)
        self.boxes = smooth_tracks(self.track, measured, weight, noise)

    def tracks(self, person: np.ndarray, video_names: tuple[str, ...]) -> Tracks:
        """The table of tracks, of the persons (K,)."""
        score = self.people.score
        tracks = Tracks(
            video=self.video[self.track].astype(np.int32),
            person=person[self.track].astype(np.int32),
            frame=self.frame.astype(np.int32),
            score=score[self.before] * (1 - self.share) + score[self.after] * self.share,
            boxes=self.boxes, video_names=video_names,
        )  # fmt: skip
        return select_rows(tracks, self.is_own)


class ClassSequences:
    """The scores of classes along tracks: S sequences, one for each track and class with a score.

    Attributes:
        tracks: the tracks.
        track, label: (S,) of each sequence, ascending.
        start: (S,) index of its first score.
        length: (S,) number of its scores, one for each box of its track.
        score: all scores, one sequence after the other.
    """

    def __init__(self, tracks: FollowedPeople, scores: ClassScores, num_labels: int) -> None:
        people = tracks.people
        self.tracks = tracks
        track_numbers = people.track[tracks.first_box]
        index = np.searchsorted(track_numbers, scores.track)
        bounds = len(track_numbers), int(people.frame.max(initial=0)) + 1
        keys = pack_keys((tracks.index, bounds[0]), (people.frame, bounds[1]))
        wanted = pack_keys((index, bounds[0]), (scores.frame, bounds[1]))
        box = np.searchsorted(keys, wanted)
        names, sequence = np.unique(index * num_labels + scores.label, return_inverse=True)
        self.track, self.label = np.divmod(names, num_labels)
        self.length = tracks.num_boxes[self.track]
        self.start = np.cumsum(self.length) - self.length
        self.score = np.zeros(int(self.length.sum()))
        row = self.start[sequence] + box - tracks.first_box[index]
        np.maximum.at(self.score, row, scores.score)


@dataclass(eq=False)
class Stretches:
    """From when to when classes are present, Q rows.

    Attributes:
        sequence: (Q,) see `ClassSequences`.
        first, last: (Q,) numbers of boxes of the track, from 0; both are in it.
    """

    sequence: np.ndarray
    first: np.ndarray
    last: np.ndarray


def make_tubes(
    sequences: ClassSequences,
    stretches: Stretches,
    person: np.ndarray,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    prior_frames: int,
    key_frame_step: int = 1,
) -> Tubes:
    """One tube for each stretch, numbered from 0 by video, class, start and falling score.

    Args:
        sequences: the scores.
        stretches: of them.
        person: (K,) number of each track's person.
        names: of videos and labels.
        prior_frames: a tube's score is the mean over its frames and this many of score 0.
        key_frame_step: frames from one frame with detections to the next; those between do not
            count as missed.
    """
    tracks = sequences.tracks
    track = sequences.track[stretches.sequence]
    box = tracks.first_box[track]
    first = tracks.people.frame[box + stretches.first]
    last = tracks.people.frame[box + stretches.last]
    start = sequences.start[stretches.sequence]
    bounds = np.stack([start + stretches.first, start + stretches.last + 1], axis=1)
    total = np.add.reduceat(np.append(sequences.score, 0.0), bounds.ravel())[::2]
    length = last - first + 1
    score = np.clip(total * key_frame_step / (length + prior_frames), 0, 1)
    label = sequences.label[stretches.sequence]
    order = np.lexsort((-score, first, label, tracks.video[track]))
    number, row = expand_runs(
        (tracks.first_row[track] + first - tracks.first[track])[order], length[order]
    )
    number, row = number[tracks.is_own[row]], row[tracks.is_own[row]]
    sequence = stretches.sequence[order][number]
    offset = sequences.start[sequence] - tracks.first_box[sequences.track[sequence]]
    share = tracks.share[row]
    before = sequences.score[offset + tracks.before[row]]
    after = sequences.score[offset + tracks.after[row]]
    return Tubes(
        video=tracks.video[tracks.track[row]].astype(np.int32),
        frame=tracks.frame[row].astype(np.int32), label=label[order][number].astype(np.int32),
        boxes=tracks.boxes[row], tube=number, video_names=names[0], label_names=names[1],
        score=before * (1 - share) + after * share, tube_score=score[order][number],
        person=person[tracks.track[row]].astype(np.int32),
    )  # fmt: skip
