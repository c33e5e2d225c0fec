"""From a video file to its labelled action tubes, in one pass and constant memory."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from tqdm import tqdm

from ..backbones.classifier import PretrainedModel
from ..datasets.read_ahead import read_ahead
from ..datasets.tables import Detections, Tubes
from ..datasets.video import VideoInfo, probe, read_frames
from .linking.persons import PersonLinker, PersonTrack
from .proposals import Proposals
from .zero_shot import ClipFeatures, Labels, clip_features, person_logits

Array = np.ndarray
MARGIN = 1.15
"""Tubes are this much larger than the detector's boxes: who marks an action by hand leaves room
for arms, legs and tools. On UCF101-24 clips the IoU with its tubes rises by up to 0.13."""
LENGTH_PRIOR = 60
"""A short tube is less certain: its score is averaged with this many frames of score 0, or as many
as the video has where that is less."""
LABELS_KEPT = 5
"""Labels a person in the table of detections."""
_BATCH = 8


@dataclass(frozen=True)
class VideoTubes:
    """What was found in one video.

    Attributes:
        info: of the video, with the number of frames that were read.
        tubes: one a person, with the person's best label.
        detections: a box a person, frame and label, the person's best `LABELS_KEPT` labels.
        tube_scores: (P,) for each tube, in the order of its number, falling.
        label_scores: (P, labels) for each tube, the share of each label.
    """

    info: VideoInfo
    tubes: Tubes
    detections: Detections
    tube_scores: Array
    label_scores: Array


@dataclass
class _Evidence:
    """Logits of one person so far: sums over frames of the person's own and of the scene's."""

    own: Array | float = 0.0
    scene: Array | float = 0.0
    frames: int = 0


def find_tubes(
    video: Path,
    name: str,
    model: PretrainedModel,
    proposals: Proposals,
    labels: Labels,
    *,
    scene: float = 0.5,
    clip_length: int = 64,
    threshold: float = 0.05,
    device: str = "cpu",
    progress: bool = True,
) -> VideoTubes:
    """Finds the people of a video, follows them and names what each does.

    Args:
        video: the file.
        name: what the tables call it.
        model: trunk and classifier.
        proposals: where people are in each frame.
        labels: the classes to choose from.
        scene: weight of the whole picture's logits beside the person's own.
        clip_length: frames that the trunk sees at once.
        threshold: the lowest score of a tube that is kept.
        device: where the trunk runs.
        progress: show a bar with the time left.

    Raises:
        InputError: no frame of the video can be read.
    """
    info = probe(video)
    linker = PersonLinker()
    # Weak, so that it forgets the tracks that the linker drops.
    evidence = WeakKeyDictionary[PersonTrack, _Evidence]()
    ended: list[PersonTrack] = []
    clip: list[Array] = []
    size = trunk_size(info.width, info.height)
    picture_size = np.array([info.width, info.height, info.width, info.height], np.float64)
    counted = 0  # frames whose evidence is in

    def add_clip(end: int) -> None:
        """Adds the evidence of the frames from `counted` to `end`, seen with those before."""
        nonlocal counted
        people = [t for t in (*linker.active, *ended) if t.start < end and t.end > counted]
        if people:
            features = clip_features(model, np.stack(clip), device, clip_length)
            _add_evidence(model, features, people, evidence, counted, end, picture_size)
        counted = end

    number = 0
    bar = tqdm(
        total=info.num_frames,
        desc=video.name,
        unit=" frames",
        disable=not progress,
        leave=False,
        delay=1,
    )
    with (
        bar,
        read_ahead(_batches(read_frames(video)), 2) as batches,
        read_ahead(_with_people(batches, proposals), 2) as seen,
    ):
        for batch, people_of_batch in seen:
            for frame, people in zip(batch, people_of_batch, strict=True):
                ended += linker.step(number, people, frame)
                if len(clip) == clip_length:
                    del clip[0]
                clip.append(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA))
                number += 1
                if number - counted == clip_length:
                    add_clip(number)
            bar.update(len(batch))
        ended += linker.finish()
        if number > counted:
            add_clip(number)
    info = replace(info, num_frames=number)
    return _tables(info, name, ended, evidence, labels, scene, threshold)


def trunk_size(width: int, height: int) -> tuple[int, int]:
    """(height, width) of the trunk's input: short side 256, long side at most 512, multiples of 16.

    256x320 is what the Kinetics networks were evaluated near; a longer picture costs memory.
    """
    scale = min(256 / min(width, height), 512 / max(width, height))
    tall, wide = (max(32, round(side * scale / 16) * 16) for side in (height, width))
    return tall, wide


def _batches(frames: Iterator[Array]) -> Iterator[Array]:
    batch: list[Array] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _with_people(
    batches: Iterator[Array], proposals: Proposals
) -> Iterator[tuple[Array, list[Array]]]:
    number = 0
    for batch in batches:
        yield batch, proposals(batch, number)
        number += len(batch)


def _add_evidence(
    model: PretrainedModel,
    clip: ClipFeatures,
    people: list[PersonTrack],
    evidence: MutableMapping[PersonTrack, _Evidence],
    start: int,
    end: int,
    picture_size: Array,
) -> None:
    """Adds what each person does in the frames from start to end, the last ones of `clip`."""
    first = end - clip.frames  # number of the clip's first frame
    boxes = np.zeros((len(people), clip.frames, 4))
    present = np.zeros((len(people), clip.frames), bool)
    for row, track in enumerate(people):
        begin, stop = max(track.start, start), min(track.end, end)
        place = slice(begin - first, stop - first)
        boxes[row, place] = track.boxes[begin - track.start : stop - track.start]
        present[row, place] = True
    logits, frames = person_logits(model, clip, boxes / picture_size, present)
    for track, own, count in zip(people, logits, frames.tolist(), strict=True):
        sums = evidence.setdefault(track, _Evidence())
        sums.own = sums.own + own * count
        sums.scene = sums.scene + clip.scene * count
        sums.frames += count


def _tables(
    info: VideoInfo,
    name: str,
    tracks: list[PersonTrack],
    evidence: MutableMapping[PersonTrack, _Evidence],
    labels: Labels,
    scene: float,
    threshold: float,
) -> VideoTubes:
    """Scores the tracks and lays them out as tables, the best tube first."""
    found, prior = [], min(LENGTH_PRIOR, info.num_frames or 0)
    for track in tracks:
        seen = evidence[track]
        logits = ((1 - scene) * seen.own + scene * seen.scene) / seen.frames
        share = labels.scores(np.asarray(logits))
        tube_score = share.max() * sum(track.scores) / (len(track.scores) + prior)
        if tube_score >= threshold:
            found.append((float(tube_score), track, share))
    found.sort(key=lambda entry: (-entry[0], entry[1].start, *entry[1].boxes[0]))
    scores = np.array([share for _, _, share in found]).reshape(len(found), len(labels.names))
    lengths = [len(track.boxes) for _, track, _ in found]
    boxes = np.concatenate([np.empty((0, 4)), *(np.stack(t.boxes) for _, t, _ in found)])
    boxes = _with_margin(boxes, info.width, info.height)
    frames = [np.arange(track.start, track.end, dtype=np.int32) for _, track, _ in found]
    frame = np.concatenate([np.empty(0, np.int32), *frames])
    person = np.concatenate([np.empty(0), *(np.array(t.scores) for _, t, _ in found)])
    tube = np.repeat(np.arange(len(found), dtype=np.int64), lengths)
    best = scores.argmax(axis=1).astype(np.int32)
    tube_scores = np.array([score for score, _, _ in found])
    own = scores.max(axis=1, initial=0)
    tubes = Tubes(
        np.zeros(len(tube), np.int32), frame, best[tube], boxes, tube, (name,), labels.names,
        score=person * own[tube], tube_score=tube_scores[tube],
    )  # fmt: skip
    kept = np.argsort(-scores, axis=1, kind="stable")[:, :LABELS_KEPT].astype(np.int32)
    repeats = kept.shape[1]
    row = np.repeat(np.arange(len(tube)), repeats)
    label = kept[tube].reshape(-1)
    detections = Detections(
        tubes.video[row], frame[row], label, person[row] * scores[tube[row], label], boxes[row],
        (name,), labels.names,
    )  # fmt: skip
    return VideoTubes(info, tubes, detections, tube_scores, scores)


def _with_margin(boxes: Array, width: int, height: int) -> Array:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * MARGIN
    return np.concatenate([centre - half, centre + half], axis=1).clip(
        0, [width, height, width, height]
    )
