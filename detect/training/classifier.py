"""Training of a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ...backbones.classifier import Classifier, PretrainedModel
from ...backbones.family import ENDPOINTS, get_variant
from ...backbones.flow_input import FLOW_MEAN, FLOW_STD
from ...backbones.inception import Trunk
from ...backbones.weights.load import load_pretrained, save_pretrained
from ...datasets.clips.classification_clips import (
    ClassificationBatch,
    ClassificationClips,
    ClassificationSample,
    CropConfig,
    collate,
)
from ...datasets.clips.classification_set import ClassificationSet, with_labels
from ...datasets.errors import InputError, choose_from
from ...datasets.labels import same_labels
from ..inference.classify import (
    _LEAST_FRAMES,
    _LEAST_SIZE,
    ClassifierTest,
    reader,
    score_classifier,
)
from .loop import fit
from .options import Schedule
from .state import EVALUATIONS, write_evaluation

CLASSIFIER = "classifier.safetensors"
Norm = Literal["frozen", "batch"]
# As of detectors: the family's 1e-3 suits hundreds of thousands of steps.
_NORM_MOMENTUM = 0.1


class ClassifierNetwork(nn.Module):
    """Trunk and classifier as one module: (N, T, H, W, C) uint8 clips → (N, classes) logits.

    Args:
        model: with a head; it is trained in place.
        norm: "frozen" leaves the trunk's batch norms as they are, "batch" trains them.
    """

    def __init__(self, model: PretrainedModel, norm: Norm = "batch") -> None:
        super().__init__()
        assert model.head is not None
        self.model, self.trunk, self.head = model, model.trunk, model.head
        norms = [module for module in self.trunk.modules() if isinstance(module, nn.BatchNorm3d)]
        self._still = norms if norm == "frozen" else []
        for each in norms:
            each.momentum = _NORM_MOMENTUM
        for each in self._still:
            each.requires_grad_(False)

    def train(self, mode: bool = True) -> ClassifierNetwork:
        super().train(mode)
        for norm in self._still:
            norm.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        return self.model.logits(clips)


def new_classifier(
    backbone: str,
    labels: Sequence[str],
    *,
    weights: str | None = None,
    width: float = 1.0,
    last: str | None = None,
    dropout: float = 0.2,
    freeze: str | None = None,
    channels_in: Literal[2, 3] = 3,
    seed: int = 0,
) -> PretrainedModel:
    """A trunk and a classifier to be trained.

    Args:
        backbone: of `inception.get_variant`.
        labels: the classes. Where those of the weights are the same, their classifier goes on, in
            their order; else it is a new one.
        weights: see `load_pretrained`; None for new ones.
        width: of the trunk's channels; of weights, the one they have.
        last: the trunk's last endpoint; of weights, what comes behind it is left out. None: all.
        dropout: of the classifier.
        freeze: the last endpoint of the trunk that is not trained.
        channels_in: 3 for RGB, 2 for optical flow.
        seed: of the new weights.

    Raises:
        InputError: no labels, an unknown backbone or endpoint, weights that cannot be had or are of
            another width.
    """
    if not labels:
        raise InputError("--labels: no classes; give at least one")
    if not 0 <= dropout < 1:
        raise InputError(f"--dropout {dropout}: must be at least 0 and less than 1")
    if not 0 < width <= 8:
        raise InputError(f"--width {width}: must be greater than 0 and at most 8")
    if last is not None and last not in ENDPOINTS:
        raise InputError(f"--endpoint {last}: no such layer; {choose_from(last, ENDPOINTS)}")
    torch.manual_seed(seed)
    variant = get_variant(backbone)
    if weights is None:
        layout = replace(variant.layout, norm_momentum=_NORM_MOMENTUM)
        trunk = Trunk(replace(variant, layout=layout), width, last or ENDPOINTS[-1], channels_in)
        half = (0.5, 0.5, 0.5)
        mean, std = (half, half) if channels_in == 3 else (FLOW_MEAN, FLOW_STD)
        model = PretrainedModel(trunk, None, tuple(labels), mean, std)
    else:
        model = load_pretrained(variant, weights, channels_in=channels_in)
        own_width = model.trunk.width_multiplier
        if own_width != width:
            raise InputError(
                f"--weights {weights}: have width {own_width}, but --width is {width}; "
                f"give --width {own_width}"
            )
        if last is not None and last != model.trunk.last:
            if ENDPOINTS.index(model.trunk.last) < ENDPOINTS.index(last):
                raise InputError(
                    f"--weights {weights}: contain the layers up to {model.trunk.last} only, and "
                    f"--endpoint is {last}"
                )
            model.trunk.truncate(last)
            model = replace(model, head=None)
    if model.head is not None and same_labels(model.labels, labels):
        model.head.dropout.p = dropout
    else:
        head = Classifier(model.trunk.out_channels, len(labels), dropout=dropout)
        model = replace(model, head=head, labels=tuple(labels))
    if freeze is not None:
        try:
            model.trunk.freeze(freeze)
        except ValueError as error:
            raise InputError(f"--freeze: {error}") from error
    return model


def pretrained_classifier(
    backbone: str, weights: str | None, channels_in: Literal[2, 3] = 3
) -> PretrainedModel:
    """A classifier as it was trained, on RGB or flow.

    Raises:
        InputError: weights that cannot be had, or that name no classes.
    """
    if weights is None:
        raise InputError("--steps 0: tests weights without training; give --weights")
    model = load_pretrained(get_variant(backbone), weights, channels_in=channels_in)
    if model.head is None or not model.labels:
        stream = "RGB" if channels_in == 3 else "flow"
        raise InputError(
            f"--weights {weights}: contain no classifier for {stream}; train one first, or give "
            "other weights"
        )
    return model


def train_classifier(
    model: PretrainedModel,
    samples: Dataset[ClassificationSample],
    out: Path,
    schedule: Schedule,
    accelerator: Accelerator,
    *,
    norm: Norm = "batch",
    smoothing: float = 0.0,
    evaluate: Callable[[PretrainedModel, int], Mapping[str, float]] | None = None,
    resume: bool = False,
    workers: int = 0,
    compile: bool = False,
    seed: int = 0,
    watch: Callable[[int, Mapping[str, float]], None] | None = None,
) -> PretrainedModel:
    """Trains trunk and classifier; writes classifier.safetensors, state.pt and losses.csv to `out`.

    `load_pretrained` reads the first, so a detector's trunk starts from it.

    Args:
        model: with a head; trained in place.
        samples: position to clip, from 0 on, all of one shape; it has no end.
        norm: "frozen" leaves the trunk's batch norms as they were pretrained; "batch" trains them.
        smoothing: of the labels, the share that all classes get (Szegedy et al. 2016, section 7).
        evaluate: called with the averaged model and the number of steps taken, on every process.
        others: see `training.train`.

    Returns:
        the model with the averaged weights, in evaluation mode.

    Raises:
        InputError: see `training.train`.
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"--smoothing {smoothing}: must be at least 0 and less than 1")

    def losses(run: Callable[..., Any], batch: ClassificationBatch) -> dict[str, Tensor]:
        logits = run(batch.clips).float()
        return {"cross_entropy": F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)}

    def score(averaged: ClassifierNetwork, step: int) -> Mapping[str, float]:
        assert evaluate is not None
        return evaluate(averaged.model, step)

    trained = fit(
        ClassifierNetwork(model, norm), samples, out, schedule, accelerator, collate=collate,
        losses=losses, save=lambda averaged: save_pretrained(averaged.model, out / CLASSIFIER),
        identity=_identity(model, norm), evaluate=score if evaluate else None, resume=resume,
        workers=workers, compile=compile, seed=seed, watch=watch,
    )  # fmt: skip
    return trained.model


def _identity(model: PretrainedModel, norm: Norm) -> dict[str, Any]:
    """What a state must have been written with."""
    return {
        "task": "classification", "labels": list(model.labels),
        "backbone": model.trunk.name, "width": model.trunk.width_multiplier, "norm": norm,
        "mean": list(model.mean), "std": list(model.std),
    }  # fmt: skip


def train_and_test(
    model: PretrainedModel,
    train_videos: ClassificationSet,
    test_videos: ClassificationSet,
    out: Path,
    schedule: Schedule,
    crops: CropConfig,
    trial: ClassifierTest,
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
    samples = ClassificationClips(
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
        tqdm.write(f"step {step}: {format_accuracies(result)}")
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


def format_accuracies(result: Mapping[str, Any]) -> str:
    """The accuracies for people, in one line."""
    return ", ".join(
        f"{level}s {result[level]['top1']:.1f} top-1 {result[level]['top5']:.1f} top-5"
        for level in ("clip", "video")
        if result[level]
    )
