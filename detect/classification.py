"""Classification of whole clips: a trunk of the family and its classifier, trained together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..backbones.classifier import Classifier, PretrainedModel
from ..backbones.flow import FLOW_MEAN, FLOW_STD
from ..backbones.inception import ENDPOINTS, Trunk, cut, get_variant
from ..backbones.weights import load_pretrained, save_pretrained
from ..datasets.files import InputError, choose_from
from ..datasets.labelled_clips import LabelledBatch, LabelledClip, collate
from ..datasets.labelled_videos import same_names
from .training import Schedule, train

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
        return logits_of(self.model, clips)


def logits_of(model: PretrainedModel, clips: Tensor) -> Tensor:
    """(N, T, H, W, C) uint8 clips → (N, classes)."""
    assert model.head is not None
    return model.head(model.trunk(model.normalise(clips)))


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
        if model.trunk.width != width:
            raise InputError(
                f"--weights {weights}: have width {model.trunk.width}, but --width is {width}; "
                f"give --width {model.trunk.width}"
            )
        if last is not None and last != model.trunk.last:
            if ENDPOINTS.index(model.trunk.last) < ENDPOINTS.index(last):
                raise InputError(
                    f"--weights {weights}: contain the layers up to {model.trunk.last} only, and "
                    f"--endpoint is {last}"
                )
            model = replace(model, trunk=cut(model.trunk, last)[0], head=None)
    if model.head is not None and same_names(model.labels, labels):
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
    samples: Dataset[LabelledClip],
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

    def losses(run: Callable[..., Any], batch: LabelledBatch) -> dict[str, Tensor]:
        logits = run(batch.clips).float()
        return {"cross_entropy": F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)}

    def score(averaged: ClassifierNetwork, step: int) -> Mapping[str, float]:
        assert evaluate is not None
        return evaluate(averaged.model, step)

    trained = train(
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
        "backbone": model.trunk.variant.name, "width": model.trunk.width, "norm": norm,
        "mean": list(model.mean), "std": list(model.std),
    }  # fmt: skip
