"""Scores of classifiers on whole videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from ...backbones.classifier import PretrainedModel
from ...datasets.clips.classification_clips import (
    ClassificationSample,
    FullVideos,
    Reader,
    collate,
    flow_reader,
)
from ...datasets.clips.classification_set import ClassificationSet
from ...datasets.clips.loader import make_loader
from ...datasets.errors import InputError
from ...datasets.flow import FlowMethod
from ...datasets.labels import match_labels, same_labels
from ...datasets.options import Options, at_least
from ...datasets.storage.files import write_json
from ...datasets.video.media import read_frames
from ..evaluation.classification import VideoScores, accuracies, correct_classes, write_predictions

RESULTS, PREDICTIONS = "results.json", "predictions.csv"
# Strides of the trunk's last layer in space and time.
MIN_SIZE, MIN_FRAMES = 32, 8
WINDOW = 320
"""Frames of one pass through the trunk; the ten seconds of a Kinetics video fit into one."""


def score_videos(
    model: PretrainedModel,
    videos: Dataset[ClassificationSample],
    *,
    frames: int = 64,
    whole: bool = True,
    backwards: bool = False,
    half: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> VideoScores:
    """The logits of the middle clip of each video, and of all its frames.

    A video of more than `WINDOW` frames goes through the trunk in parts of equal length, whose
    logits are averaged. Every process scores a share of the videos; each returns the whole result.

    Args:
        model: in evaluation mode, with a head.
        videos: a sample for each video with all its frames, such as `FullVideos`, with a length. A
            sample without frames counts as unreadable.
        frames: of the clip.
        whole: also score all frames.
        backwards: show the frames in reversed order (paper, section on the arrow of time).
        half: compute in bfloat16.
        workers: processes that read videos.
        progress: show a bar with the time left.
    """
    assert model.head is not None
    state = PartialState()
    device = next(model.head.parameters()).device
    mine = range(state.process_index, len(videos), state.num_processes)  # type: ignore[arg-type]
    loader = make_loader(Subset(videos, mine), collate, workers=workers)
    bar = tqdm(
        loader, desc="classifying", unit=" videos", leave=False,
        disable=not progress or not state.is_main_process,
    )  # fmt: skip

    def logits(clips: Tensor) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return model.logits(clips.to(device))[0].float().cpu().numpy()

    no_logits = np.zeros(model.head.fc.out_features, np.float32)
    rows: list[tuple[int, str, int, np.ndarray, np.ndarray, bool]] = []
    for number, batch in zip(mine, bar):
        clips = batch.clips.flip(1) if backwards else batch.clips
        length = clips.shape[1]
        clip = video = no_logits
        if length:
            middle = max(0, length - frames) // 2
            clip = video = logits(clips[:, middle : middle + frames])
        if whole and length > frames:
            parts = clips.tensor_split(-(-length // WINDOW), dim=1)
            video = np.sum([part.shape[1] / length * logits(part) for part in parts], axis=0)
        rows.append((number, batch.names[0], batch.labels.item(), clip, video, length > 0))
    if state.num_processes > 1:
        rows = sorted(gather_object(rows), key=lambda row: row[0])
    _, names, label, clip, video, read = zip(*rows)
    return VideoScores(
        names, np.array(label), np.stack(clip), np.stack(video) if whole else None, np.stack(read)
    )


def fuse(first: VideoScores, second: VideoScores, order: Sequence[int]) -> VideoScores:
    """Late fusion of two streams: the mean of their logits (equal weights, as I3D and the paper).

    Args:
        first, second: of the same videos.
        order: for each class of `first`, its index among those of `second`.
    """
    video = None
    if first.video_logits is not None and second.video_logits is not None:
        video = (first.video_logits + second.video_logits[:, order]) / 2
    clip = (first.clip_logits + second.clip_logits[:, order]) / 2
    return replace(
        first,
        clip_logits=clip,
        video_logits=video,
        is_readable=first.is_readable & second.is_readable,
    )


@dataclass(frozen=True)
class ClassifierTest(Options):
    """How a classifier is tested.

    Attributes:
        frames: of the middle clip.
        size: pixels of each side of the frames.
        whole: also score all frames at the end of training.
        backwards: whether the frames are shown in reversed order.
        class_map: see `correct_classes`.
        flow_method: how flow is computed for a video without a flow cache.
        workers: processes that read videos.
    """

    frames: Annotated[int, at_least(MIN_FRAMES)] = 64
    size: Annotated[int, at_least(MIN_SIZE)] = 224
    whole: bool = True
    backwards: bool = False
    class_map: Mapping[str, Sequence[str]] | None = None
    flow_method: FlowMethod = "tvl1"
    workers: Annotated[int, at_least(0)] = 0


@dataclass(frozen=True, eq=False)
class TestedClassifier:
    """The scores of a classifier on videos.

    Attributes:
        scores: of each video.
        labels: of the videos.
        outputs: the classes of the classifier.
        accuracies: see `accuracies`.
    """

    scores: VideoScores
    labels: tuple[str, ...]
    outputs: tuple[str, ...]
    accuracies: dict[str, Any]

    def save(self, folder: Path, **more: Any) -> None:
        """Writes predictions.csv, then results.json with `more` entries."""
        write_predictions(self.scores, self.labels, self.outputs, folder / PREDICTIONS)
        write_json(self.accuracies | more, folder / RESULTS)


def score_classifier(
    model: PretrainedModel,
    videos: ClassificationSet,
    test: ClassifierTest,
    accelerator: Accelerator,
    *,
    other: PretrainedModel | None = None,
) -> TestedClassifier:
    """Scores the videos.

    Args:
        model: in evaluation mode, with a head and labels; it moves to the accelerator's device.
        other: on the other stream (RGB or flow), of the same classes; their logits are averaged.

    Raises:
        InputError: a class that the classifier does not know; no video can be read; the two
            classifiers' classes differ.
    """
    right = correct_classes(videos.labels, model.labels, test.class_map)
    if other is not None and not same_labels(model.labels, other.labels):
        raise InputError(
            "--fuse: the two classifiers have different classes; both must be trained on the "
            "same classes"
        )
    scores = _scores(model, videos, test, accelerator)
    if other is not None:
        order = match_labels(model.labels, other.labels).tolist()
        scores = fuse(scores, _scores(other, videos, test, accelerator), order)
    return TestedClassifier(
        scores, videos.labels, model.labels, accuracies(scores, videos.labels, right)
    )


def _scores(
    model: PretrainedModel,
    videos: ClassificationSet,
    test: ClassifierTest,
    accelerator: Accelerator,
) -> VideoScores:
    assert model.head is not None
    for part in (model.trunk, model.head):
        part.to(accelerator.device)
    read = reader(model, test.flow_method)
    return score_videos(
        model, FullVideos(videos, test.size, test.frames, read), frames=test.frames,
        whole=test.whole, backwards=test.backwards, half=accelerator.mixed_precision == "bf16",
        workers=test.workers,
    )  # fmt: skip


def reader(model: PretrainedModel, flow_method: FlowMethod) -> Reader:
    """The function that reads the input of a model from videos."""
    return read_frames if model.trunk.channels_in == 3 else flow_reader(flow_method)
