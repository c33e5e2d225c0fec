"""The command `actiontubes study`."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..datasets.errors import InputError
from ..datasets.options import at_least
from ..detect.training.options import ClassifierOptions, RunOptions, Schedule
from .arguments import Omit

if TYPE_CHECKING:
    from ..detect.experiments.study_clips import Stream, StudyClips


_BACKBONES = [
    "i2d", "i3d", "s3d", "s3d-g", "s3d-g(temporal)", "top-heavy-i3d(K)", "bottom-heavy-i3d(K)",
]  # fmt: skip
_NETWORK = ClassifierOptions(width=0.25, weights=None)
_SCHEDULE = Schedule(
    steps=400, batch=32, optimizer="adamw", lr=4e-3, warmup=20, decay="cosine", weight_decay=1e-3,
    save_every=100,
)  # fmt: skip


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
    seeds: Annotated[list[int] | None, at_least(0)] = None,
    endpoint: str = "Mixed_3c",
    network: Annotated[
        ClassifierOptions, Omit("streams", "backbone", "freeze", "norm", "label_smoothing")
    ] = _NETWORK,
    frames: int | None = None,
    frame_step: int = 2,
    size: list[int] | None = None,
    memory: float = 2.0,
    schedule: Annotated[
        Schedule, Omit("accumulate", "clip_norm", "ema", "evaluate_every")
    ] = _SCHEDULE,
    run: Annotated[RunOptions, Omit("compile", "trackers", "resume", "seed")],
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
        frames: Frames of a clip. Default: 9 for actors, 64 for videos. With an odd number, networks
            up to MaxPool_4a see exactly the same frames in reversed clips.
        frame_step: For actors: use every Nth frame of the video.
        size: For actors: height and width in pixels (default 80 64). For videos: side of the crop
            (default 224).
        memory: Gigabytes of memory for actor clips, so that videos are read only once (per worker).
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.clips.classification_set import open_classification_set
    from ..datasets.clips.detection_set import open_detection_sets
    from ..datasets.clips.options import ActorClipConfig, CropConfig
    from ..datasets.figures.motion import PAIRS
    from ..detect.experiments.study import (
        SETTINGS_FILE,
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
    from ..detect.inference.device import explain_precision

    if clips == "videos" and data is None:
        raise InputError(
            "--clips videos: needs --data; without --data the study draws its own videos, and "
            "those are only for --clips actors"
        )
    names = expand_sweeps(backbones or _BACKBONES, endpoint)
    runs = plan_runs(names, streams or ["rgb"], [0, 1, 2] if seeds is None else seeds)
    if not runs:
        raise InputError("--seeds: give at least one")
    default_size = (80, 64) if clips == "actors" else (224,)
    sides = default_size if size is None else tuple(size)
    if len(sides) != len(default_size):
        raise InputError(f"--size: needs {len(default_size)} numbers, not {len(sides)}")
    length = frames if frames is not None else 9 if clips == "actors" else 64
    if clips == "actors":
        actors = ActorClipConfig(
            frames=length, frame_step=frame_step, size=(sides[0], sides[1]), flow_method=flow_method
        )
        shape = asdict(actors)
    else:
        crops = CropConfig(frames=length, size=sides[0])
        shape = asdict(crops) | {"flow_method": flow_method}
    drawn = data is None
    folder = out / "data" if data is None else data
    accelerator = run.accelerator(out)
    settings = {
        "data": {"videos": videos} if drawn else str(folder.resolve()), "clips": clips,
        "split": split, "train_videos": train_videos, "test_videos": test_videos, "pairs": pairs,
        "precision": accelerator.mixed_precision, "last": endpoint, "width": network.width,
        "weights": network.weights, "dropout": network.dropout, **asdict(schedule), **shape,
    }  # fmt: skip
    del settings["save_every"]  # which changes nothing
    with run.lock(out):
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
        if run.precision == "auto" and accelerator.is_main_process:
            print(explain_precision(str(accelerator.device), training=True), file=sys.stderr)
        run = replace(run, precision=accelerator.mixed_precision)  # said once, not by each training

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
        run_study(runs, open_clips, Study(out, endpoint, network, schedule, run, opposite))
        if not accelerator.is_main_process:
            return
        records = read_records(out)
        title = (
            f"{'The drawn figures' if drawn else folder.name}: clips of {length} frames of "
            f"{'x'.join(map(str, sides))} pixels; networks up to {endpoint}, channels times "
            f"{network.width:g}; {schedule.steps} steps of {schedule.batch} clips; "
            f"{records[0]['clips']} clips to test on."
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
