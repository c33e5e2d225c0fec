"""The command `actiontubes classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..datasets.errors import InputError
from ..datasets.files import write_json
from ..detect.training.options import make_accelerator

if TYPE_CHECKING:
    from ..datasets.clips.classification_set import ClassificationSet


def classify(
    *,
    data: Path,
    out: Path = Path("classified"),
    media: Path | None = None,
    test_data: Path | None = None,
    splits: list[int] | None = None,
    labels: list[str] | None = None,
    allow_missing: bool = False,
    streams: Literal["rgb", "flow"] = "rgb",
    flow_method: Literal["tvl1", "dis"] = "tvl1",
    fuse: str | None = None,
    backbone: str = "s3d-g",
    width: float = 1.0,
    weights: str | None = "kinetics400",
    freeze: str | None = None,
    norm: Literal["frozen", "batch"] = "frozen",
    class_map: str | None = None,
    frames: int = 64,
    size: int = 224,
    dropout: float = 0.2,
    smoothing: float = 0.0,
    flip: float = 0.5,
    colour: float = 0.0,
    reverse: bool = False,
    clips_only: bool = False,
    workers: int = 0,
    steps: int = 10_000,
    batch: int = 6,
    accumulate: int = 1,
    optimiser: Literal["sgd", "adamw"] = "sgd",
    lr: float = 0.01,
    warm_up: int = 500,
    decay: Literal["steps", "cosine"] = "steps",
    weight_decay: float = 1e-7,
    clip_norm: float = 10.0,
    ema: float = 0.999,
    save_every: int = 500,
    evaluate_every: int = 0,
    precision: Literal["no", "bf16", "fp16"] = "no",
    compile: bool = False,
    trackers: list[str] | None = None,
    device: Literal["auto", "cpu"] = "auto",
    resume: bool = False,
    seed: int = 0,
) -> None:
    """Train a network that classifies whole videos, and test it; --steps 0 only tests its weights.

    On several GPUs or machines: accelerate launch -m actiontubes.tools.main classify ... Writes to
    OUT: classifier.safetensors (for `actiontubes train --weights`), state.pt (for --resume),
    losses.csv, evaluations.csv, results.json (top-1 and top-5 in percent, of the middle clip and of
    all frames of each video) and predictions.csv, each video's five best classes.

    Args:
        data: A folder of class folders (CLASS/VIDEO, optionally below train/ and val/), a list, or
            a folder of lists: Kinetics' CSV files, the official splits of UCF101 and HMDB51,
            Something-Something v1 CSV or v2 JSON, or lines with a path and a label.
        out: Output folder; with several --splits, one subfolder for each.
        media: Folder with the videos or their frames. Default: the folder of --data.
        test_data: A separate list or folder to test on.
        splits: Train and test on each of these splits in turn and print the mean (UCF101 and HMDB51
            have three). Default: 1.
        labels: The classes in the order of the outputs, or a file with one a line. Default: the
            data set's order. Numeric labels count from 0.
        allow_missing: Continue even if more than half of the videos are missing.
        streams: Input of the network: rgb or flow (run `actiontubes flow` first; otherwise it is
            computed every time).
        flow_method: tvl1 (as in the paper) or dis (faster).
        fuse: With --steps 0: a second classifier on the other stream; the logits of both are
            averaged.
        backbone: The network, one of the S3D family (`actiontubes models`).
        width: Multiplier of the backbone's channels.
        weights: Pretrained weights: kinetics400, imagenet, a file, or null for random weights.
        freeze: Do not train the backbone up to and including this layer; Mixed_5c trains only the
            classifier.
        norm: Batch norm: frozen keeps the statistics of pretrained weights; batch trains them,
            which random weights need.
        class_map: With --steps 0: maps each label of the data to the classifier's classes: a CSV
            file with the columns label and class, or ucf101-24 or jhmdb for Kinetics-400
            classifiers.
        frames: Consecutive frames of a clip; shorter videos are repeated.
        size: Side of the square crop in pixels; the crop covers 7/8 of the video's short side.
        dropout: Dropout rate before the classifier.
        smoothing: Label smoothing.
        flip: Probability of mirroring a clip; never applied to classes that name left or right.
        colour: Strength of random brightness, contrast and saturation changes, 0 to 1.
        reverse: Test on videos played backwards.
        clips_only: Test only the middle clip of each video, not all of its frames.
        workers: Processes that load clips.
        steps: Optimizer steps; 0 tests the weights without training.
        batch: Clips in a batch, for each process.
        accumulate: Batches accumulated for one optimizer step.
        optimiser: sgd (with momentum 0.9) or adamw.
        lr: Learning rate after warm-up.
        warm_up: Steps of linear learning rate warm-up.
        decay: Learning rate schedule: steps (divided by 10 after 3/4 and 7/8 of the steps, as in
            the paper) or cosine.
        weight_decay: Weight decay; not applied to norms and biases.
        clip_norm: Gradients are clipped to this norm.
        ema: Decay of the moving average of the weights that is tested and saved; 0 turns it off.
        save_every: Save a checkpoint every N steps.
        evaluate_every: Test on the middle clips every N steps; 0 tests only at the end.
        precision: Mixed precision: bf16, or fp16 on older GPUs.
        compile: Compile the model with torch.compile; worth it on a GPU.
        trackers: Where to log: tensorboard, or another tracker supported by accelerate.
        device: auto uses a GPU if there is one.
        resume: Continue the run in OUT.
        seed: Random seed of the weights, clips and augmentation.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.clips.classification_clips import CropConfig
    from ..datasets.clips.classification_set import open_classification_set
    from ..detect.evaluation.classification import read_class_map
    from ..detect.inference.classify import RESULTS, ClassifierTest, score_classifier
    from ..detect.training.classifier import (
        format_accuracies,
        mean_result,
        new_classifier,
        pretrained_classifier,
        train_and_test,
    )
    from ..detect.training.options import Schedule
    from ..detect.training.state import require_no_run

    if class_map is not None and steps:
        raise InputError(
            "--class-map: works only with --steps 0; training uses the classes of the data"
        )
    if fuse is not None and steps:
        raise InputError(
            "--fuse: works only with --steps 0; train the RGB and the flow classifier separately "
            "first"
        )
    if reverse and (streams == "flow" or fuse is not None):
        raise InputError(
            "--reverse: works on RGB only, because reversed video has different flow; leave out "
            "--streams flow and --fuse"
        )
    if steps < 0:
        raise InputError(f"--steps {steps}: must be 0 or more")
    if steps and norm == "frozen" and weights is None:
        raise InputError(
            "--norm frozen: needs pretrained weights; give --weights, or use --norm batch"
        )
    crops = CropConfig(frames, size, flip, colour)
    trial = ClassifierTest(
        frames, size, not clips_only, reverse, read_class_map(class_map) if class_map else None,
        flow_method, workers,
    )  # fmt: skip
    channels_in: Literal[2, 3] = 2 if streams == "flow" else 3
    schedule = Schedule(
        max(steps, 1), batch, accumulate, optimiser, lr, warm_up, decay, weight_decay, clip_norm,
        ema, save_every, evaluate_every,
    )  # fmt: skip
    keep_freed_memory()
    accelerator = make_accelerator(precision, device, trackers, out)

    def open_part(part: Literal["train", "test"], split: int) -> ClassificationSet:
        return open_classification_set(
            data, part, media=media, test_data=test_data, split=split, labels=_names(labels),
            allow_missing=allow_missing,
        )  # fmt: skip

    # All are looked at before any is trained on.
    folders = {
        split: out / f"split{split}" if splits and len(splits) > 1 else out
        for split in splits or [1]
    }
    tests = {split: open_part("test", split) for split in folders}
    trains = {split: open_part("train", split) for split in folders if steps}
    if not resume:
        for split in trains:
            require_no_run(folders[split])
    results: list[dict[str, Any]] = []
    if not steps:
        model = pretrained_classifier(backbone, weights, channels_in)
        other = fuse and pretrained_classifier(backbone, fuse, 3 if streams == "flow" else 2)
        for split, folder in folders.items():
            results.append(
                score_classifier(
                    model, tests[split], folder, trial, accelerator, other=other or None
                )
            )
    for split, videos in trains.items():
        model = new_classifier(
            backbone, videos.labels, weights=weights, width=width, dropout=dropout, freeze=freeze,
            channels_in=channels_in, seed=seed,
        )  # fmt: skip
        if trackers:
            accelerator.init_trackers(folders[split].name)
        _, result = train_and_test(
            model, videos, tests[split], folders[split], schedule, crops, trial, accelerator,
            norm=norm, smoothing=smoothing, workers=workers, resume=resume, compile=compile,
            seed=seed,
        )  # fmt: skip
        accelerator.end_training()
        results.append(result)
        accelerator.free_memory()
    if not accelerator.is_main_process:
        return
    mean = mean_result(results)
    if len(results) > 1:
        write_json(mean | {"splits": splits}, out / RESULTS)
    print(f"{out}: {format_accuracies(mean)}")
    if steps:
        checkpoint = next(iter(sorted(out.rglob("classifier.safetensors"))))
        print(f"actiontubes train --backbone {backbone} --weights {checkpoint} ...")


def _names(labels: list[str] | None) -> list[str] | None:
    """The words, or the lines of the file that is the only one."""
    if labels is None or len(labels) > 1 or not Path(labels[0]).is_file():
        return labels
    lines = Path(labels[0]).read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]
