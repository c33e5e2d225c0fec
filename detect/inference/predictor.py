"""Predictors: clips in, scored boxes on the key frames out.

`TorchPredictor` runs a checkpoint, `FusedPredictor` averages two, `OnnxPredictor` (in its own
module) runs an exported model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ...backbones.registry import Backbone
from ...datasets.box_coordinates import rescale_boxes
from ...datasets.errors import InputError
from ...datasets.tables import Detections
from ..boxes.carrying import carry_among, detected_frames
from ..model.config import DetectorConfig
from ..model.detector import Detector
from ..model.postprocess import RoiScores, actionness, decode_boxes, select_detections
from ..people.proposals import OpenSource
from .clip_batches import ClipBatch, prefetch_clip_batches
from .clip_geometry import KEY_FRAMES_AT_ONCE, ClipGeometry, Mode

Proposals = Literal["own", "external"]
_MUST_MATCH = (
    "labels", "frames", "frame_step", "size", "multi_label", "per_class_boxes",
    "flow_method",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class KeyFramePrediction:
    """A network's output for each of the R proposals of one key frame, before NMS.

    Attributes:
        frame: number of the key frame in the video, from 0.
        boxes: (R, 1, 4) x1 y1 x2 y2, refined, in pixels of the clip; or (R, C, 4) from a network
            that refines a box for each class.
        probabilities: (R, C) of the classes.
        actionness: (R,) probability of any class: 1 - background, or with several labels a person
            the highest of the classes.
    """

    frame: int
    boxes: Tensor
    probabilities: Tensor
    actionness: Tensor


class Predictor(Protocol):
    """Anything that scores boxes on the key frames of clips.

    Attributes:
        config: sizes, labels and streams of the network.
        proposals: "own" where the network finds people itself, "external" where batches must bring
            `person_boxes`.
        device: where the clips of a batch are needed.
    """

    config: DetectorConfig
    proposals: Proposals
    device: str

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        """A prediction for each key frame of the batch, in its order."""
        ...


class TorchPredictor:
    """A detector as PyTorch runs it.

    Args:
        detector: in evaluation mode, on `device`.
        proposals: "external" takes person boxes also for a detector with its own proposals; None
            takes its own if it has some.
        device: "cpu", "cuda" or "cuda:1".
        autocast_dtype: torch.bfloat16 or float16 to compute in where that is safe.
        extractor: gives the feature maps of a batch, from a function that computes them or from
            where they are kept; None computes them.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        proposals: Proposals | None = None,
        device: str = "cpu",
        autocast_dtype: torch.dtype | None = None,
        extractor: Callable[[ClipBatch, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
        | None = None,
    ) -> None:
        self._extractor = extractor
        self.detector, self.config = detector, detector.config
        self.proposals: Proposals = proposals or default_proposals(self.config)
        self.device, self.autocast_dtype = device, autocast_dtype

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        predictions: list[KeyFramePrediction] = []
        with self.inference_mode():
            features = self.extract_features(batch)
            for rows in key_frame_slices(batch):
                proposals = self.propose(features, batch, rows)
                predictions += self.detect(features, proposals, batch, rows)
        return predictions

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        """Without gradients, in the chosen precision."""
        dtype = self.autocast_dtype
        autocast = torch.autocast(self.device.split(":")[0], dtype) if dtype else nullcontext()
        with torch.inference_mode(), autocast:
            yield

    def extract_features(self, batch: ClipBatch) -> dict[str, Tensor]:
        """The feature maps of the clips, by endpoint."""

        def compute() -> dict[str, Tensor]:
            return self.detector.extract_features(batch.clips.to(self.device))

        return self._extractor(batch, compute) if self._extractor else compute()

    def propose(self, features: dict[str, Tensor], batch: ClipBatch, rows: slice) -> list[Tensor]:
        """(P, 4) boxes in pixels of the clip, for each of some key frames.

        Args:
            features: of `extract_features`.
            rows: which key frames of the batch; they share what is carried (`proposal_step`).
        """
        if self.proposals == "external":
            return [boxes.to(self.device) for boxes in batch.person_boxes[rows]]
        clips = batch.clips.to(self.device)
        clip_index, positions = self._places(batch, rows)
        if batch.proposal_step == 1:
            return self.detector.propose(features, clips, clip_index, positions)[0]
        chosen = detected_frames(len(positions), batch.proposal_step)
        boxes, _ = self.detector.propose(features, clips, clip_index[chosen], positions[chosen])
        carried = carry_among([each.float().cpu().numpy() for each in boxes], chosen)
        return [torch.from_numpy(each).to(self.device) for each in carried]

    def score(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[Tensor],
        batch: ClipBatch,
        rows: slice,
    ) -> RoiScores:
        """What the head says of the proposals of some key frames; see `propose`."""
        return self.detector.score(
            features, batch.clips.shape[1], proposals, *self._places(batch, rows)
        )

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[Tensor],
        batch: ClipBatch,
        rows: slice,
    ) -> list[KeyFramePrediction]:
        """Scores and refines the proposals of some key frames; see `propose`."""
        scores = self.score(features, proposals, batch, rows)
        return _decode_scores(scores, self.config, proposals, batch.frame_numbers[rows])

    def _places(self, batch: ClipBatch, rows: slice) -> tuple[Tensor, Tensor]:
        positions = batch.key_frame_positions[rows].to(self.device)
        return batch.clip_index[rows].to(self.device), positions


