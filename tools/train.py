"""The command `actiontubes train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..datasets.errors import InputError, as_option
from ..detect.training.options import make_accelerator


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
    """Train an action detector: Faster R-CNN in space and time on an S3D backbone.

    Start from a recipe with --config: demo, jhmdb, ucf101-24, ucf101-24-mini, custom, or your own
    YAML file; options on the command line override it. On several GPUs or machines: accelerate
    launch -m actiontubes.tools.main train ... Writes to OUT: detector.safetensors (for `actiontubes
    detect --checkpoint`), state.pt (for --resume), losses.csv, evaluations.csv, results.json, and
    detections.parquet and tubes.parquet of the test videos.

    Args:
        data: A folder with groundtruth.parquet (or .csv) and videos.parquet, as written by
            `actiontubes prepare`; a folder with the official downloads; or a ground truth file.
        out: Output folder; with several --splits, one subfolder for each.
        media: Folder with the videos or their frames. Default: the folder of --data.
        splits: Train on each of these splits in turn and print the mean. Default: 1.
        train_videos: Names of the training videos, or a file that lists them.
        test_videos: Names of the test videos, or a file that lists them.
        labels: The classes, in the order of the network's outputs. Default: all classes of the
            ground truth.
        backbone: The network: one of the S3D family (`actiontubes models`), or torchvision's
            r2plus1d_18 (endpoints layer1 to layer4), mvit_v2_s or swin3d_t (stage1 to stage4).
        width: Multiplier of the backbone's channels.
        endpoint: The backbone layer whose features are pooled for each box.
        weights: Pretrained weights of the backbone: kinetics400, imagenet, a file (also a trained
            detector), or null for random weights.
        streams: Input of the network: rgb, flow, or both (their feature maps are averaged). Run
            `actiontubes flow` first; otherwise flow is computed again for every clip.
        flow_method: tvl1 (as in the paper) or dis (faster).
        flow_weights: Pretrained weights of the flow backbone, as in --weights. Default: --weights,
            averaged over the color channels.
        freeze: Do not train the backbone up to and including this layer (also its layers in a mixed
            head).
        norm: Batch norm: frozen keeps the statistics of pretrained weights; batch trains them,
            which random weights need.
        proposals: Where proposals come from: resnet50 (RPN on a ResNet of the key frame, as in the
            paper), resnet18, features (RPN on the backbone's features), ground-truth (jittered), or
            any --proposals source of `detect`, which is run once over all videos.
        resnet_weights: Pretrained weights of the key-frame ResNet: imagenet, a file, or null.
        proposal_endpoint: The backbone layer that the RPN uses with --proposals features.
        proposal_count: Number of proposals the RPN keeps on each key frame.
        anchor_sides: Sides of the RPN's anchors in pixels of the input. Default: 32 64 128 256.
        anchor_ratios: Aspect ratios of the anchors, height / width. Default: 0.5 1 2.
        head: mean (average over time, then two linear layers) or mixed (the remaining layers of the
            backbone).
        hidden: Units of each linear layer of the mean head.
        roi_size: ROIAlign output size (N x N cells).
        multi_label: Allow several labels for one person (AVA).
        own_background: Predict actionness with its own sigmoid, separate from the softmax over
            classes; random weights then learn the classes much sooner.
        per_class_boxes: Refine a separate box for each class.
        dropout: Dropout rate of the head's features.
        frames: Number of frames of the clip around a key frame.
        frame_step: Use every Nth frame of the video.
        size: Height and width of the input in pixels. Default: 320 400.
        key_frames: Key frames in a training clip; they share one pass through the backbone.
        key_frame_step: Distance between these key frames, in frames of the clip.
        margin: Extra frames at both ends of a training clip, so that key frames see as much context
            as in detection.
        flip: Probability of mirroring a clip.
        scale: Smallest and largest random zoom. Default: 0.75 1.25.
        colour: Strength of random brightness, contrast and saturation changes, 0 to 1.
        unbalanced: Sample classes as often as they occur, instead of rare classes more often.
        background: Fraction of clips sampled at any time of any video, with or without an action.
        examples: Proposals sampled on each key frame to train the head.
        jitter: Randomly shifted copies of each ground truth box that are added to the proposals in
            training.
        box_weight: Weight of the head's box loss.
        proposal_box_weight: Weight of the RPN's box loss.
        cache: Keep decoded videos in memory (for small data sets).
        workers: Processes that load clips.
        steps: Optimizer steps.
        batch: Clips in a batch, for each process.
        accumulate: Batches accumulated for one optimizer step.
        optimiser: sgd (with momentum 0.9) or adamw.
        lr: Learning rate after warm-up.
        warm_up: Steps of linear learning rate warm-up.
        decay: Learning rate schedule: steps (divided by 10 after 3/4 and 7/8 of the steps, as in
            the paper) or cosine.
        weight_decay: Weight decay; not applied to norms and biases.
        clip_norm: Gradients are clipped to this norm.
        ema: Decay of the moving average of the weights that is evaluated and saved; 0 turns it off.
        save_every: Save a checkpoint every N steps.
        evaluate_every: Evaluate every N steps; 0 evaluates only at the end.
        precision: Mixed precision: bf16, or fp16 on older GPUs.
        compile: Compile the model with torch.compile; worth it on a GPU.
        trackers: Where to log: tensorboard, or another tracker supported by accelerate.
        device: auto uses a GPU if there is one.
        resume: Continue the run in OUT.
        seed: Random seed of the weights, clips and augmentation.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.clips.augmentation import Augmentation
    from ..datasets.clips.detection_set import open_detection_sets
    from ..detect.model.config import DetectorConfig
    from ..detect.model.pretrained import new_detector
    from ..detect.training.detector import train_and_evaluate
    from ..detect.training.options import ClipSampling, Schedule
    from ..detect.training.proposals import RPN_KINDS
    from ..detect.training.state import require_no_run

    height, wide = pair("size", size, (320, 400))
    augmentation = Augmentation(flip, pair("scale", scale, (0.75, 1.25)), True, colour)
    schedule = Schedule(
        steps, batch, accumulate, optimiser, lr, warm_up, decay, weight_decay, clip_norm, ema,
        save_every, evaluate_every,
    )  # fmt: skip
    supervision = ClipSampling(
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
        out / f"split{split}" if splits and len(splits) > 1 else out: open_detection_sets(
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
        settings = DetectorConfig(
            train_set.labels, backbone, width, endpoint,
            proposals if proposals in RPN_KINDS else "given",  # type: ignore[arg-type]
            proposal_endpoint, proposal_count, head, hidden, roi_size, multi_label,
            own_background, per_class_boxes, dropout, frames, frame_step, height, wide,
            tuple(anchor_sides or DetectorConfig.anchor_sides),
            tuple(anchor_ratios or DetectorConfig.anchor_ratios), norm=norm, streams=streams,
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
        _, result = train_and_evaluate(
            detector, train_set, test_set, folder, schedule, supervision, accelerator,
            proposals=proposals, resume=resume, compile=compile, seed=seed,
        )  # fmt: skip
        accelerator.end_training()
        scores.append(result.as_json())
        accelerator.free_memory()
    if accelerator.is_main_process:
        _summary(scores, out)


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
