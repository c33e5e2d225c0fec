"""Training of a classifier."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
    collate,
)
from ...datasets.clips.classification_set import ClassificationSet, with_labels
from ...datasets.clips.options import CropConfig
from ...datasets.errors import InputError, choose_from
from ...datasets.labels import same_labels
from ...datasets.options import at_least_below, check_option
from ..inference.classify import (
    MIN_FRAMES,
    MIN_SIZE,
    ClassifierTest,
    reader,
    score_classifier,
)
from .loop import fit
from .options import ClassifierOptions, RunOptions, Schedule
from .state import (
    CLASSIFIER,
    EVALUATIONS,
    LAST,
    RESULTS,
    keep_last,
    plain_values,
    read_results,
    write_evaluation,
)

Norm = Literal["frozen", "batch"]
# As in detectors; the family's 1e-3 suits hundreds of thousands of steps.
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
        self._frozen_norms = norms if norm == "frozen" else []
        for each in norms:
            each.momentum = _NORM_MOMENTUM
        for each in self._frozen_norms:
            each.requires_grad_(False)

    def train(self, mode: bool = True) -> ClassifierNetwork:
        super().train(mode)
        for norm in self._frozen_norms:
            norm.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        return self.model.logits(clips)


def new_classifier(
    network: ClassifierOptions, labels: Sequence[str], *, last: str | None = None, seed: int = 0
) -> PretrainedModel:
    """A trunk and a classifier to be trained.

    Args:
        network: the backbone and its weights, whose width must be the network's.
        labels: the classes. If the weights have the same classes, their classifier is trained on,
            in their order; else it starts from random weights.
        last: the trunk's last endpoint; weights of later layers are left out. None: all layers.
        seed: of the random weights.

    Raises:
        InputError: no labels, an unknown backbone or endpoint, weights that cannot be loaded or
            have another width.
    """
    if not labels:
        raise InputError("--labels: no classes; give at least one")
    if last is not None and last not in ENDPOINTS:
        raise InputError(f"--endpoint {last}: no such layer; {choose_from(last, ENDPOINTS)}")
    torch.manual_seed(seed)
    variant, channels_in = get_variant(network.backbone), network.channels_in
    if network.weights is None:
        layout = replace(variant.layout, norm_momentum=_NORM_MOMENTUM)
        variant = replace(variant, layout=layout)
        trunk = Trunk(variant, network.width, last or ENDPOINTS[-1], channels_in)
        half = (0.5, 0.5, 0.5)
        mean, std = (half, half) if channels_in == 3 else (FLOW_MEAN, FLOW_STD)
        model = PretrainedModel(trunk, None, tuple(labels), mean, std)
    else:
        model = load_pretrained(variant, network.weights, channels_in=channels_in)
        width = model.trunk.width_multiplier
        if width != network.width:
            raise InputError(
                f"--weights {network.weights}: have width {width}, but --width is "
                f"{network.width}; give --width {width}"
            )
        if last is not None and last != model.trunk.last:
            if ENDPOINTS.index(model.trunk.last) < ENDPOINTS.index(last):
                raise InputError(
                    f"--weights {network.weights}: contain the layers up to {model.trunk.last} "
                    f"only, and --endpoint is {last}"
                )
            model.trunk.truncate(last)
            model = replace(model, head=None)
    if model.head is not None and same_labels(model.labels, labels):
        model.head.dropout.p = network.dropout
    else:
        head = Classifier(model.trunk.out_channels, len(labels), dropout=network.dropout)
        model = replace(model, head=head, labels=tuple(labels))
    if network.freeze is not None:
        try:
            model.trunk.freeze(network.freeze)
        except ValueError as error:
            raise InputError(f"--freeze: {error}") from error
    return model


def pretrained_classifier(
    backbone: str, weights: str | None, channels_in: Literal[2, 3] = 3
) -> PretrainedModel:
    """A classifier as it was trained, on RGB or flow.

    Raises:
        InputError: weights that cannot be loaded, or that name no classes.
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


