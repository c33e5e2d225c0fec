"""The command `actiontubes study`."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..datasets.errors import InputError
from ..detect.training.options import make_accelerator

if TYPE_CHECKING:
    from ..detect.experiments.study_clips import Stream, StudyClips


_BACKBONES = [
    "i2d", "i3d", "s3d", "s3d-g", "s3d-g(temporal)", "top-heavy-i3d(K)", "bottom-heavy-i3d(K)",
]  # fmt: skip


def study(
    *,
    out: Path = Path("study"),
    data: Path | None = None,
    media: Path | None = None,
    clips: Literal["actors", "videos"] = "actors",
    split: int = 1,
    train_videos: list[str] | None = None,
    test_videos: list[str] | None = None,
    videos: int = 160,
    pairs: list[str] | None = None,
    backbones: list[str] | None = None,
    streams: list[Literal["rgb", "flow", "both"]] | None = None,
    flow_method: Literal["tvl1", "dis"] = "tvl1",
    seeds: list[int] | None = None,
    endpoint: str = "Mixed_3c",
    width: float = 0.25,
    weights: str | None = None,
    dropout: float = 0.2,
    frames: int | None = None,
    frame_step: int = 2,
    size: list[int] | None = None,
    steps: int = 400,
    batch: int = 32,
    optimiser: Literal["sgd", "adamw"] = "adamw",
    lr: float = 4e-3,
    warm_up: int = 20,
    decay: Literal["steps", "cosine"] = "cosine",
    weight_decay: float = 1e-3,
    save_every: int = 100,
    precision: Literal["no", "bf16"] = "no",
    device: Literal["auto", "cpu"] = "auto",
    memory: float = 2.0,
    workers: int = 0,
) -> None:
    """Train several networks on the same budget, and compare accuracy with cost.

    Without --data it draws the videos of the demo, whose actions come in pairs that differ only in
    the direction of time. Writes to OUT: index.html with its figures (cost.svg, reversed.svg,
    gating.svg, streams.svg), results.md, results.csv and results.json, and in runs/ a record and a
    checkpoint of each run. Run again to continue after an interruption; finished runs are skipped,
    and networks, seeds or streams added later appear on the same page.

    Args:
        out: Output folder.
        data: A detection data set as for `train`; with --clips videos, a classification data set as
            for `classify`. Default: drawn videos in OUT/data.
        media: Folder with the videos. Default: the folder of --data.
        clips: actors: clips around each person of a detection data set; videos: clips of labelled
            videos.
        split: The split of the data to use.
        train_videos: For a detection data set: names of the training videos, or a file that lists
            them. Default: those of the split.
        test_videos: For a detection data set: names of the test videos, or a file that lists them.
            Default: those of the split.
        videos: Number of training videos to draw; a quarter as many are drawn for testing.
        pairs: Pairs of opposite classes, such as "sit down/stand up". Default: those of the drawn
            data set that the data contains.
        backbones: The networks to compare; "top-heavy-i3d(K)" and "bottom-heavy-i3d(K)" mean every
            K up to --endpoint. Default: I2D, I3D, S3D, S3D-G with both gate placements, and both
            sweeps over K.
        streams: Inputs of the networks: rgb, flow, or both (late fusion). Default: rgb.
        flow_method: tvl1 (as in the paper) or dis (faster); run `actiontubes flow` first on your
            own videos.
        seeds: Random seeds; one run for each. Default: 0 1 2.
        endpoint: The last layer of the backbones.
        width: Multiplier of the backbone's channels.
        weights: Pretrained weights: imagenet, or null for random weights.
        dropout: Dropout rate before the classifier.
        frames: Frames of a clip. Default: 9 for actors, 64 for videos. With an odd number, networks
            up to MaxPool_4a see exactly the same frames in reversed clips.
        frame_step: For actors: use every Nth frame of the video.
        size: For actors: height and width in pixels (default 80 64). For videos: side of the crop
            (default 224).
        steps: Optimizer steps of each run.
        batch: Clips in a batch.
        optimiser: sgd (with momentum 0.9) or adamw.
        lr: Learning rate after warm-up.
        warm_up: Steps of linear learning rate warm-up.
        decay: Learning rate schedule: steps (divided by 10 after 3/4 and 7/8 of the steps, as in
            the paper) or cosine.
        weight_decay: Weight decay; not applied to norms and biases.
        save_every: Save a checkpoint every N steps.
        precision: Mixed precision: bf16, or fp16 on older GPUs.
        device: auto uses a GPU if there is one.
        memory: Gigabytes of memory for actor clips, so that videos are read only once (per worker).
        workers: Processes that load clips.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.clips.actor_clips import ActorClipConfig
    from ..datasets.clips.classification_clips import CropConfig
    from ..datasets.clips.classification_set import open_classification_set
    from ..datasets.clips.detection_set import open_detection_sets
    from ..datasets.figures.motion import PAIRS
    from ..detect.experiments.study import (
        SETTINGS_FILE,
        Network,
        Study,
        check_same_settings,
        expand_sweeps,
        plan_runs,
        read_records,
        run_study,
    )
    from ..detect.experiments.study_clips import (
        actor_study_clips,
        cache_flow,
        parse_pairs,
        video_study_clips,
    )
    from ..detect.experiments.study_report import TABLE_FILE, write_study_report
    from ..detect.training.options import Schedule

    if clips == "videos" and data is None:
        raise InputError(
            "--clips videos: needs --data; without --data the study draws its own videos, and "
            "those are only for --clips actors"
        )
    network = Network(endpoint, width, weights, dropout)
    schedule = Schedule(
        steps=steps, batch=batch, optimiser=optimiser, lr=lr, warm_up=warm_up, decay=decay,
        weight_decay=weight_decay, save_every=save_every,
    )  # fmt: skip
    names = expand_sweeps(backbones or _BACKBONES, endpoint)
    runs = plan_runs(names, streams or ["rgb"], [0, 1, 2] if seeds is None else seeds)
    if not runs:
        raise InputError("--seeds: give at least one")
    sides = _numbers(size, (80, 64) if clips == "actors" else (224,))
    length = frames if frames is not None else 9 if clips == "actors" else 64
    if clips == "actors":
        actors = ActorClipConfig(length, frame_step, sides[0], sides[1], flow_method=flow_method)
        shape = asdict(actors)
    else:
        crops = CropConfig(length, sides[0])
        shape = asdict(crops) | {"flow_method": flow_method}
    drawn = data is None
    folder = out / "data" if data is None else data
    settings = {
        "data": {"videos": videos} if drawn else str(folder.resolve()), "clips": clips,
        "split": split, "train_videos": train_videos, "test_videos": test_videos, "pairs": pairs,
        "precision": precision, **asdict(network), **asdict(schedule), **shape,
    }  # fmt: skip
    del settings["save_every"]  # which changes nothing
    accelerator = make_accelerator(precision, device, None, out)
    if drawn and accelerator.is_main_process:
        _draw_figures(folder, videos)
    accelerator.wait_for_everyone()
    if clips == "actors":
        parts = open_detection_sets(
            folder, media=media, split=split, train_videos=train_videos, test_videos=test_videos
        )
        labels = parts[0].labels
    else:
        lists = [
            open_classification_set(folder, "train", media=media, split=split),
            open_classification_set(folder, "test", media=media, split=split),
        ]
        labels = lists[0].labels
    known = [f"{a}/{b}" for a, b in PAIRS if {a, b} <= set(labels)]
    opposite = parse_pairs(known if pairs is None else pairs, labels)
    if accelerator.is_main_process:
        check_same_settings(settings, out / SETTINGS_FILE)

    def open_clips(stream: Stream) -> StudyClips:
        if clips == "videos":
            return video_study_clips(lists[0], lists[1], crops, stream, flow_method)
        config = replace(actors, stream=stream)
        opened = actor_study_clips(parts[0], parts[1], config, memory=round(memory * 1e9))
        if drawn and stream == "flow" and accelerator.is_main_process:
            cache_flow(opened.media, flow_method)
        accelerator.wait_for_everyone()
        return opened

    keep_freed_memory()
    run_study(runs, open_clips, Study(out, network, schedule, accelerator, opposite, workers))
    if not accelerator.is_main_process:
        return
    records = read_records(out)
    title = (
        f"{'The drawn figures' if drawn else folder.name}: clips of {length} frames of "
        f"{'x'.join(map(str, sides))} pixels; networks up to {endpoint}, channels times {width:g}; "
        f"{steps} steps of {batch} clips; {records[0]['clips']} clips to test on."
    )
    page = write_study_report(records, out, title)
    print((out / TABLE_FILE).read_text(encoding="utf-8"))
    print(page)


def _draw_figures(folder: Path, videos: int) -> None:
    """Draws the data set, or takes over the one that an earlier run drew."""
    from ..datasets.figures.dataset import make_figure_dataset

    if not (folder / "groundtruth.parquet").is_file():
        cores = os.cpu_count() or 1
        test = max(videos // 4, 4)
        make_figure_dataset(
            folder, train=videos, test=test, workers=min(cores, 8) if cores > 1 else 0
        )


def _numbers(size: list[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """As many numbers as the default has, of an option."""
    if size is not None and len(size) != len(default):
        raise InputError(f"--size: needs {len(default)} numbers, not {len(size)}")
    return default if size is None else tuple(size)
