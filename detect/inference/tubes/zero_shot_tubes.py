"""From a video to labeled people without training, in one pass and constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ....backbones.classifier import PretrainedModel
from ....datasets.prefetch import prefetch
from ....datasets.tables import Detections
from ....datasets.video.cuts import mark_cuts
from ...linking.interface import Calibration, LinkConfig, LinkResult
from ...linking.person_tubes import ClassScores
from ...linking.persons import PersonsLinker, make_persons_linker
from ...model.zero_shot import (
    LabelGroups,
    activation_shares,
    clip_features,
    person_logits,
    score_labels,
)
from ...people.appearance import describe_people
from ...people.person_boxes import PersonBoxes
from ...people.proposals import ProposalSource
from ..video_input import FrameTimes, VideoInput
from .video_output import VideoSummary, frames_bar
from .video_tables import LABELS_KEPT, VideoTables, open_video_tables

MARGIN = 1.15
"""Tubes are this much wider and higher than the person boxes: ground truth of actions leaves room
for arms, legs and tools. On UCF101-24 clips the IoU with it rises by up to 0.13."""
TUBE_SCORE_THRESHOLD = 0.5
"""The lowest score of tubes that are written: whoever has none does nothing that is likely."""
PERSON_SCORE_THRESHOLD = 0.3
"""The lowest mean score of people who are written though they do nothing that has a name."""
FOLLOWED_SCORE_THRESHOLD = 0.12
"""The lowest mean score of others; a lower one is mostly a second box of somebody."""
CALIBRATION = Calibration(change_cost=16.0, score_scale=0.7, score_shift=1.7)
"""The frames of a clip share their scores, so a change costs more than where each frame has its
own. Scale and shift make the score of a tube the probability that its label is right."""
PERSON_POWER = 0.5
"""Power of the person detector's score in that of an action: somebody who does something and is
followed is a person, even where the detector is not sure."""
_FRAMES_PER_BATCH = 8


def zero_shot_tubes(
    video: VideoInput,
    model: PretrainedModel,
    source: ProposalSource,
    labels: LabelGroups,
    folder: Path,
    *,
    scene_weight: float = 0.5,
    clip_length: int = 64,
    threshold: float = TUBE_SCORE_THRESHOLD,
    device: str = "cpu",
    progress: bool = True,
) -> VideoSummary:
    """Follows the people of a video, says what each does and when, and writes the tables.

    The trunk runs on clips of `clip_length` frames, of which none goes on over a cut. In each clip
    every person has scores of labels, which the linker of people decodes like those of a trained
    detector (see `score_labels`, `PersonsLinker`). Memory does not grow
    with the frames: rows wait on disk.

    Args:
        video: see `open_video`.
        model: trunk and classifier.
        source: where people are.
        labels: the classes to choose from.
        folder: gets the `RESULT_FILES`. Tubes are numbered from the highest score to the lowest,
            people in the order in which they appear. There are `LABELS_KEPT` detections for each
            person box, one for each of its best labels.
        scene_weight: weight of the logits of the whole frame against those of the person's region.
        clip_length: frames that the trunk sees at once.
        threshold: the lowest score of a tube.
        device: where the trunk runs.
        progress: show a bar with the time left.
    """
    info, times = video.info, FrameTimes()
    opened = source.open(info)
    size = trunk_size(info.width, info.height)

    def with_people(
        batches: Iterator[tuple[np.ndarray, list[bool]]],
    ) -> Iterator[tuple[np.ndarray, list[bool], list[_SeenPeople]]]:
        number = 0
        for frames, is_cut in batches:
            found = opened.propose(frames, number)
            number += len(frames)
            yield frames, is_cut, [_look(frame, boxes) for frame, boxes in zip(frames, found)]

    with (
        open_video_tables(
            folder, threshold, PERSON_SCORE_THRESHOLD, FOLLOWED_SCORE_THRESHOLD
        ) as tables,
        frames_bar(info, progress) as bar,
        prefetch(_batches(times.read(video)), 2) as batches,
        prefetch(with_people(batches), 2) as batches_with_people,
    ):
        builder = _Builder(
            tables=tables, model=model, labels=labels, scene_weight=scene_weight, device=device,
            name=video.name, frame_size=np.array([info.width, info.height] * 2, np.float64),
            linker=make_persons_linker(
                LinkConfig(num_frames=info.num_frames), calibration=CALIBRATION
            ),
            clip_length=clip_length,
        )  # fmt: skip
        for frames, is_cut, people in batches_with_people:
            for frame, starts_shot, seen in zip(frames, is_cut, people, strict=True):
                if starts_shot:
                    builder.end_shot()
                small = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
                builder.add_frame(small, seen)
            bar.update(len(frames))
        builder.end_shot()
        return tables.write(video, labels.names, times, folder, builder.note())


def trunk_size(width: int, height: int) -> tuple[int, int]:
    """(height, width) of the trunk's input: short side 256, long side at most 512, multiples of 16.

    The Kinetics networks were evaluated near 256x320; longer frames cost memory.
    """
    scale = min(256 / min(width, height), 512 / max(width, height))
    tall, wide = (max(32, round(side * scale / 16) * 16) for side in (height, width))
    return tall, wide


def _batches(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, list[bool]]]:
    """(T, H, W, 3) frames, and whether a shot begins with each."""
    batch: list[tuple[np.ndarray, bool]] = []
    for item in mark_cuts(frames):
        batch.append(item)
        if len(batch) == _FRAMES_PER_BATCH:
            yield np.stack([frame for frame, _ in batch]), [is_cut for _, is_cut in batch]
            batch = []
    if batch:
        yield np.stack([frame for frame, _ in batch]), [is_cut for _, is_cut in batch]


class _SeenPeople(NamedTuple):
    """The people on a frame: (P, 4) boxes, (P,) scores that they are people, (P, D) looks."""

    boxes: np.ndarray
    score: np.ndarray
    looks: np.ndarray


def _look(frame: np.ndarray, people: PersonBoxes) -> _SeenPeople:
    boxes = people.boxes.astype(np.float64)
    return _SeenPeople(boxes, people.score.astype(np.float64), describe_people(frame, boxes))


@dataclass
class _Builder:
    """Follows people, and says what they do once a clip is full or a shot ends.

    Attributes:
        tables: get the results.
        model, labels, scene_weight, device: see `zero_shot_tubes`.
        name: of the video.
        frame_size: (4,) width, height, width and height of the frames.
        linker: of people.
        clip_length: frames that the trunk sees at once.
        clip: the last frames of the shot, of the trunk's size.
        waiting: the people on those of them that have no scores yet.
        number: of the next frame.
        best_score: of all boxes so far, -1 without any.
    """

    tables: VideoTables
    model: PretrainedModel
    labels: LabelGroups
    scene_weight: float
    device: str
    name: str
    frame_size: np.ndarray
    linker: PersonsLinker
    clip_length: int
    clip: deque[np.ndarray] = field(init=False)
    waiting: list[_SeenPeople] = field(default_factory=list)
    number: int = 0
    best_score: float = -1.0

    def __post_init__(self) -> None:
        self.clip = deque(maxlen=self.clip_length)

    def add_frame(self, frame: np.ndarray, people: _SeenPeople) -> None:
        """Takes the next frame, of the trunk's size, with the people on it."""
        self.clip.append(frame)
        self.waiting.append(people)
        self.number += 1
        if len(self.waiting) == self.clip_length:
            self._add_clip()

    def end_shot(self) -> None:
        """Ends all tracks; the next frame is of another shot, or there is none."""
        if self.waiting:
            self._add_clip()
        self._add(self.linker.finish())
        self.clip.clear()

    def _add_clip(self) -> None:
        """Scores the people on the waiting frames, with earlier frames as context."""
        people = self._people()
        self.best_score = max(self.best_score, people.score.max(initial=-1.0))
        looks = np.concatenate([each.looks for each in self.waiting])
        track = self.linker.follow(people, looks)
        if len(people):
            scores, detections = self._score(people, track)
            self.linker.add_scores(scores)
            self.tables.add_detections(detections, np.repeat(track, self._labels_kept))
        self.waiting.clear()
        self._add(self.linker.pop_ended())

    def _people(self) -> Detections:
        """The people on the waiting frames as a table, in which the label means nothing."""
        counts = [len(each.score) for each in self.waiting]
        first = self.number - len(self.waiting)
        frame = np.repeat(np.arange(first, self.number, dtype=np.int32), counts)
        zeros = np.zeros(len(frame), np.int32)
        return Detections(
            zeros, frame, zeros, np.concatenate([each.score for each in self.waiting]),
            np.concatenate([each.boxes for each in self.waiting]), (self.name,), self.labels.names,
        )  # fmt: skip

    @property
    def _labels_kept(self) -> int:
        return min(LABELS_KEPT, len(self.labels.names))

    def _score(self, people: Detections, track: np.ndarray) -> tuple[ClassScores, Detections]:
        """The best labels of each person box, as scores of tracks and as detections."""
        clip = clip_features(self.model, np.stack(self.clip), self.device, self.clip_length)
        numbers, row = np.unique(track, return_inverse=True)
        column = people.frame - (self.number - clip.frames)  # in the clip
        boxes = np.zeros((len(numbers), clip.frames, 4))
        present = np.zeros((len(numbers), clip.frames), bool)
        boxes[row, column], present[row, column] = people.boxes / self.frame_size, True
        own, _ = person_logits(self.model, clip, boxes, present)
        share = activation_shares(self.model, clip, boxes, present)
        scored = score_labels(own, clip.scene, share, self.labels, self.scene_weight)
        count = self._labels_kept
        best = np.argsort(-scored, axis=-1, kind="stable")[:, :count]
        label = best[row]
        score = np.take_along_axis(scored, best, -1)[row] * people.score[:, None] ** PERSON_POWER
        each = np.repeat(np.arange(len(people)), count)
        scores = ClassScores(
            track[each], people.frame[each].astype(np.int64), label.ravel(), score.ravel()
        )
        detections = Detections(
            people.video[each], people.frame[each], label.ravel().astype(np.int32), score.ravel(),
            _with_margin(people.boxes[each], self.frame_size), (self.name,), self.labels.names,
        )  # fmt: skip
        return scores, detections

    def _add(self, linked: LinkResult) -> None:
        tubes = replace(linked.tubes, boxes=_with_margin(linked.tubes.boxes, self.frame_size))
        tracks = linked.tracks
        if tracks is not None:
            tracks = replace(tracks, boxes=tracks.boxes.clip(0, self.frame_size))
        self.tables.add(replace(linked, tubes=tubes, tracks=tracks))

    def note(self) -> str:
        """What was left out, in words; "" for nothing."""
        if self.best_score < 0:
            return "no people found"
        notes = []
        if dropped := self.tables.num_dropped:
            notes.append(f"{dropped} on fewer than {self.linker.config.min_length} frames")
        if dropped := self.tables.num_left_out:
            notes.append(f"{dropped} of too low a score")
        return f"people left out: {', '.join(notes)}" if notes else ""


def _with_margin(boxes: np.ndarray, frame_size: np.ndarray) -> np.ndarray:
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * MARGIN
    return np.concatenate([center - half, center + half], axis=1).clip(0, frame_size)
