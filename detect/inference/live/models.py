"""Who is on the frames of a live video, and what they may be doing: by two kinds of model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import cv2
import numpy as np

from ....backbones.classifier import PretrainedModel
from ....datasets.box_coordinates import rescale_boxes
from ....datasets.errors import InputError
from ....datasets.tables import Detections, select_rows
from ....datasets.video.live_queue import LiveFrame
from ....datasets.video.reader import VideoInfo
from ...linking.action_stream import FramePeople
from ...linking.interface import Calibration
from ...linking.persons import PersonsConfig, merge_people
from ...model.zero_shot import (
    LabelGroups,
    activation_shares,
    clip_features,
    person_logits,
    score_labels,
)
from ...people.proposals import OpenSource
from ..action_detector import ActionDetector, CheckpointDetector, ZeroShotDetector
from ..predictor import Predictor, postprocess
from ..tubes.detector_tubes import BOX_SCORE_THRESHOLD
from ..tubes.zero_shot_tubes import PERSON_POWER, TUBE_SCORE_THRESHOLD, trunk_size
from .batches import LivePeople, Lookahead, iter_live_batches

_LEAST_SCORE = 0.05  # of a label that is looked at
_LABELS = 5  # of a person, those with the highest scores
_ONE_AT_A_TIME = Lock()  # of several sources, so that each has the whole machine for its batch

Batch = list[tuple[LiveFrame, FramePeople]]
"""Consecutive frames with their people."""


class LiveModel(Protocol):
    """Finds people and what they do as frames come."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the actions."""
        ...

    def batches(self, frames: Iterable[LiveFrame]) -> Iterator[Batch]:
        """All frames, each once and in their order, some at a time."""
        ...


def open_live_model(
    detector: ActionDetector,
    video: VideoInfo,
    *,
    step: int = 8,
    lookahead: int | None = None,
    proposal_step: int = 1,
) -> LiveModel:
    """A loaded detector for one live source.

    Args:
        detector: see `actiontubes.load`.
        video: the source, as far as it is known.
        step, lookahead, proposal_step: see `DetectorModel`, `ZeroShotModel`.

    Raises:
        InputError: the detector needs optical flow, or person boxes that it was not given.
    """
    options = {"step": step, "proposal_step": proposal_step}
    if lookahead is not None:
        options["lookahead"] = lookahead
    source = None if detector.source is None else detector.source.open(video)
    if isinstance(detector, ZeroShotDetector):
        assert source is not None
        return ZeroShotModel(
            detector.classifier, detector.labels, source, detector.scene_weight, detector.device,
            **options,
        )  # fmt: skip
    assert isinstance(detector, CheckpointDetector)
    return DetectorModel(detector.predictor, source, calibration=detector.calibration, **options)


def choose_threshold(detector: ActionDetector) -> float:
    """The usual score from which on an action counts as present."""
    is_zero_shot = isinstance(detector, ZeroShotDetector)
    return TUBE_SCORE_THRESHOLD if is_zero_shot else BOX_SCORE_THRESHOLD


