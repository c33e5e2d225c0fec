"""From a video file to the files of its labelled action tubes, in one pass and constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from tqdm import tqdm

from ...backbones.classifier import PretrainedModel
from ...datasets.prefetch import prefetch
from ...datasets.table_writer import TABLES, open_table_writer
from ...datasets.tables import Detections
from ...datasets.video.reader import probe, read_video
from ..linking.person_tracker import PersonTrack, PersonTracker
from ..model.zero_shot import ClipFeatures, LabelGroups, clip_features, person_logits
from ..people.person_boxes import PersonBoxes
from ..people.proposals import OpenSource, ProposalSource
from .video_output import Part, TubeStore, VideoSummary, write_video_info

MARGIN = 1.15
"""Tubes are this much larger than the detector's boxes: who marks an action by hand leaves room
for arms, legs and tools. On UCF101-24 clips the IoU with its tubes rises by up to 0.13."""
LENGTH_PRIOR = 60
"""A short tube is less certain: its score is averaged with this many frames of score 0, or as many
as the video has where that is less."""
LABELS_KEPT = 5
"""Labels a person in the table of detections."""
_BATCH = 8
_BOXES_OPEN = 256  # of a person who is still there, before they go to disk


def zero_shot_tubes(
    video: Path,
    name: str,
    model: PretrainedModel,
    proposals: ProposalSource,
    labels: LabelGroups,
    folder: Path,
    *,
    scene: float = 0.5,
    clip_length: int = 64,
    threshold: float = 0.05,
    device: str = "cpu",
    progress: bool = True,
) -> VideoSummary:
    """Finds the people of a video, follows them, names what each does, and writes the tables.

    Memory does not grow with the frames: boxes wait on disk. Some 500 bytes stay of each tube, and
    less than one for each of its boxes.

    Args:
        video: the file.
        name: what the tables call it.
        model: trunk and classifier.
        proposals: where people are in each frame.
        labels: the classes to choose from.
        folder: gets the `TABLES` of `table_files`. Tubes, one a person with the best label, are
            numbered from the best score to the lowest; detections stand in the tubes' order, a box
            a frame with the person's best `LABELS_KEPT` labels.
        scene: weight of the whole picture's logits beside the person's own.
        clip_length: frames that the trunk sees at once.
        threshold: the lowest score of a tube that is kept.
        device: where the trunk runs.
        progress: show a bar with the time left.

    Raises:
        InputError: no frame of the video can be read.
    """
    info = probe(video)
    source = proposals.open(info)
    linker = PersonTracker()
    ended: list[PersonTrack] = []
    clip: list[np.ndarray] = []
    size = trunk_size(info.width, info.height)
    counted = 0  # frames whose evidence is in
    number = 0

    def add_clip(people: _People) -> None:
        """Adds the evidence of the frames from `counted` on, seen with those before."""
        nonlocal counted
        there = [t for t in (*linker.active, *ended) if t.start < number and t.end > counted]
        if there:
            features = clip_features(model, np.stack(clip), device, clip_length)
            people.look(model, features, there, counted, number)
        counted = number
        for track in linker.active:
            people.spill(track, counted)
        # From here on the prior is the same however long the video is.
        if number >= LENGTH_PRIOR:
            close(people)

    def close(people: _People) -> None:
        for track in ended:
            people.close(track, number)
        ended.clear()

    bar = tqdm(
        total=info.num_frames,
        desc=video.name,
        unit=" frames",
        disable=not progress,
        leave=False,
        delay=1,
    )
    with (
        TemporaryFile(dir=folder) as file,
        bar,
        prefetch(_batches(read_video(video)), 2) as batches,
        prefetch(_with_people(batches, source), 2) as seen,
    ):
        store = TubeStore(file)
        people = _People(store, labels, scene, threshold, info.width, info.height)
        for batch, boxes_of_batch in seen:
            for frame, boxes in zip(batch, boxes_of_batch, strict=True):
                people_here = np.column_stack([boxes.boxes, boxes.score])
                ended += linker.step(number, people_here, frame)
                if len(clip) == clip_length:
                    del clip[0]
                clip.append(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA))
                number += 1
                if number - counted == clip_length:
                    add_clip(people)
            bar.update(len(batch))
        ended += linker.finish()
        if number > counted:
            add_clip(people)
        close(people)
        info = replace(info, num_frames=number)
        _write_boxes(store, name, labels.names, folder)
        return write_video_info(store, name, labels.names, info, folder)


def trunk_size(width: int, height: int) -> tuple[int, int]:
    """(height, width) of the trunk's input: short side 256, long side at most 512, multiples of 16.

    256x320 is what the Kinetics networks were evaluated near; a longer picture costs memory.
    """
    scale = min(256 / min(width, height), 512 / max(width, height))
    tall, wide = (max(32, round(side * scale / 16) * 16) for side in (height, width))
    return tall, wide


def _batches(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _with_people(
    batches: Iterator[np.ndarray], source: OpenSource
) -> Iterator[tuple[np.ndarray, list[PersonBoxes]]]:
    number = 0
    for batch in batches:
        yield batch, source.propose(batch, number)
        number += len(batch)


@dataclass
class _Person:
    """What is known of one person so far.

    Attributes:
        own, scene: logits of the person's region and of the whole picture, summed over frames.
        frames: how many frames these were.
        parts: the boxes on disk.
        total: sum of the person scores of these boxes.
    """

    own: np.ndarray | float = 0.0
    scene: np.ndarray | float = 0.0
    frames: int = 0
    parts: list[Part] = field(default_factory=list)
    total: float = 0.0


class _People:
    """Sums up what people do, moves their boxes to disk, and scores them once they are gone.

    Args:
        store: gets the tubes; scores of boxes are the detector's own.
        labels, scene, threshold: see `zero_shot_tubes`.
        width, height: of the picture.
    """

    def __init__(
        self,
        store: TubeStore,
        labels: LabelGroups,
        scene: float,
        threshold: float,
        width: int,
        height: int,
    ) -> None:
        self.store, self.labels, self.scene, self.threshold = store, labels, scene, threshold
        self.picture = np.array([width, height, width, height], np.float64)
        # Weak, so that it forgets the tracks that the linker drops.
        self.known = WeakKeyDictionary[PersonTrack, _Person]()

    def look(
        self,
        model: PretrainedModel,
        clip: ClipFeatures,
        tracks: list[PersonTrack],
        start: int,
        end: int,
    ) -> None:
        """Adds what each person does in the frames from start to end, the last ones of `clip`."""
        first = end - clip.frames  # number of the clip's first frame
        boxes = np.zeros((len(tracks), clip.frames, 4))
        present = np.zeros((len(tracks), clip.frames), bool)
        for row, track in enumerate(tracks):
            begin, stop = max(track.start, start), min(track.end, end)
            place = slice(begin - first, stop - first)
            boxes[row, place] = track.boxes[begin - track.kept : stop - track.kept]
            present[row, place] = True
        logits, frames = person_logits(model, clip, boxes / self.picture, present)
        for track, own, count in zip(tracks, logits, frames.tolist(), strict=True):
            sums = self.known.setdefault(track, _Person())
            sums.own = sums.own + own * count
            sums.scene = sums.scene + clip.scene * count
            sums.frames += count

    def spill(self, track: PersonTrack, before: int) -> None:
        """Moves boxes of the frames before `before` to disk, once there are many."""
        if min(before, track.detected) - track.kept >= _BOXES_OPEN:
            start = track.kept
            self._put(self.known[track], start, *track.take(before))

    def close(self, track: PersonTrack, num_frames: int) -> None:
        """Scores a person who is gone, and keeps the tube if it is good enough.

        Args:
            num_frames: of the video, or `LENGTH_PRIOR` and more so far.
        """
        person = self.known[track]
        logits = ((1 - self.scene) * person.own + self.scene * person.scene) / person.frames
        share = self.labels.scores(np.asarray(logits))
        prior = min(LENGTH_PRIOR, num_frames)
        total = person.total + sum(track.scores)
        score = float(share.max() * total / (track.length + prior))
        if score >= self.threshold:
            self._put(person, track.kept, track.boxes, track.scores)
            best = np.argsort(-share, kind="stable")[:LABELS_KEPT]
            given = list(zip(best.tolist(), share[best].tolist()))
            self.store.keep(person.parts, (track.start, track.end - 1), score, given)

    def _put(
        self, person: _Person, start: int, boxes: list[np.ndarray], scores: list[float]
    ) -> None:
        frame = np.arange(start, start + len(boxes), dtype=np.int32)
        large = _with_margin(np.stack(boxes), self.picture)
        person.parts.append(self.store.put(frame, np.array(scores), large))
        person.total += sum(scores)


def _write_boxes(store: TubeStore, name: str, names: tuple[str, ...], folder: Path) -> None:
    """Writes the tables of detections and of tubes, their scores by the labels' shares."""
    count = min(LABELS_KEPT, len(names))
    with (
        open_table_writer(folder / TABLES[0]) as detections,
        open_table_writer(folder / TABLES[1]) as tubes,
    ):
        for rows in store.best_first(name, names):
            numbers, place = np.unique(rows.tube, return_inverse=True)
            label, share = store.label_scores(numbers, count)
            assert rows.score is not None
            score = rows.score[:, None] * share[place]
            tubes.write(replace(rows, score=score[:, 0]))
            row = np.repeat(np.arange(len(rows)), count)
            detections.write(
                Detections(
                    rows.video[row], rows.frame[row], label[place].ravel(), score.ravel(),
                    rows.boxes[row], (name,), names,
                )
            )  # fmt: skip


def _with_margin(boxes: np.ndarray, picture: np.ndarray) -> np.ndarray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * MARGIN
    return np.concatenate([centre - half, centre + half], axis=1).clip(0, picture)
