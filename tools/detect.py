"""The command `actiontubes detect`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..datasets.files import InputError

if TYPE_CHECKING:
    from ..detect.dense import Mode
    from ..detect.many_videos import Settings, Start
    from ..detect.proposals import Proposals
    from ..detect.video_results import VideoSummary


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
    and each video with its tubes drawn, VIDEO.tubes.mp4. OUT/videos keeps these tables for each
    video: run again, the command takes up what is not done, whatever stopped it. A video that
    cannot be read does not stop the others. `accelerate launch -m actiontubes.tools.main detect`
    shares the videos among GPUs or machines.

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
        tables_only: Write no drawn videos.
        overwrite: Look at all videos anew, also at those that are done.
    """
    from ..backbones.layers import keep_freed_memory
    from ..datasets.video_files import find_videos, video_names
    from ..detect.many_videos import (
        done_before,
        forget,
        is_done,
        join_videos,
        run_videos,
        videos_in,
    )
    from ..detect.sharing import folder_lock, launched_share, meet
    from .main import one_line

    paths = find_videos(videos)
    everything = videos_in(out, paths, video_names(paths))
    share = launched_share()
    where = _device(device, share.local)
    keep_freed_memory()
    if checkpoint is None:
        _refuse(
            "needs --checkpoint", fuse=fuse, every=every, mode=mode, link=link, precision=precision,
            compile=compile or None,
        )  # fmt: skip
        start, settings = _zero_shot(
            backbone, weights, proposals, labels, scene, threshold, where, share.index == 0
        )
    else:
        _refuse(
            "does not go with --checkpoint, which carries its own network and classes",
            backbone=backbone, weights=weights, labels=labels, scene=scene,
        )  # fmt: skip
        start, settings = _trained(
            checkpoint, fuse, proposals, every, mode, link, precision, compile, threshold, where,
            share.index == 0,
        )  # fmt: skip
    drawing = None if tables_only else {"trail": trail}
    folder = out / "videos"
    out.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    with folder_lock(folder, shared=share.count > 1) as wait_for_others:
        mine = everything[share.index :: share.count]
        if overwrite:
            forget(mine, out)
        done = done_before(mine, settings)
        if done:
            print(f"{len(done)} of {len(mine)} were done before")
        meet(share)
        frames, begin = 0, time.perf_counter()
        for _, result in run_videos(mine, start, settings, out, drawing):
            if isinstance(result, Exception):
                print(f"actiontubes detect: {one_line(result)}", file=sys.stderr)
            elif result is not None:
                frames += result.num_frames
                print(result.text())
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
        print(f"actiontubes detect: {len(failed)} of {len(everything)} failed: "
              f"{', '.join(failed)}", file=sys.stderr)  # fmt: skip
    return 2 if failed else 0


