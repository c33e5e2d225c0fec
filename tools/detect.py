"""The command `actiontubes detect`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

from ..datasets.errors import InputError


def detect(
    videos: list[Path],
    *,
    out: Path = Path("tubes"),
    checkpoint: Path | None = None,
    fuse: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    proposals: str | None = None,
    labels: list[str] | None = None,
    scene: float | None = None,
    every: int | None = None,
    mode: Literal["shared", "per_clip"] | None = None,
    link: str | None = None,
    precision: Literal["no", "bf16", "fp16"] | None = None,
    compile: bool = False,
    threshold: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
    tables_only: bool = False,
    overwrite: bool = False,
) -> int:
    """Find people in videos, track them, and label what they do.

    No training needed: a person detector finds the people and a Kinetics-400 classifier labels
    them. With --checkpoint, a detector trained by `actiontubes train` does both. Writes to OUT:
    tubes.parquet (one row a box), detections.parquet, labels.csv (up to five labels a tube),
    videos.parquet, and VIDEO.tubes.mp4 with the tubes drawn. With --checkpoint one person may have
    several overlapping tubes of different classes: the tables keep all, the drawn video shows the
    best (`actiontubes visualize` draws all). Finished videos are skipped when you run the command
    again, and an unreadable video does not stop the others. `accelerate launch -m
    actiontubes.tools.main detect` splits the videos among GPUs or machines.

    Args:
        videos: Video files, folders, patterns such as 'clips/*.avi', or .txt files with one path a
            line.
        out: Output folder.
        checkpoint: A trained detector: detector.safetensors, or an .onnx file written by
            `actiontubes export`.
        fuse: A second trained detector, such as one on optical flow. Both score the proposals of
            the first; the scores are averaged.
        backbone: Without --checkpoint: the classifier network (i3d, s3d or s3d-g; see `actiontubes
            models`). Default: i3d.
        weights: Without --checkpoint: kinetics400, howto100m, or a weights file (see `actiontubes
            weights list`). Default: kinetics400.
        proposals: Where person boxes come from: default (torchvision's Faster R-CNN), another
            torchvision COCO detector, PATH.onnx (YOLOX), hog (OpenCV; weak), frame (the whole
            frame), PATH.parquet or PATH.csv (a table), detectron2:CONFIG. A checkpoint with its own
            proposals needs none; if given, these replace them.
        labels: Without --checkpoint: only these Kinetics-400 classes; or ucf101-24 or jhmdb for the
            classes of that data set.
        scene: Without --checkpoint: weight of the whole frame against the person's own region, 0 to
            1. Default: 0.5.
        every: With --checkpoint: run the detector on every Nth frame and interpolate the others.
            Default: 1.
        mode: With --checkpoint: shared (default) computes features once for many frames; per_clip
            runs a separate clip for each frame, as published, and is much slower.
        link: With --checkpoint: how boxes are linked into tubes: act (default), viterbi, online or
            another method of `actiontubes link`.
        precision: With --checkpoint: bf16 or fp16 for half precision where it is safe. Default: no
            (float32).
        compile: With --checkpoint: compile the network first; worth it on a GPU with many videos.
        threshold: Without --checkpoint: lowest score of a tube that is kept (default 0.05). With
            it: lowest score of a box that may join a tube (default 0.4).
        device: auto uses a GPU if there is one.
        trail: Draw the path of each box's center over the last second.
        tables_only: Do not draw videos; a later run without this option draws them from the tables.
        overwrite: Process all videos again, even those that already have results.
    """
    from ..backbones.memory import keep_freed_memory
    from ..datasets.errors import error_line, refuse_options
    from ..datasets.video.find import expand_video_paths
    from ..datasets.video_names import unique_names
    from ..detect.inference.distributed import barrier, folder_lock, process_share
    from ..detect.inference.load import open_checkpoint, open_zero_shot
    from ..detect.inference.resumable_run import (
        DrawOptions,
        delete_results,
        finished_jobs,
        is_done,
        join_results,
        plan_jobs,
        process_videos,
    )

    paths = expand_video_paths(videos)
    everything = plan_jobs(out, paths, unique_names(paths))
    share = process_share()
    where = _device(device, share.local)
    keep_freed_memory()
    if checkpoint is None:
        refuse_options(
            "only works with --checkpoint; leave it out, or give a checkpoint",
            fuse=fuse, every=every, mode=mode, link=link, precision=precision,
            compile=compile or None,
        )  # fmt: skip
        start, settings = open_zero_shot(
            backbone, weights, proposals, labels, scene, threshold, where, share.index == 0
        )
    else:
        refuse_options(
            "cannot be used with --checkpoint, which already contains the network and its classes; "
            "leave it out",
            backbone=backbone, weights=weights, labels=labels, scene=scene,
        )  # fmt: skip
        start, settings = open_checkpoint(
            checkpoint, fuse, proposals, every, mode, link, precision, compile, threshold, where,
            share.index == 0,
        )  # fmt: skip
    # Without a checkpoint each person has one tube: two that overlap are two people.
    drawing = None if tables_only else DrawOptions(checkpoint is not None, trail)
    folder = out / "videos"
    out.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    with folder_lock(folder, shared=share.count > 1) as wait_for_others:
        mine = everything[share.index :: share.count]
        if overwrite:
            delete_results(mine, out)
        done = finished_jobs(mine, settings)
        if done:
            print(
                f"{len(done)} of {len(mine)} videos already have results "
                "(use --overwrite to redo them)"
            )
        barrier(share)
        frames, begin = 0, time.perf_counter()
        for _, result in process_videos(mine, start, settings, out, drawing):
            if isinstance(result, Exception):
                print(f"actiontubes detect: {error_line(result)}", file=sys.stderr)
            elif result is not None:
                frames += result.num_frames
                print(result.text(), flush=True)
        seconds = time.perf_counter() - begin
        if share.index:
            return 0
        wait_for_others()
        joined = join_results(everything, out)
    if frames:
        print(f"{frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s): {out}")
    elif joined:
        print(f"{joined} frames in all: {out}")
    failed = [str(video.path) for video in everything if not is_done(video, drawing)]
    if failed:
        print(f"actiontubes detect: {len(failed)} of {len(everything)} videos failed: "
              f"{', '.join(failed)}", file=sys.stderr)  # fmt: skip
    return 2 if failed else 0


def _device(device: str, local: int) -> str:
    """The device of the process with that number on its machine."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU on this machine; use --device cpu")
    return f"cuda:{local % torch.cuda.device_count()}" if device == "cuda" else device