@dataclass(frozen=True)
class DetectorModel:
    """A trained detector.

    Attributes:
        predictor: of RGB frames.
        source: where people are, for external proposals.
        step, lookahead, proposal_step: see `iter_live_batches`, `LivePeople`.
        calibration: makes probabilities of scores; None takes them as they are.

    Raises:
        InputError: the predictor needs optical flow, or external proposals without a source.
    """

    predictor: Predictor
    source: OpenSource | None = None
    step: int = 8
    lookahead: int | None = None
    proposal_step: int = 1
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.predictor.config.clip_streams != "rgb":
            raise InputError(
                "--checkpoint: live video works with RGB detectors only, and this one uses optical "
                "flow"
            )
        if self.predictor.proposals == "external" and self.source is None:
            raise InputError(
                "--checkpoint: this detector does not find people itself; give --proposals"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.predictor.config.labels

    def batches(self, frames: Iterable[LiveFrame]) -> Iterator[Batch]:
        """See `LiveModel.batches`."""
        config = self.predictor.config
        is_external = self.predictor.proposals == "external"
        people = LivePeople(self.source, self.proposal_step).find if self.source else None
        batches = iter_live_batches(
            frames, config, step=self.step, lookahead=self.lookahead, people=people,
            proposal_step=1 if is_external else self.proposal_step,
        )  # fmt: skip
        for batch, key_frames in batches:
            with _ONE_AT_A_TIME:
                predictions = self.predictor.predict(batch)
            found = postprocess(predictions, config, threshold=_LEAST_SCORE)
            yield [
                (frame, self._people(select_rows(found, found.frame == index), frame))
                for index, frame in enumerate(key_frames)
            ]

    def _people(self, found: Detections, frame: LiveFrame) -> FramePeople:
        people, row = merge_people(found, PersonsConfig().merge_iou)
        size = frame.image.shape[1::-1]
        calibration = self.calibration
        return FramePeople(
            boxes=rescale_boxes(people.boxes, (1, 1), size), score=people.score, row=row,
            label=found.label,
            probability=calibration.probability(found.score) if calibration else found.score,
        )  # fmt: skip


@dataclass(frozen=True)
class ZeroShotModel:
    """A person detector, and a classifier of whole videos on the latest frames.

    Attributes:
        classifier: trunk and classifier.
        groups: the labels to choose from.
        source: where people are.
        scene_weight: weight of the logits of the whole frame against those of the person's region.
        device: where the trunk runs.
        clip_length: frames that the trunk sees.
        step: frames from one clip to the next.
        lookahead: frames that a clip waits for, or those that come within `batches.MAX_WAIT`.
        proposal_step: see `LivePeople`.
    """

    classifier: PretrainedModel
    groups: LabelGroups
    source: OpenSource
    scene_weight: float = 0.5
    device: str = "cpu"
    clip_length: int = 32
    step: int = 8
    lookahead: int = 8
    proposal_step: int = 1

    @property
    def labels(self) -> tuple[str, ...]:
        return self.groups.names

    def batches(self, frames: Iterable[LiveFrame]) -> Iterator[Batch]:
        """See `LiveModel.batches`."""
        people, ahead = LivePeople(self.source, self.proposal_step), Lookahead(self.lookahead)
        clip: deque[np.ndarray] = deque(maxlen=self.clip_length)
        waiting: list[tuple[LiveFrame, np.ndarray, np.ndarray]] = []
        size: tuple[int, int] | None = None
        for frame in ahead.watch(frames):
            height, width = frame.image.shape[:2]
            size = size or trunk_size(width, height)
            found = people.find(frame)
            waiting.append((frame, found.boxes.astype(np.float64), found.score.astype(np.float64)))
            clip.append(cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_AREA))
            if len(waiting) >= self.step + min(ahead(), self.clip_length - self.step):
                yield self._label(clip, waiting, self.step)
                del waiting[: self.step]
        while waiting:
            yield self._label(clip, waiting, self.step)
            del waiting[: self.step]

    def _label(
        self,
        clip: Iterable[np.ndarray],
        waiting: list[tuple[LiveFrame, np.ndarray, np.ndarray]],
        count: int,
    ) -> Batch:
        """The first `count` waiting frames; all of them are the last ones of the clip."""
        images = np.stack(list(clip))
        now = waiting[:count]
        frame = np.repeat(np.arange(len(now)), [len(boxes) for _, boxes, _ in now])
        column = len(images) - len(waiting) + frame
        places = np.zeros((len(frame), len(images), 4))
        present = np.zeros((len(frame), len(images)), bool)
        rows = np.arange(len(frame))
        places[rows, column] = np.concatenate(
            [boxes / np.tile(each.image.shape[1::-1], 2) for each, boxes, _ in now]
        )
        present[rows, column] = True
        shares = np.empty((0, len(self.labels)))
        if len(frame):
            with _ONE_AT_A_TIME:
                features = clip_features(self.classifier, images, self.device, self.clip_length)
                own, _ = person_logits(self.classifier, features, places, present)
                where = activation_shares(self.classifier, features, places, present)
            shares = score_labels(own, features.scene, where, self.groups, self.scene_weight)
        best = np.argsort(-shares, axis=1, kind="stable")[:, :_LABELS]
        batch: Batch = []
        for index, (each, boxes, score) in enumerate(now):
            mine = np.flatnonzero(frame == index)
            label = best[mine]
            probability = np.take_along_axis(shares[mine], label, axis=1)
            row = np.repeat(np.arange(len(mine)), label.shape[1])
            # That this is a person, and does this.
            sure = probability.ravel() * score[row] ** PERSON_POWER
            people = FramePeople(boxes, score, row, label.ravel(), sure)
            batch.append((each, people))
        return batch
