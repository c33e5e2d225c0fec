"""The command `actiontubes detect`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

from ..datasets.files import InputError


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
    link: Literal["act", "viterbi", "online"] | None = None,
    precision: Literal["no", "bf16", "fp16"] | None = None,
    compile: bool = False,
    threshold: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
    tables_only: bool = False,
    overwrite: bool = False,
) -> int:
    """Find the people in videos, follow each, and name what they do.

    Needs no training: people come from a person detector, names from a network trained to classify
    whole videos (Kinetics-400). Or give a detector that `actiontubes train` made, with
    --checkpoint. Writes to the folder OUT, for pandas, a spreadsheet or `actiontubes evaluate`:
    tubes.parquet (without training one tube a person, with the best label), labels.csv (each
    tube's labels, five at most), detections.parquet (those for every frame) and videos.parquet;
    and each video with its tubes drawn, VIDEO.tubes.mp4. With --checkpoint a person may have tubes
    of several classes: the tables keep all, the drawn video shows the best of those that overlap
    (`actiontubes visualize` draws all of a table). OUT/videos keeps these tables for each video:
    run again, the command takes up what is not done, whatever stopped it. A video that cannot be
    read does not stop the others. `accelerate launch -m actiontubes.tools.main detect` shares the
    videos among GPUs or machines.

    Args:
        videos: Video files of any kind that FFmpeg reads, folders of them, patterns such as
            'clips/*.avi', or text files (.txt) with a path a line.
        out: The folder to write to.
        checkpoint: A trained detector (detector.safetensors, or an .onnx that `actiontubes export`
            wrote); it carries its classes and sizes.
        fuse: A second one, such as one on optical flow beside one on RGB: on each of the first
            one's proposals, the mean of both their scores counts.
        backbone: Without checkpoint, the network: i3d (the default), s3d or s3d-g (`actiontubes
            models` lists the family).
        weights: Without checkpoint: kinetics400 (the default), howto100m, or the path of a weights
            file (`actiontubes weights list`).
        proposals: Where people are: default (torchvision's Faster R-CNN), the name of another COCO
            detector of torchvision, PATH.onnx (a YOLOX model), hog (OpenCV, weak), frame (the whole
            picture), PATH.parquet or PATH.csv (a table of boxes), detectron2:CONFIG. A checkpoint
            that finds people itself needs none, and uses only these where given.
        labels: Without checkpoint: choose among these Kinetics-400 classes alone, or say ucf101-24
            or jhmdb for the classes of that data set.
        scene: Without checkpoint: weight of the whole picture beside the person's own region, from
            0 to 1 (default: 0.5).
        every: With checkpoint: look at one of so many frames, and interpolate (default: 1).
        mode: With checkpoint: shared lets the frames share one pass through the network (the
            default); per_clip takes a clip of its own for each, as published, and far longer.
        link: With checkpoint, how tubes are linked: act (the default), viterbi or online, as in
            `actiontubes link`.
        precision: With checkpoint: bf16 or fp16 computes in half precision where that is safe
            (default: no, which is float32).
        compile: With checkpoint: compile the network first; pays on a GPU, for many videos.
        threshold: Without checkpoint, the lowest score of a tube that is kept (default: 0.05); with
            it, of the boxes that tubes are made of (default: 0.4).
        device: Where networks run; auto takes a GPU if there is one.
        trail: Draw the way of each box's centre over the last second.
        tables_only: Write no drawn videos; a run without it draws them later from the tables.
        overwrite: Look at all videos anew, also at those that are done.
    """
    from ..backbones.layers import keep_freed_memory
    from ..datasets.video_files import find_videos, video_names
    from ..detect.many_videos import (
        Drawing,
        done_before,
        forget,
        is_done,
        join_videos,
        run_videos,
        videos_in,
    )
    from ..detect.sharing import folder_lock, launched_share, meet
    from .main import one_line
    from .video_detectors import refuse, trained, zero_shot

    paths = find_videos(videos)
    everything = videos_in(out, paths, video_names(paths))
    share = launched_share()
    where = _device(device, share.local)
    keep_freed_memory()
    if checkpoint is None:
        refuse(
            "only works with --checkpoint; leave it out, or give a checkpoint",
            fuse=fuse, every=every, mode=mode, link=link, precision=precision,
            compile=compile or None,
        )  # fmt: skip
        start, settings = zero_shot(
            backbone, weights, proposals, labels, scene, threshold, where, share.index == 0
        )
    else:
        refuse(
            "cannot be used with --checkpoint, which already contains the network and its classes; "
            "leave it out",
            backbone=backbone, weights=weights, labels=labels, scene=scene,
        )  # fmt: skip
        start, settings = trained(
            checkpoint, fuse, proposals, every, mode, link, precision, compile, threshold, where,
            share.index == 0,
        )  # fmt: skip
    # Without a checkpoint each person has one tube: two that overlap are two people.
    drawing = None if tables_only else Drawing(checkpoint is not None, trail)
    folder = out / "videos"
    out.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    with folder_lock(folder, shared=share.count > 1) as wait_for_others:
        mine = everything[share.index :: share.count]
        if overwrite:
            forget(mine, out)
        done = done_before(mine, settings)
        if done:
            print(
                f"{len(done)} of {len(mine)} videos already have results "
                "(use --overwrite to redo them)"
            )
        meet(share)
        frames, begin = 0, time.perf_counter()
        for _, result in run_videos(mine, start, settings, out, drawing):
            if isinstance(result, Exception):
                print(f"actiontubes detect: {one_line(result)}", file=sys.stderr)
            elif result is not None:
                frames += result.num_frames
                print(result.text(), flush=True)
        seconds = time.perf_counter() - begin
        if share.index:
            return 0
        wait_for_others()
        joined = join_videos(everything, out)
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
