"""From labelled videos to a classifier and its accuracy, for `actiontubes classify`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from ..backbones.classifier import PretrainedModel
from ..datasets.files import InputError, as_option, write_json
from ..datasets.flow import FlowMethod
from ..datasets.labelled_clips import (
    CropSettings,
    LabelledClips,
    Reader,
    WholeVideos,
    flow_reader,
)
from ..datasets.labelled_videos import (
    LabelledVideos,
    codes_of,
    plain_name,
    same_names,
    with_labels,
)
from ..datasets.media import read_pictures
from .classification import Norm, train_classifier
from .classification_scores import (
    VideoScores,
    accuracies,
    fuse,
    right_classes,
    score_videos,
    write_predictions,
)
from .training import Schedule
from .training_state import EVALUATIONS, write_evaluation

RESULTS, PREDICTIONS = "results.json", "predictions.csv"
# The trunk's strides over space and time at its last layer.
_LEAST_SIZE, _LEAST_FRAMES = 32, 8


@dataclass(frozen=True)
class Trial:
    """How a classifier is tested.

    Attributes:
        frames, size: of the middle clip; pixels a side, also of the whole videos.
        whole: whether all frames are scored, too, at the end.
        backwards: whether the frames are shown in reversed order.
        class_map: see `right_classes`.
        flow_method: how flow is computed where no cache lies beside a video.
        workers: processes that read videos.
    """

    frames: int = 64
    size: int = 224
    whole: bool = True
    backwards: bool = False
    class_map: Mapping[str, Sequence[str]] | None = None
    flow_method: FlowMethod = "tvl1"
    workers: int = 0

    def __post_init__(self) -> None:
        for name, least in (("size", _LEAST_SIZE), ("frames", _LEAST_FRAMES), ("workers", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{as_option(name)} {getattr(self, name)}: must be {least} or more"
                )


def score_classifier(
    model: PretrainedModel,
    videos: LabelledVideos,
    out: Path,
    trial: Trial,
    accelerator: Accelerator,
    *,
    other: PretrainedModel | None = None,
) -> dict[str, Any]:
    """Scores the videos; writes results.json and predictions.csv to the folder `out`.

    Args:
        model: in evaluation mode, with a head and labels; it moves to the accelerator's device.
        other: on the other stream (RGB or flow), of the same classes; their logits are averaged.

    Returns:
        see `accuracies`.

    Raises:
        InputError: a class that the classifier does not know; no video can be read; the two
            classifiers' classes differ.
    """
    right = right_classes(videos.labels, model.labels, trial.class_map)
    if other is not None and not same_names(model.labels, other.labels):
        raise InputError(
            "--fuse: the two classifiers have different classes; both must be trained on the "
            "same classes"
        )
    scores = _scores(model, videos, trial, accelerator)
    if other is not None:
        code = codes_of(other.labels)
        order = [code[plain_name(label)] for label in model.labels]
        scores = fuse(scores, _scores(other, videos, trial, accelerator), order)
    result = accuracies(scores, videos.labels, right)
    if accelerator.is_main_process:
        write_predictions(scores, videos.labels, model.labels, out / PREDICTIONS)
        write_json(result, out / RESULTS)
    return result


def _scores(
    model: PretrainedModel, videos: LabelledVideos, trial: Trial, accelerator: Accelerator
) -> VideoScores:
    assert model.head is not None
    for part in (model.trunk, model.head):
        part.to(accelerator.device)
    read = reader(model, trial.flow_method)
    return score_videos(
        model, WholeVideos(videos, trial.size, trial.frames, read), frames=trial.frames,
        whole=trial.whole, backwards=trial.backwards, half=accelerator.mixed_precision == "bf16",
        workers=trial.workers,
    )  # fmt: skip


def reader(model: PretrainedModel, flow_method: FlowMethod) -> Reader:
    """What reads a model's input from videos."""
    return read_pictures if model.trunk.channels_in == 3 else flow_reader(flow_method)


def classify_on(
    model: PretrainedModel,
    train_videos: LabelledVideos,
    test_videos: LabelledVideos,
    out: Path,
    schedule: Schedule,
    crops: CropSettings,
    trial: Trial,
    accelerator: Accelerator,
    *,
    norm: Norm = "batch",
    smoothing: float = 0.0,
    workers: int = 0,
    resume: bool = False,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> tuple[PretrainedModel, dict[str, Any]]:
    """Trains and tests; writes, beside what `train_classifier` writes, evaluations.csv,
    results.json and predictions.csv of the test videos to `out`.

    Before the end only the middle clips are scored.

    Args:
        model: of `new_classifier` for the training videos' labels.
        others: see `train_classifier`.

    Warns:
        videos to test on are trained on.
    """
    if both := len({*train_videos.media} & {*test_videos.media}):
        warnings.warn(
            f"{both} of the {len(test_videos)} test videos are also training videos; give a "
            "split, or a separate test list",
            stacklevel=2,
        )
    one_cell = crops.size < 2 * _LEAST_SIZE and crops.frames < 2 * _LEAST_FRAMES
    if norm == "batch" and schedule.batch == 1 and one_cell:
        raise InputError(
            "--batch 1: with clips this small, batch norm needs at least 2 clips a batch; use "
            "--batch 2, larger clips, or --norm frozen"
        )
    samples = LabelledClips(
        with_labels(train_videos, model.labels), crops, seed=seed,
        read=reader(model, trial.flow_method),
    )  # fmt: skip
    last: list[dict[str, Any]] = []

    def evaluate(averaged: PretrainedModel, step: int) -> dict[str, float]:
        at = trial if step == schedule.steps else replace(trial, whole=False)
        result = score_classifier(averaged, test_videos, out, at, accelerator)
        last[:] = [result]
        if not accelerator.is_main_process:
            return {}
        row = dict(result["clip"])
        write_evaluation(
            out / EVALUATIONS, step, {f"clip {name}": f"{v:.4f}" for name, v in row.items()}
        )
        tqdm.write(f"step {step}: {in_words(result)}")
        return row

    trained = train_classifier(
        model, samples, out, schedule, accelerator, norm=norm, smoothing=smoothing,
        evaluate=evaluate, resume=resume, workers=workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip
    if not last:  # a finished run that was resumed
        evaluate(trained, schedule.steps)
    return trained, last[0]


def mean_result(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean accuracies of several splits: {"clip": {"top1", "top5"}, "video": ... or None}."""
    mean: dict[str, Any] = {}
    for level in ("clip", "video"):
        rows = [result[level] for result in results]
        mean[level] = rows[0] and {
            name: sum(row[name] for row in rows) / len(rows) for name in rows[0]
        }
    return mean


def in_words(result: Mapping[str, Any]) -> str:
    """The accuracies for people, in one line."""
    return ", ".join(
        f"{level}s {result[level]['top1']:.1f} top-1 {result[level]['top5']:.1f} top-5"
        for level in ("clip", "video")
        if result[level]
    )
