"""The command `actiontubes study`."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..datasets.files import InputError
from .train import make_accelerator

if TYPE_CHECKING:
    from ..detect.study_material import Material, Stream

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
    """Train networks of the family under one budget, and show accuracy against cost.

    Without --data it draws the demo's figures, whose actions come in pairs that only the direction
    of time tells apart. Writes to OUT: index.html, its figures (cost.svg, reversed.svg, gating.svg,
    streams.svg), results.md, results.csv and results.json, and of each run its record and its
    checkpoint (runs). Run again, it goes on where it was stopped, and skips what is done; more
    networks, seeds or streams can be added later, and the page shows all.

    Args:
        out: The folder to write to.
        data: A detection set as of train, or with --clips videos a classification set as of
            classify (default: drawn figures in OUT/data).
        media: The folder of the videos (default: the data's).
        clips: Clips around each actor of a detection set, or of whole labelled videos.
        split: Which split of the data.
        train_videos: Of a detection set, the videos to train on, or a list of them (default: the
            split's).
        test_videos: The videos to test on.
        videos: How many videos of figures are drawn to train on; a quarter as many to test on.
        pairs: Classes that are opposite, such as "sit down/stand up" (default: those of the drawn
            figures, where the data has both).
        backbones: The networks; "top-heavy-i3d(K)" and "bottom-heavy-i3d(K)" stand for all K up to
            the endpoint (default: I2D, I3D, S3D, S3D-G with both placements of its gates, and both
            sweeps over K).
        streams: What they see: rgb, flow, or both by late fusion (default: rgb).
        flow_method: tvl1 (the paper's), or dis, which is faster; `actiontubes flow` computes the
            flow of your own videos once, before.
        seeds: Of weights, clips and dropout; a run for each (default: 0, 1 and 2).
        endpoint: The trunks' last layer.
        width: Multiplies the trunks' channels.
        weights: The first weights: imagenet, or null for none.
        dropout: Share of the features before the classifier that is dropped in training.
        frames: Frames of a clip (default: 9 of actors; 64 of videos). With an odd number, networks
            up to MaxPool_4a see the very same frames of reversed clips.
        frame_step: Of actors' clips: frames of the video from one frame of the clip to the next.
        size: Pixels of a clip: height and width of actors' (default: 80 64), the side of videos'
            (default: 224).
        steps: Optimiser steps of each run.
        batch: Clips a step and process.
        optimiser: SGD with momentum 0.9, or AdamW.
        lr: Learning rate after the warm-up.
        warm_up: Steps over which the learning rate rises.
        decay: A tenth after 3/4 and again after 7/8 of the steps (the paper's), or a cosine.
        weight_decay: Weight decay of kernels and matrices.
        save_every: Steps from one checkpoint to the next.
        precision: Compute in mixed precision.
        device: Where networks run; auto takes a GPU if there is one.
        memory: Gigabytes that actors' clips may take in memory, so that they are read only once;
            with workers, in each of them.
        workers: Processes that read videos.
    """
    from ..backbones.layers import keep_freed_memory
    from ..datasets.actor_clips import ActorSettings
    from ..datasets.figures import PAIRS
    from ..datasets.labelled_clips import CropSettings
    from ..datasets.labelled_videos import open_labelled_videos
    from ..datasets.video_sets import open_video_sets
    from ..detect.study import (
        SETTINGS,
        Network,
        plan,
        read_records,
        require_same,
        run_study,
        sweep,
    )
    from ..detect.study_material import actor_material, cache_flow, named_pairs, video_material
    from ..detect.study_report import TABLE, write_report
    from ..detect.training import Schedule

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
    names = sweep(backbones or _BACKBONES, endpoint)
    runs = plan(names, streams or ["rgb"], [0, 1, 2] if seeds is None else seeds)
    if not runs:
        raise InputError("--seeds: give at least one")
    sides = _numbers(size, (80, 64) if clips == "actors" else (224,))
    length = frames if frames is not None else 9 if clips == "actors" else 64
    if clips == "actors":
        actors = ActorSettings(length, frame_step, sides[0], sides[1], flow_method=flow_method)
        shape = asdict(actors)
    else:
        crops = CropSettings(length, sides[0])
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
        parts = open_video_sets(
            folder, media=media, split=split, train_videos=train_videos, test_videos=test_videos
        )
        labels = parts[0].labels
    else:
        lists = [
            open_labelled_videos(folder, "train", media=media, split=split),
            open_labelled_videos(folder, "test", media=media, split=split),
        ]
        labels = lists[0].labels
    known = [f"{a}/{b}" for a, b in PAIRS if {a, b} <= set(labels)]
    opposite = named_pairs(known if pairs is None else pairs, labels)
    if accelerator.is_main_process:
        require_same(settings, out / SETTINGS)

    def open_material(stream: Stream) -> Material:
        if clips == "videos":
            return video_material(lists[0], lists[1], crops, stream, flow_method)
        seen = replace(actors, stream=stream)
        material = actor_material(parts[0], parts[1], seen, memory=round(memory * 1e9))
        if drawn and stream == "flow" and accelerator.is_main_process:
            cache_flow(material.media, flow_method)
        accelerator.wait_for_everyone()
        return material

    keep_freed_memory()
    run_study(
        runs, open_material, out, network, schedule, accelerator, pairs=opposite, workers=workers
    )
    if not accelerator.is_main_process:
        return
    records = read_records(out)
    title = (
        f"{'The drawn figures' if drawn else folder.name}: clips of {length} frames of "
        f"{'x'.join(map(str, sides))} pixels; networks up to {endpoint}, channels times {width:g}; "
        f"{steps} steps of {batch} clips; {records[0]['clips']} clips to test on."
    )
    page = write_report(records, out, title)
    print((out / TABLE).read_text(encoding="utf-8"))
    print(page)


def _draw_figures(folder: Path, videos: int) -> None:
    """Draws the data set, or takes over the one that an earlier run drew."""
    from ..datasets.figures import make_figures

    if not (folder / "groundtruth.parquet").is_file():
        cores = os.cpu_count() or 1
        test = max(videos // 4, 4)
        make_figures(folder, train=videos, test=test, workers=min(cores, 8) if cores > 1 else 0)


def _numbers(size: list[int] | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """As many numbers as the default has, of an option."""
    if size is not None and len(size) != len(default):
        raise InputError(f"--size: needs {len(default)} numbers, not {len(size)}")
    return default if size is None else tuple(size)
