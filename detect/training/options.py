"""Options of training: a field is an option of the command line. Imports no torch."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ...datasets.errors import InputError
from ...datasets.options import Options, at_least, at_least_below, greater_than
from ..inference.device import Precision, choose_device, choose_precision

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, kw_only=True)
class RoiTraining(Options):
    """What a detector's head is trained on, and how much its losses count.

    Attributes:
        rois_per_frame: Proposals sampled on each key frame to train the head.
        jitter: Randomly shifted copies of each ground truth box that are added to the proposals in
            training.
        box_weight: Weight of the head's box loss.
        proposal_box_weight: Weight of the RPN's box loss.
    """

    rois_per_frame: Annotated[int, at_least(1)] = 64
    jitter: Annotated[int, at_least(0)] = 0
    box_weight: Annotated[float, at_least(0)] = 1.0
    proposal_box_weight: Annotated[float, at_least(0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """Whether the features of a frozen backbone are computed once and kept on disk.

    Attributes:
        cache_features: auto, off, or a folder. While the backbone is frozen its features of a clip
            do not change: they are computed once and kept, and proposals and head are trained on
            key frames of fixed clips. auto does so where the whole backbone is frozen and the run
            draws at least two samples for each view of these clips, in actiontubes-features beside
            the videos, or in the user's cache folder where that cannot be written.
        feature_views: Views of each clip whose features are cached: the plain one, and others with
            random --flip, --scale and --color, the same in all runs.
        cache_features_limit: GB that the folder of cached features may have; the features of
            further clips are computed whenever they are needed.
    """

    cache_features: str | bool = "auto"
    feature_views: Annotated[int, at_least(1)] = 3
    cache_features_limit: Annotated[float, at_least(0)] = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_features is True:
            raise InputError("--cache-features true: give auto, off or a folder")
        if self.cache_features is False:  # the word off in YAML
            object.__setattr__(self, "cache_features", "off")


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(Options):
    """A classifier of whole videos and the weights that it starts from.

    Attributes:
        streams: Input of the network: rgb or flow (run `actiontubes flow` first; otherwise it is
            computed every time).
        backbone: The network, one of the S3D family (`actiontubes models`).
        width: Multiplier of the backbone's channels.
        weights: Pretrained weights: kinetics400, imagenet, a file, or null for random weights.
        freeze: Do not train the backbone up to and including this layer; Mixed_5c trains only the
            classifier.
        norm: Batch norm: frozen keeps the statistics of pretrained weights; batch trains them,
            which random weights need.
        dropout: Dropout rate before the classifier.
        label_smoothing: Label smoothing.
    """

    streams: Literal["rgb", "flow"] = "rgb"
    backbone: str = "s3d-g"
    width: Annotated[float, greater_than(0, up_to=8)] = 1.0
    weights: str | None = "kinetics400"
    freeze: str | None = None
    norm: Literal["frozen", "batch"] = "frozen"
    dropout: Annotated[float, at_least_below(0, 1)] = 0.2
    label_smoothing: Annotated[float, at_least_below(0, 1)] = 0.0

    @property
    def channels_in(self) -> Literal[2, 3]:
        """Channels of the input."""
        return 2 if self.streams == "flow" else 3


@dataclass(frozen=True, kw_only=True)
class Schedule(Options):
    """How long and how fast a network learns.

    Attributes:
        steps: Optimizer steps.
        batch: Clips in a batch, for each process.
        accumulate: Batches accumulated for one optimizer step.
        optimizer: sgd (with momentum 0.9, as in the paper) or adamw.
        lr: Learning rate after warmup.
        warmup: Steps of linear learning rate warmup, from a thousandth of --lr.
        decay: Learning rate schedule: steps (divided by 10 after 3/4 and 7/8 of the steps, as in
            the paper's 60k and 70k of 80k) or cosine (falls to 0).
        weight_decay: Weight decay; not applied to norms and biases.
        clip_norm: Gradients are clipped to this norm.
        ema: Decay of the moving average of the weights that is evaluated and saved; 0 turns it off.
        save_every: Save a checkpoint every N steps.
        evaluate_every: Evaluate every N steps (a classifier on the middle clips); 0 evaluates only
            at the end.
        patience: Stop early when so many evaluations in a row (see --evaluate-every) were no better
            than the best; 0 never does.
    """

    steps: Annotated[int, at_least(1)] = 10_000
    batch: Annotated[int, at_least(1)] = 4
    accumulate: Annotated[int, at_least(1)] = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, greater_than(0)] = 0.01
    warmup: Annotated[int, at_least(0)] = 500
    decay: Literal["steps", "cosine", "none"] = "steps"
    weight_decay: Annotated[float, at_least(0)] = 1e-4
    clip_norm: Annotated[float, greater_than(0)] = 10.0
    ema: Annotated[float, at_least_below(0, 1)] = 0.999
    save_every: Annotated[int, at_least(1)] = 500
    evaluate_every: Annotated[int, at_least(0)] = 0
    patience: Annotated[int, at_least(0)] = 0

    def evaluates_after(self, done: int) -> bool:
        """Whether the model is evaluated after so many steps."""
        return done == self.steps or bool(
            done and self.evaluate_every and done % self.evaluate_every == 0
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        done = step / self.steps
        if self.decay == "cosine":
            factor = (1 + math.cos(math.pi * done)) / 2
        elif self.decay == "none":
            factor = 1.0
        else:
            factor = 0.1 ** ((done >= 3 / 4) + (done >= 7 / 8))
        return self.lr * factor * max(warm, 1e-3)


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """Where and how a run computes.

    Attributes:
        workers: Processes that load clips.
        precision: Mixed precision: bf16, fp16 for older GPUs, or no (float32). auto is bf16 on a
            GPU that computes it natively, else no.
        compile: Compile the model with torch.compile; worth it on a GPU.
        trackers: Where to log: tensorboard, or another tracker supported by accelerate.
        device: auto uses a GPU if there is one; cuda refuses to run without.
        resume: Continue the run in OUT.
        seed: Random seed of the weights, clips and augmentation.
    """

    workers: Annotated[int, at_least(0)] = 0
    precision: Precision = "auto"
    compile: bool = False
    trackers: tuple[str, ...] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resume: bool = False
    seed: Annotated[int, at_least(0)] = 0

    def accelerator(self, folder: Path) -> Accelerator:
        """Device, processes, precision and trackers of a run; all calls share one state.

        Args:
            folder: of the run; trackers write there.

        Raises:
            InputError: a tracker is not installed, or the precision not supported.
        """
        from accelerate import Accelerator, PartialState
        from accelerate.tracking import get_available_trackers

        # accelerate itself leaves out trackers that are not installed.
        available = [str(tracker) for tracker in get_available_trackers()]
        for tracker in self.trackers or ():
            if tracker not in available:
                raise InputError(
                    f"--trackers {tracker}: is not installed; installed are {', '.join(available)}"
                )
        choose_device(self.device)
        on_cpu = self.device == "cpu"
        precision = choose_precision(
            self.precision, str(PartialState(cpu=on_cpu).device), training=True
        )
        try:
            return Accelerator(
                mixed_precision=precision, cpu=on_cpu,
                log_with=list(self.trackers) if self.trackers else None, project_dir=folder.parent,
            )  # fmt: skip
        except ValueError as error:
            raise InputError(
                f"--precision {self.precision}: not supported on this machine ({error})"
            ) from error

    def lock(self, folder: Path) -> AbstractContextManager:
        """Keeps other runs out of a folder; the main process does it for all of this one.

        Raises:
            InputError: another run is writing there.
        """
        from ..inference.distributed import lock_folder

        return lock_folder(folder) if self.accelerator(folder).is_main_process else nullcontext()


def split_folders(out: Path, splits: tuple[int, ...] | None) -> dict[int, Path]:
    """The output folder of each split: `out` itself for one, else a subfolder for each."""
    several = splits is not None and len(splits) > 1
    return {split: out / f"split{split}" if several else out for split in splits or (1,)}