class ClassificationTask:
    """Training of a trunk and its classifier, a `Task` of `fit`.

    Saves last.safetensors, and the evaluator the best, classifier.safetensors; without an evaluator
    that is the last. `load_pretrained` reads them, so a detector's trunk can start from one.

    Args:
        model: with a head; trained in place.
        norm: "frozen" leaves the trunk's batch norms as they were pretrained; "batch" trains them.
        label_smoothing: the share of a label that all classes get (Szegedy et al. 2016, section 7).
        evaluator: called with the averaged model and the number of steps taken; returns scores.
        options: see `Task.options`.
    """

    def __init__(
        self,
        model: PretrainedModel,
        *,
        norm: Norm = "batch",
        label_smoothing: float = 0.0,
        evaluator: Callable[[PretrainedModel, int], Mapping[str, float]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_option("label_smoothing", label_smoothing, Annotated[float, at_least_below(0, 1)])
        self.model = ClassifierNetwork(model, norm)
        self._label_smoothing, self._evaluator = label_smoothing, evaluator
        self.options = dict(options or {})
        self.identity = {
            "task": "classification", "labels": list(model.labels),
            "backbone": model.trunk.name, "width_multiplier": model.trunk.width_multiplier,
            "norm": norm, "mean": list(model.mean), "std": list(model.std),
        }  # fmt: skip

    def collate(self, samples: Sequence[ClassificationSample]) -> ClassificationBatch:
        return collate(samples)

    def losses(
        self, forward: Callable[..., Any], batch: ClassificationBatch
    ) -> Mapping[str, Tensor]:
        logits = forward(batch.clips).float()
        smoothing = self._label_smoothing
        return {"cross_entropy": F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)}

    def save(self, averaged: ClassifierNetwork, folder: Path) -> None:
        save_pretrained(averaged.model, folder / (LAST if self._evaluator else CLASSIFIER))

    def evaluate(self, averaged: ClassifierNetwork, step: int) -> Mapping[str, float]:
        return self._evaluator(averaged.model, step) if self._evaluator else {}


@dataclass(frozen=True)
class ClassificationEvaluator:
    """Tests a classifier on the test videos, and keeps the best by top-1 of their middle clips.

    Before the last step it is tested on the middle clips only.

    Attributes:
        videos: the test videos.
        folder: gets a row in evaluations.csv; and of the best classifier so far results.json,
            predictions.csv and classifier.safetensors.
        test: how videos are tested.
        last_step: the step at which all frames are scored.
        run: of the training.
    """

    videos: ClassificationSet
    folder: Path
    test: ClassifierTest
    last_step: int
    run: RunOptions

    def __call__(self, averaged: PretrainedModel, step: int) -> Mapping[str, float]:
        accelerator = self.run.accelerator(self.folder)
        test = self.test if step == self.last_step else replace(self.test, whole=False)
        tested = score_classifier(averaged, self.videos, test, accelerator)
        if not accelerator.is_main_process:
            return {}
        row = dict(tested.accuracies["clip"])
        best = read_results(self.folder)
        if best is None or row["top1"] >= best["clip"]["top1"]:
            # The results never stand beside other weights, also if the process is killed here.
            (self.folder / RESULTS).unlink(missing_ok=True)
            keep_last(self.folder, CLASSIFIER)
            tested.save(self.folder, step=step)
        columns = {f"clip {name}": f"{value:.4f}" for name, value in row.items()}
        write_evaluation(self.folder / EVALUATIONS, step, columns)
        tqdm.write(f"step {step}: {format_accuracies(tested.accuracies)}")
        return row

    def test_best(self, backbone: str, channels_in: Literal[2, 3]) -> dict[str, Any]:
        """The accuracies of the best classifier; if it was not the last, all frames are scored now.

        Args:
            backbone: its name.
            channels_in: of its clips.
        """
        result = read_results(self.folder) or {}
        if self.test.whole and result["video"] is None:
            accelerator = self.run.accelerator(self.folder)
            best = pretrained_classifier(backbone, str(self.folder / CLASSIFIER), channels_in)
            tested = score_classifier(best, self.videos, self.test, accelerator)
            step = {"step": result.get("step")}
            if accelerator.is_main_process:
                tested.save(self.folder, **step)
            result = tested.accuracies | step
        return result


def train_and_test(
    model: PretrainedModel,
    train_videos: ClassificationSet,
    test_videos: ClassificationSet,
    folder: Path,
    *,
    network: ClassifierOptions,
    crops: CropConfig,
    test: ClassifierTest,
    schedule: Schedule,
    run: RunOptions,
) -> tuple[PretrainedModel, dict[str, Any]]:
    """Trains a classifier and tests it; `folder` gets what `fit` and the evaluator write.

    Args:
        model: of `new_classifier`, for the training videos' labels.
        train_videos: the training videos.
        test_videos: the test videos, with the same labels.
        folder: of the run.
        network: its batch norm and label smoothing.
        crops: how training clips are cut.
        test: how videos are tested.
        schedule: see `fit`.
        run: see `fit`.

    Returns:
        The averaged model after the last step, in evaluation mode, and the accuracies of the best,
        which classifier.safetensors contains.

    Raises:
        InputError: see `fit`; batch norm on single clips of one cell.

    Warns:
        Test videos are also training videos.
    """
    if both := len({*train_videos.media} & {*test_videos.media}):
        warnings.warn(
            f"{both} of the {len(test_videos)} test videos are also training videos; give a "
            "split, or a separate test list",
            stacklevel=2,
        )
    one_cell = crops.size < 2 * MIN_SIZE and crops.frames < 2 * MIN_FRAMES
    if network.norm == "batch" and schedule.batch == 1 and one_cell:
        raise InputError(
            "--batch 1: with clips this small, batch norm needs at least 2 clips a batch; use "
            "--batch 2, larger clips, or --norm frozen"
        )
    samples = ClassificationClips(
        with_labels(train_videos, model.labels), crops, seed=run.seed,
        read=reader(model, test.flow_method),
    )  # fmt: skip
    evaluator = ClassificationEvaluator(test_videos, folder, test, schedule.steps, run)
    options = plain_values(network, crops) | {"flow_method": test.flow_method}
    del options["weights"]  # those that training started from; the state has later ones
    options["data"] = describe_sets(train_videos, test_videos)
    task = ClassificationTask(
        model, norm=network.norm, label_smoothing=network.label_smoothing, evaluator=evaluator,
        options=options,
    )  # fmt: skip
    averaged = fit(task, samples, folder, schedule, run).model
    return averaged, evaluator.test_best(network.backbone, network.channels_in)


def describe_sets(*sets: ClassificationSet) -> str:
    """What sets contain, in words that are different for different contents."""
    digest = hashlib.sha256()
    for each in sets:
        digest.update(repr((each.names, each.labels, each.label.tolist())).encode())
    videos = " + ".join(str(len(each)) for each in sets)
    return f"{videos} videos (SHA-256 {digest.hexdigest()[:12]})"


def mean_result(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean accuracies of several splits, {"clip": {"top1", "top5"}, "video": ... or None}."""
    mean: dict[str, Any] = {}
    for level in ("clip", "video"):
        rows = [result[level] for result in results]
        mean[level] = rows[0] and {
            name: sum(row[name] for row in rows) / len(rows) for name in rows[0]
        }
    return mean


def format_accuracies(result: Mapping[str, Any]) -> str:
    """The accuracies in one line of text."""
    return ", ".join(
        f"{level}s {result[level]['top1']:.1f} top-1 {result[level]['top5']:.1f} top-5"
        for level in ("clip", "video")
        if result[level]
    )
