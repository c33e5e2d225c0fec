"""The command `actiontubes train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..datasets.files import InputError, as_option

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(
    *,
    data: Path,
    out: Path = Path("trained"),
    media: Path | None = None,
    splits: list[int] | None = None,
    train_videos: list[str] | None = None,
    test_videos: list[str] | None = None,
    labels: list[str] | None = None,
    backbone: str = "s3d-g",
    width: float = 1.0,
    endpoint: str = "Mixed_4e",
    weights: str | None = "kinetics400",
    streams: Literal["rgb", "flow", "both"] = "rgb",
    flow_method: Literal["tvl1", "dis"] = "tvl1",
    flow_weights: str | None = None,
    freeze: str | None = None,
    norm: Literal["frozen", "batch"] = "frozen",
    proposals: str = "resnet50",
    resnet_weights: str | None = "imagenet",
    proposal_endpoint: str = "Mixed_4e",
    proposal_count: int = 100,
    anchor_sides: list[int] | None = None,
    anchor_ratios: list[float] | None = None,
    head: Literal["mean", "mixed"] = "mean",
    hidden: int = 1024,
    roi_size: int = 7,
    multi_label: bool = False,
    own_background: bool = False,
    per_class_boxes: bool = False,
    dropout: float = 0.0,
    frames: int = 20,
    frame_step: int = 1,
    size: list[int] | None = None,
    key_frames: int = 1,
    key_frame_step: int = 4,
    margin: int = 0,
    flip: float = 0.5,
    scale: list[float] | None = None,
    colour: float = 0.2,
    unbalanced: bool = False,
    background: float = 0.1,
    examples: int = 64,
    jitter: int = 0,
    box_weight: float = 1.0,
    proposal_box_weight: float = 1.0,
    cache: bool = False,
    workers: int = 0,
    steps: int = 10_000,
    batch: int = 4,
    accumulate: int = 1,
    optimiser: Literal["sgd", "adamw"] = "sgd",
    lr: float = 0.01,
    warm_up: int = 500,
    decay: Literal["steps", "cosine"] = "steps",
    weight_decay: float = 1e-4,
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
    """Train a detector: Faster R-CNN in space-time on a network of the S3D family.

    Give a recipe with --config: its name (demo, jhmdb, ucf101-24, ucf101-24-mini, custom) or your
    own YAML file; further options change it. On several GPUs or machines: accelerate launch -m
    actiontubes.tools.main train ... Writes to OUT: detector.safetensors (for `actiontubes detect
    --checkpoint`), state.pt (for --resume), losses.csv, evaluations.csv, results.json and the test
    videos' detections.parquet and tubes.parquet.

    Args:
        data: A folder with groundtruth.parquet (or .csv) and videos.parquet, as prepare writes; a
            folder with the official downloads; or a file of ground truth.
        out: The folder to write to; with several splits, a folder in it for each.
        media: The folder of the videos or of their frames (default: the data's).
        splits: Train on these splits, one after the other, and print the mean (default: 1).
        train_videos: Names of the videos to train on, or a file that lists them.
        test_videos: Names of the videos to evaluate on, or a file that lists them.
        labels: The classes in the order of the outputs (default: those of the ground truth).
        backbone: The network (`actiontubes models` lists the family), or torchvision's r2plus1d_18,
            mvit_v2_s or swin3d_t, whose endpoints are layer1 to layer4, or stage1 to stage4.
        width: Multiplies the trunk's channels.
        endpoint: The layer whose features are pooled in the boxes.
        weights: The trunk's first weights: kinetics400, imagenet, a file (a trained detector's,
            too), or null for none.
        streams: What the network sees: rgb, optical flow, or both, whose feature maps are averaged.
            `actiontubes flow` computes it once; without, it is computed anew for every clip.
        flow_method: tvl1 (the paper's), or dis, which is faster.
        flow_weights: First weights of the trunk on flow, as weights (default: the same, averaged
            over the colours).
        freeze: The last layer of the trunk, or of its blocks in the head, that is not trained.
        norm: frozen keeps the batch norms of the weights; batch trains them, for new weights.
        proposals: resnet50 (the paper's: an RPN on the key frame), resnet18, features (an RPN on
            the trunk's features), ground-truth (jittered), or a source of person boxes as detect
            takes, which then runs over all videos once.
        resnet_weights: The key frame network's first weights: imagenet, a file, or null.
        proposal_endpoint: The layer that the RPN on the trunk's features sees.
        proposal_count: Boxes that the RPN proposes on a key frame.
        anchor_sides: Sides of the RPN's anchors in pixels of the input (default: 32 64 128 256).
        anchor_ratios: Height over width of the RPN's anchors (default: 0.5 1 2).
        head: mean over time and two linear layers, or the trunk's remaining blocks (mixed).
        hidden: Width of the linear layers.
        roi_size: Cells of the pooled features along each side of a box.
        multi_label: Several labels a person (AVA) instead of one.
        own_background: Whether anything is done has a sigmoid of its own, apart from the softmax
            over what it is; new weights then learn the classes much sooner.
        per_class_boxes: A refined box for each class instead of one for all.
        dropout: Share of the head's features that is dropped in training.
        frames: Frames of the input around a key frame.
        frame_step: Frames of the video from one of the input to the next.
        size: Height and width of the input in pixels (default: 320 400).
        key_frames: Key frames of a clip that share one pass through the trunk.
        key_frame_step: Frames of the input from one key frame to the next.
        margin: Further frames at both ends of a training clip, so that key frames are seen as in
            detection, where clips are long.
        flip: Share of clips that are mirrored.
        scale: Smallest and largest zoom (default: 0.75 1.25).
        colour: By how much brightness, contrast and saturation vary.
        unbalanced: Draw rare classes only as often as they occur.
        background: Share of clips from anywhere, with people or without.
        examples: Proposals of each key frame that the head is trained on.
        jitter: Copies of each true box, moved at random, that join the proposals in training.
        box_weight: Weight of the loss of the head's boxes.
        proposal_box_weight: Weight of the loss of the RPN's boxes.
        cache: Keep the decoded videos in memory (small data sets).
        workers: Processes that read clips.
        steps: Optimiser steps.
        batch: Clips a step and process.
        accumulate: Batches summed up before a step is taken.
        optimiser: SGD with momentum 0.9, or AdamW.
        lr: Learning rate after the warm-up.
        warm_up: Steps over which the learning rate rises.
        decay: A tenth after 3/4 and again after 7/8 of the steps (the paper's), or a cosine.
        weight_decay: Weight decay of kernels and matrices.
        clip_norm: Largest norm of the gradients.
        ema: Decay of the averaged weights that are evaluated and saved; 0 for none.
        save_every: Steps from one checkpoint to the next.
        evaluate_every: Steps from one evaluation to the next; 0 evaluates at the end only.
        precision: Compute in mixed precision: bf16, or fp16 on older GPUs.
        compile: Compile the model; pays on a GPU.
        trackers: Where losses and scores go: tensorboard, or another that accelerate knows.
        device: Where networks run; auto takes a GPU if there is one.
        resume: Go on with the run in OUT.
        seed: Seed of new weights, clips and augmentation.
    """
    from ..backbones.layers import keep_freed_memory
    from ..datasets.augmentation import Augmentation
    from ..datasets.video_sets import open_video_sets
    from ..detect.detector_settings import DetectorSettings
    from ..detect.recipe import LEARNED, Supervision, new_detector, train_on
    from ..detect.training import Schedule
    from ..detect.training_state import require_no_run

    height, wide = pair("size", size, (320, 400))
    augmentation = Augmentation(flip, pair("scale", scale, (0.75, 1.25)), True, colour)
    schedule = Schedule(
        steps, batch, accumulate, optimiser, lr, warm_up, decay, weight_decay, clip_norm, ema,
        save_every, evaluate_every,
    )  # fmt: skip
    supervision = Supervision(
        key_frames,
        key_frame_step,
        margin,
        not unbalanced,
        background,
        cache,
        workers,
        augmentation,
    )
    for name, value, least in (("examples", examples, 1), ("jitter", jitter, 0)):
        if value < least:
            raise InputError(f"{as_option(name)} {value}: must be {least} or more")
    for name, weight in (("box-weight", box_weight), ("proposal-box-weight", proposal_box_weight)):
        if not weight >= 0:
            raise InputError(f"--{name} {weight}: must be 0 or more")
    keep_freed_memory()
    accelerator = make_accelerator(precision, device, trackers, out)
    # All are looked at before any is trained on.
    sets = {
        out / f"split{split}" if splits and len(splits) > 1 else out: open_video_sets(
            data, media=media, split=split, train_videos=train_videos, test_videos=test_videos,
            labels=labels,
        )
        for split in splits or [1]
    }  # fmt: skip
    if not resume:
        for folder in sets:
            require_no_run(folder)
    scores = []
    for folder, (train_set, test_set) in sets.items():
        settings = DetectorSettings(
            train_set.labels, backbone, width, endpoint,
            proposals if proposals in LEARNED else "given",  # type: ignore[arg-type]
            proposal_endpoint, proposal_count, head, hidden, roi_size, multi_label,
            own_background, per_class_boxes, dropout, frames, frame_step, height, wide,
            tuple(anchor_sides or DetectorSettings.anchor_sides),
            tuple(anchor_ratios or DetectorSettings.anchor_ratios), norm=norm, streams=streams,
            flow_method=flow_method,
        )  # fmt: skip
        detector = new_detector(
            settings, weights=weights, flow_weights=flow_weights, resnet_weights=resnet_weights,
            freeze=freeze, seed=seed,
        )  # fmt: skip
        detector.examples, detector.jitter, detector.box_weight = examples, jitter, box_weight
        detector.proposal_box_weight = proposal_box_weight
        if trackers:
            accelerator.init_trackers(folder.name)
        _, result = train_on(
            detector, train_set, test_set, folder, schedule, supervision, accelerator,
            proposals=proposals, resume=resume, compile=compile, seed=seed,
        )  # fmt: skip
        accelerator.end_training()
        scores.append(result.as_json())
        accelerator.free_memory()
    if accelerator.is_main_process:
        _summary(scores, out)


def make_accelerator(
    precision: str, device: str, trackers: list[str] | None, out: Path
) -> Accelerator:
    """Device, precision and trackers as the options say; an InputError where one is not there."""
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    # accelerate itself leaves out trackers that are not installed.
    there = [str(tracker) for tracker in get_available_trackers()]
    for tracker in trackers or ():
        if tracker not in there:
            raise InputError(
                f"--trackers {tracker}: is not installed; installed are {', '.join(there)}"
            )
    try:
        return Accelerator(
            mixed_precision=precision, cpu=device == "cpu", log_with=trackers, project_dir=out
        )
    except ValueError as error:
        raise InputError(
            f"--precision {precision}: not supported on this machine ({error})"
        ) from error


def pair(name: str, values: list | None, default: tuple) -> tuple:
    """Two numbers of an option, or the default."""
    if values is None:
        return default
    if len(values) != 2:
        raise InputError(f"{as_option(name)}: needs two numbers, not {len(values)}")
    return tuple(values)


def _summary(scores: list[dict], out: Path) -> None:
    def mean(measure: str) -> str:
        values = [score[measure]["0.5"] for score in scores]
        each = f" ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else ""
        return f"{sum(values) / len(values):.2f}{each}"

    print(f"{out}: frame-mAP@0.5 {mean('frame_map')}, video-mAP@0.5 {mean('video_map')} "
          f"(protocol {scores[0]['protocol']})")  # fmt: skip
    checkpoint = next(iter(sorted(out.rglob("detector.safetensors"))), None)
    print(f"actiontubes detect VIDEO --checkpoint {checkpoint}")