def _device(device: str, local: int) -> str:
    """The device of the process with that number on its machine."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return f"cuda:{local % torch.cuda.device_count()}" if device == "cuda" else device


def _refuse(why: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name} {why}; leave it out")


def _zero_shot(
    backbone: str | None,
    weights: str | None,
    proposals: str | None,
    labels: list[str] | None,
    scene: float | None,
    threshold: float | None,
    device: str,
    progress: bool,
) -> tuple[Start, Settings]:
    """Detection by a person detector and a network trained to classify whole videos."""
    from ..backbones.folding import fold_norms
    from ..backbones.inception import get_variant
    from ..backbones.weights import load_pretrained
    from ..detect.video_results import write_video_tubes
    from ..detect.video_tubes import find_tubes
    from ..detect.zero_shot import choose_labels

    share = 0.5 if scene is None else scene
    lowest = 0.05 if threshold is None else threshold
    if not 0 <= share <= 1:
        raise InputError(f"--scene {share}: give a weight from 0 to 1")
    backbone, weights = backbone or "i3d", weights or "kinetics400"
    model = load_pretrained(get_variant(backbone), weights)
    if model.head is None or not model.labels:
        raise InputError(f"--weights {weights}: they name no actions; use kinetics400")
    model.trunk.to(device)
    model.head.to(device)
    fold_norms(model.trunk)
    chosen = choose_labels(labels, model.labels)
    people_of, source = _people_of(proposals or "default", device)

    @contextmanager
    def start(video: Path, name: str) -> Iterator[Callable[[Path], VideoSummary]]:
        def run(folder: Path) -> VideoSummary:
            found = find_tubes(
                video, name, model, people_of(name), chosen, scene=share, threshold=lowest,
                device=device, progress=progress,
            )  # fmt: skip
            return write_video_tubes(found, name, folder)

        yield run

    return start, {
        "backbone": backbone, "weights": _content(weights), "proposals": source,
        "labels": list(chosen.names), "scene": share, "threshold": lowest,
    }  # fmt: skip


def _trained(
    checkpoint: Path,
    fuse: Path | None,
    proposals: str | None,
    every: int | None,
    mode: Mode | None,
    link: str | None,
    precision: str | None,
    compile: bool,
    threshold: float | None,
    device: str,
    progress: bool,
) -> tuple[Start, Settings]:
    """Detection by a detector that `actiontubes train` made."""
    import torch

    from ..backbones.folding import fold_norms
    from ..detect.dense import Detects, compile_trunk
    from ..detect.detector_file import load_detector
    from ..detect.fusion import ScoreFusion
    from ..detect.linking.greedy import ACT, SINGH, GreedyRules
    from ..detect.linking.viterbi import PENG, ViterbiRules
    from ..detect.onnx_detector import load_onnx_detector
    from ..detect.trained_tubes import THRESHOLD, trained_tubes

    if every is not None and every < 1:
        raise InputError(f"--every {every}: give 1 or more frames from one key frame to the next")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision or "no")
    mode, link, every = mode or "shared", link or "act", every or 1
    detector: Detects
    if checkpoint.suffix == ".onnx":
        _refuse("does not go with an ONNX model, which runs as it was exported", fuse=fuse,
                precision=precision, compile=compile or None)  # fmt: skip
        detector = load_onnx_detector(checkpoint, device=device)
    else:
        parts = [load_detector(path).to(device) for path in (checkpoint, fuse) if path is not None]
        detector = fold_norms(parts[0] if fuse is None else ScoreFusion(*parts), half)
        for part in parts if compile else ():
            compile_trunk(part, mode)
    rules: dict[str, GreedyRules | ViterbiRules] = {"act": ACT, "viterbi": PENG, "online": SINGH}
    asks = proposals is not None or detector.proposals is None
    people_of, source = None, None
    if asks:
        people_of, source = _people_of(proposals or "default", device)
    lowest = THRESHOLD if threshold is None else threshold

    def start(video: Path, name: str) -> AbstractContextManager[Callable[[Path], VideoSummary]]:
        return trained_tubes(
            video, name, detector, people_of and people_of(name), rules=rules[link],
            threshold=lowest, mode=mode, every=every, half=half, device=device, progress=progress,
        )  # fmt: skip

    return start, {
        "checkpoint": _content(str(checkpoint)), "fuse": fuse and _content(str(fuse)),
        "proposals": source, "every": every, "mode": mode,
        "link": link, "precision": precision or "no", "threshold": lowest,
    }  # fmt: skip


def _people_of(proposals: str, device: str) -> tuple[Callable[[str], Proposals], str]:
    """Opens the proposals once: those of a video by its name, and what tells them from others."""
    from ..datasets.tables import Detections, read_table
    from ..detect.proposals import DEFAULT_CPU, DEFAULT_GPU, open_proposals, table_proposals

    if proposals.endswith((".parquet", ".csv")):
        boxes = read_table(Detections, Path(proposals))
        return lambda name: table_proposals(boxes, name, where=proposals), _content(proposals)
    source = open_proposals(proposals, device=device)
    if proposals == "default":
        proposals = DEFAULT_CPU if device == "cpu" else DEFAULT_GPU
    return lambda name: source, _content(proposals)


def _content(name: str) -> str:
    """The digest of a file, or the name where it is none."""
    from ..detect.many_videos import digest

    return digest(Path(name)) if Path(name).is_file() else name