class FusedPredictor:
    """Late fusion: two detectors, such as one on RGB and one on flow, score the same proposals.

    Class scores and box refinements are the mean of both, as in the two-stream papers (Simonyan &
    Zisserman 2014), each stream trained alone.

    Args:
        first: its proposals are used.
        second: of the same labels and clip size, on the same device.

    Attributes:
        config: of the first, with the streams of both.

    Raises:
        InputError: they differ in more than their networks.
    """

    def __init__(self, first: TorchPredictor, second: TorchPredictor) -> None:
        for name in _MUST_MATCH:
            a, b = getattr(first.config, name), getattr(second.config, name)
            if a != b:
                raise InputError(
                    f"--fuse: the two detectors differ in {name} ({a} and {b}); both must be "
                    f"trained with the same {name}"
                )
        same = first.config.streams == second.config.streams
        self.config = replace(first.config, streams=first.config.streams if same else "both")
        self.first, self.second = first, second
        self.proposals, self.device = first.proposals, first.device

    def predict(self, batch: ClipBatch) -> list[KeyFramePrediction]:
        predictions: list[KeyFramePrediction] = []
        with self.first.inference_mode():
            features = self.first.extract_features(batch), self.second.extract_features(batch)
            for rows in key_frame_slices(batch):
                proposals = self.first.propose(features[0], batch, rows)
                a = self.first.score(features[0], proposals, batch, rows)
                b = self.second.score(features[1], proposals, batch, rows)
                mean = a._replace(
                    probabilities=torch.lerp(a.probabilities, b.probabilities, 0.5),
                    deltas=torch.lerp(a.deltas, b.deltas, 0.5),
                )
                frame_numbers = batch.frame_numbers[rows]
                predictions += _decode_scores(mean, self.config, proposals, frame_numbers)
        return predictions


def default_proposals(config: DetectorConfig) -> Proposals:
    return "external" if config.proposals == "external" else "own"


def key_frame_slices(batch: ClipBatch) -> list[slice]:
    """The key frames of a batch, as many together as are scored at once."""
    count = len(batch.frame_numbers)
    return [slice(start, start + KEY_FRAMES_AT_ONCE)
            for start in range(0, count, KEY_FRAMES_AT_ONCE)]  # fmt: skip


def _decode_scores(
    scores: RoiScores,
    config: DetectorConfig,
    proposals: Sequence[Tensor],
    frame_numbers: np.ndarray,
) -> list[KeyFramePrediction]:
    boxes = decode_boxes(scores.deltas, scores.proposals, config.size)
    counts = [len(each) for each in proposals]
    return split_predictions(boxes, scores.probabilities, config, counts, frame_numbers)


