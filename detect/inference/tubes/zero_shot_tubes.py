"""From a video to labeled action tubes without training, in one pass and constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from ....backbones.classifier import PretrainedModel
from ....datasets.prefetch import prefetch
from ....datasets.table_writer import OUTPUT_FILES, open_table_writer
from ....datasets.tables import Detections
from ...linking.person_tracker import PersonTrack, PersonTracker
from ...model.zero_shot import ClipFeatures, LabelGroups, clip_features, person_logits
from ...people.appearance import track_appearance
from ...people.person_boxes import PersonBoxes
from ...people.proposals import ProposalSource
from ..video_input import VideoInput
from .video_output import StoredRows, TubeStore, VideoSummary, frames_bar, write_video_info

MARGIN = 1.15
"""Tubes are this much wider and higher than the person boxes: ground truth of actions leaves room
for arms, legs and tools. On UCF101-24 clips the IoU with it rises by up to 0.13."""
LENGTH_PRIOR = 60
"""A short tube is less certain: its score is averaged with this many frames of score 0, or with as
many as the video has if it is shorter."""
LABELS_KEPT = 5
"""Labels of each person in the table of detections."""
_FRAMES_PER_BATCH = 8
_BOXES_IN_MEMORY = 256  # of a person who is still tracked, before they go to disk


def zero_shot_tubes(
    video: VideoInput,
    model: PretrainedModel,
    source: ProposalSource,
    labels: LabelGroups,
    folder: Path,
    *,
    scene_weight: float = 0.5,
    clip_length: int = 64,
    threshold: float = 0.05,
    device: str = "cpu",
    progress: bool = True,
) -> VideoSummary:
    """Tracks the people of a video, labels what each does, and writes the tables.

    Memory does not grow with the frames: boxes wait on disk. About 500 bytes stay in memory for
    each tube, and less than one byte for each of its boxes.

    Args:
        video: see `open_video`.
        model: trunk and classifier.
        source: where people are.
        labels: the classes to choose from.
        folder: gets the `RESULT_FILES`. There is one tube for each person, with the best label;
            tubes are numbered from the highest score to the lowest. Detections are in the order of
            the tubes: `LABELS_KEPT` rows for each box, one for each of the person's best labels.
        scene_weight: weight of the logits of the whole frame against those of the person's region.
        clip_length: frames that the trunk sees at once.
        threshold: the lowest score of a tube.
        device: where the trunk runs.
        progress: show a bar with the time left.
    """
    info = video.info
    opened = source.open(info)
    tracker = PersonTracker(appearance=track_appearance)
    ended: list[PersonTrack] = []
    clip: deque[np.ndarray] = deque(maxlen=clip_length)
    size = trunk_size(info.width, info.height)
    counted = 0  # frames whose logits are summed up
    number = 0  # of the next frame

    def with_person_boxes(
        batches: Iterator[np.ndarray],
    ) -> Iterator[tuple[np.ndarray, list[PersonBoxes]]]:
        for index, batch in enumerate(batches):
            yield batch, opened.propose(batch, index * _FRAMES_PER_BATCH)

    def add_clip(people: _People) -> None:
        """Adds the logits of the frames from `counted` on, with earlier frames as context."""
        nonlocal counted
        present = [t for t in (*tracker.active, *ended) if t.start < number and t.end > counted]
        if present:
            features = clip_features(model, np.stack(clip), device, clip_length)
            people.add_logits(features, present, counted, number)
        counted = number
        for track in tracker.active:
            people.move_to_disk(track, counted)
        # From here on the prior does not depend on the length of the video.
        if number >= LENGTH_PRIOR:
            close(people)

    def close(people: _People) -> None:
        for track in ended:
            people.close(track, number)
        ended.clear()

    with (
        TemporaryFile(dir=folder) as file,
        frames_bar(info, progress) as bar,
        prefetch(_batches(video.frames(0)), 2) as batches,
        prefetch(with_person_boxes(batches), 2) as batches_with_boxes,
    ):
        store = TubeStore(file)
        people = _People(
            model=model, store=store, labels=labels, scene_weight=scene_weight,
            threshold=threshold, frame_size=np.array([info.width, info.height] * 2, np.float64),
        )  # fmt: skip
        for batch, boxes_of_batch in batches_with_boxes:
            for frame, boxes in zip(batch, boxes_of_batch, strict=True):
                scored_boxes = np.column_stack([boxes.boxes, boxes.score])
                ended += tracker.update(number, scored_boxes, frame)
                clip.append(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA))
                number += 1
                if number - counted == clip_length:
                    add_clip(people)
            bar.update(len(batch))
        ended += tracker.finish()
        if number > counted:
            add_clip(people)
        close(people)
        _write_boxes(store, video.name, labels.names, folder)
        note = people.note(tracker)
        return write_video_info(store, video, labels.names, number, folder, note)


def trunk_size(width: int, height: int) -> tuple[int, int]:
    """(height, width) of the trunk's input: short side 256, long side at most 512, multiples of 16.

    The Kinetics networks were evaluated near 256x320; longer frames cost memory.
    """
    scale = min(256 / min(width, height), 512 / max(width, height))
    tall, wide = (max(32, round(side * scale / 16) * 16) for side in (height, width))
    return tall, wide


def _batches(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _FRAMES_PER_BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


@dataclass
class _Person:
    """What is summed up for one person so far.

    Attributes:
        own, scene: logits of the person's region and of the whole frame, summed over frames.
        frames: number of these frames.
        parts: the boxes on disk.
        total: sum of the person scores of these boxes.
    """

    own: np.ndarray | float = 0.0
    scene: np.ndarray | float = 0.0
    frames: int = 0
    parts: list[StoredRows] = field(default_factory=list)
    total: float = 0.0


@dataclass
class _People:
    """Sums up the logits of people, moves their boxes to disk, and scores them when they are gone.

    Attributes:
        model: trunk and classifier.
        store: gets the tubes; scores of boxes are those of the person detector.
        labels, scene_weight, threshold: see `zero_shot_tubes`.
        frame_size: (4,) width, height, width and height of the frames.
        people: by track; weak, so that tracks that the tracker drops are freed.
        num_dropped: how many had too low a score.
    """

    model: PretrainedModel
    store: TubeStore
    labels: LabelGroups
    scene_weight: float
    threshold: float
    frame_size: np.ndarray
    people: WeakKeyDictionary[PersonTrack, _Person] = field(default_factory=WeakKeyDictionary)
    num_dropped: int = 0

    def add_logits(
        self, clip: ClipFeatures, tracks: list[PersonTrack], start: int, end: int
    ) -> None:
        """Adds the logits of each person in the frames start to end, the last ones of `clip`."""
        first = end - clip.frames  # number of the clip's first frame
        boxes = np.zeros((len(tracks), clip.frames, 4))
        present = np.zeros((len(tracks), clip.frames), bool)
        for row, track in enumerate(tracks):
            begin, stop = max(track.start, start), min(track.end, end)
            columns = slice(begin - first, stop - first)
            boxes[row, columns] = track.boxes[
                begin - track.first_stored : stop - track.first_stored
            ]
            present[row, columns] = True
        logits, frames = person_logits(self.model, clip, boxes / self.frame_size, present)
        for track, own, count in zip(tracks, logits, frames.tolist(), strict=True):
            person = self.people.setdefault(track, _Person())
            person.own = person.own + own * count
            person.scene = person.scene + clip.scene * count
            person.frames += count

    def move_to_disk(self, track: PersonTrack, before: int) -> None:
        """Moves boxes of the frames before `before` to disk once there are many."""
        if min(before, track.last_detected) - track.first_stored >= _BOXES_IN_MEMORY:
            start = track.first_stored
            self._store_boxes(self.people[track], start, *track.pop_final(before))

    def close(self, track: PersonTrack, num_frames: int) -> None:
        """Scores a person whose track has ended, and keeps the tube if its score is high enough.

        Args:
            num_frames: of the video; so far is enough from `LENGTH_PRIOR` on.
        """
        person = self.people[track]
        weight = self.scene_weight
        logits = ((1 - weight) * person.own + weight * person.scene) / person.frames
        label_scores = self.labels.scores(np.asarray(logits))
        prior = min(LENGTH_PRIOR, num_frames)
        total = person.total + sum(track.scores)
        score = float(label_scores.max() * total / (track.length + prior))
        if score >= self.threshold:
            self._store_boxes(person, track.first_stored, track.boxes, track.scores)
            best = np.argsort(-label_scores, kind="stable")[:LABELS_KEPT]
            labels = list(zip(best.tolist(), label_scores[best].tolist()))
            self.store.add_tube(person.parts, (track.start, track.end - 1), score, labels)
        else:
            self.num_dropped += 1

    def note(self, tracker: PersonTracker) -> str:
        """What was left out, in words; "" for nothing."""
        if tracker.best_score < 0:
            return "no people found"
        if tracker.best_score < tracker.start_score:
            return (
                f"no person score reaches {tracker.start_score}; the best {tracker.best_score:.2f}"
            )
        notes = []
        if tracker.num_dropped:
            notes.append(f"{tracker.num_dropped} on fewer than {tracker.min_length} frames")
        if self.num_dropped:
            notes.append(f"{self.num_dropped} with a score below {self.threshold}")
        return f"people left out: {', '.join(notes)}" if notes else ""

    def _store_boxes(
        self, person: _Person, start: int, boxes: list[np.ndarray], scores: list[float]
    ) -> None:
        frame = np.arange(start, start + len(boxes), dtype=np.int32)
        enlarged = _with_margin(np.stack(boxes), self.frame_size)
        person.parts.append(self.store.add_boxes(frame, np.array(scores), enlarged))
        person.total += sum(scores)


def _write_boxes(store: TubeStore, name: str, names: tuple[str, ...], folder: Path) -> None:
    """Writes the tables of detections and tubes; a score is that of the box times the label's."""
    count = min(LABELS_KEPT, len(names))
    with (
        open_table_writer(folder / OUTPUT_FILES.detections) as detections,
        open_table_writer(folder / OUTPUT_FILES.tubes) as tubes,
    ):
        for rows in store.iter_by_score(name, names):
            numbers, index = np.unique(rows.tube, return_inverse=True)
            label, label_score = store.label_scores(numbers, count)
            assert rows.score is not None
            score = rows.score[:, None] * label_score[index]
            tubes.write(replace(rows, score=score[:, 0]))
            row = np.repeat(np.arange(len(rows)), count)
            detections.write(
                Detections(
                    video=rows.video[row], frame=rows.frame[row], label=label[index].ravel(),
                    score=score.ravel(), boxes=rows.boxes[row], video_names=(name,),
                    label_names=names,
                )
            )  # fmt: skip


def _with_margin(boxes: np.ndarray, frame_size: np.ndarray) -> np.ndarray:
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * MARGIN
    return np.concatenate([center - half, center + half], axis=1).clip(0, frame_size)