def split_predictions(
    boxes: Tensor,
    probabilities: Tensor,
    config: DetectorConfig,
    counts: list[int],
    frame_numbers: np.ndarray,
) -> list[KeyFramePrediction]:
    """The predictions of each of K key frames.

    Args:
        boxes, probabilities: as in `KeyFramePrediction`, of all, one key frame after the other.
        config: of the network.
        counts: rows of each key frame.
        frame_numbers: (K,) in the video.
    """
    columns = boxes, probabilities, actionness(probabilities, config.multi_label)
    parts = zip(*(column.split(counts) for column in columns))
    return [
        KeyFramePrediction(frame=frame, boxes=part[0], probabilities=part[1], actionness=part[2])
        for frame, part in zip(frame_numbers.tolist(), parts, strict=True)
    ]


def postprocess(
    predictions: Sequence[KeyFramePrediction],
    config: DetectorConfig,
    *,
    name: str = "video",
    size: tuple[int, int] = (1, 1),
    threshold: float = 0.01,
    nms_iou: float = 0.5,
) -> Detections:
    """The detections of key frames: rows above a threshold, after NMS within each class.

    Args:
        predictions: of one video.
        config: of the predictor that made them.
        name: of the video.
        size: (width, height) of the video, for boxes in its pixels; by default they are fractions.
        threshold: scores must be higher.
        nms_iou: boxes of a class that overlap a better one by more are dropped.
    """
    frames, columns = [], []
    for start in range(0, len(predictions), KEY_FRAMES_AT_ONCE):
        part = predictions[start : start + KEY_FRAMES_AT_ONCE]
        counts = torch.tensor([len(each.boxes) for each in part])
        boxes = torch.cat([each.boxes for each in part])
        row_key = torch.arange(len(part)).repeat_interleave(counts).to(boxes.device)
        probabilities = torch.cat([each.probabilities for each in part])
        kept = select_detections(
            probabilities, boxes, row_key, threshold=threshold, nms_iou=nms_iou,
            vote_iou=config.vote_iou,
        )  # fmt: skip
        frames.append(np.array([each.frame for each in part])[kept.key_frame_index.cpu().numpy()])
        columns.append((kept.label, kept.score, kept.boxes))
    label, score, boxes_ = (torch.cat(column).cpu().numpy() for column in zip(*columns))
    fractions = boxes_.astype(np.float64) / np.tile([config.width, config.height], 2)
    return Detections(
        video=np.zeros(len(label), np.int32), frame=np.concatenate(frames).astype(np.int32),
        label=label.astype(np.int32), score=score.astype(np.float64),
        boxes=rescale_boxes(fractions, (1, 1), size), video_names=(name,),
        label_names=config.labels,
    )  # fmt: skip


def predict_frames(
    predictor: Predictor,
    frames: Iterable[np.ndarray],
    *,
    source: OpenSource | None = None,
    mode: Mode = "shared",
    key_frame_step: int = 1,
    threshold: float = 0.01,
) -> Iterator[Detections]:
    """Runs a predictor over a video; threads read and cut the next clips meanwhile.

    Boxes are fractions of the frame's width and height.

    Args:
        predictor: see `Predictor`.
        frames: all frames of the video, (H, W, 3) uint8 RGB of any size, or (H, W, 5) with their
            flow; for a predictor on flow it is computed where it is missing.
        source: where people are, for external proposals.
        mode, key_frame_step: see `iter_clip_batches`.
        threshold: detections score higher.
    """
    with prefetch_clip_batches(
        predictor.config, frames, source=source, mode=mode, key_frame_step=key_frame_step,
        device=predictor.device,
    ) as batches:  # fmt: skip
        for batch in batches:
            yield postprocess(predictor.predict(batch), predictor.config, threshold=threshold)


def compile_trunk(detector: Detector, mode: Mode = "shared") -> None:
    """Compiles the detector's trunks for clips of the usual length; others run uncompiled.

    So shapes are static, and the last batch of a video compiles nothing anew. Proposals and the
    head have shapes that depend on the data.
    """
    length = ClipGeometry(detector.config).clip_length(mode)
    for trunk in (detector.trunk, detector.flow_trunk):
        if trunk is not None:
            trunk.endpoints = _compiled(trunk, length)  # type: ignore[method-assign, assignment]


def _compiled(
    trunk: Backbone, length: int
) -> Callable[[Tensor, Collection[str]], dict[str, Tensor]]:
    plain = trunk.endpoints
    compiled = torch.compile(plain, dynamic=False)

    def endpoints(clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return (compiled if clips.shape[2] == length else plain)(clips, names)

    return endpoints
