"""The command `actiontubes detect`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..datasets.files import InputError

if TYPE_CHECKING:
    from ..detect.dense import Mode
    from ..detect.proposals import Proposals
    from ..detect.video_tubes import VideoTubes

    Find = Callable[[Path, str], VideoTubes]


def detect(
    videos: list[Path],
    *,
    out: Path = Path("tubes"),
    checkpoint: Path | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    proposals: str | None = None,
    labels: list[str] | None = None,
    scene: float | None = None,
    every: int | None = None,
    mode: Literal["shared", "per_clip"] | None = None,
    link: Literal["act", "viterbi", "online"] | None = None,
    precision: Literal["no", "bf16"] | None = None,
    threshold: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    trail: bool = False,
    tables_only: bool = False,
) -> int:
    """Find the people in videos, follow each, and name what they do.

    Needs no training: people come from a person detector, names from a network trained to classify
    whole videos (Kinetics-400). Or give a detector that `actiontubes train` made, with
    --checkpoint. Writes to the folder OUT, for pandas, a spreadsheet or `actiontubes evaluate`:
    tubes.parquet (without training one tube a person, with the best label), labels.csv (each
    tube's labels, five at most), detections.parquet (those for every frame) and videos.parquet;
    and each video with its tubes drawn, VIDEO.tubes.mp4.

    Args:
        videos: Video files of any kind that FFmpeg reads.
        out: The folder to write to.
        checkpoint: A trained detector (detector.safetensors); it carries its classes and sizes.
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
        precision: With checkpoint: bf16 computes in bfloat16 where that is safe (default: no).
        threshold: Without checkpoint, the lowest score of a tube that is kept (default: 0.05); with
            it, of the boxes that tubes are made of (default: 0.2).
        device: Where networks run; auto takes a GPU if there is one.
        trail: Draw the way of each box's centre over the last second.
        tables_only: Write no drawn videos.
    """
    import torch

    from ..backbones.layers import keep_freed_memory
    from ..datasets.tables import concatenate, write_table
    from ..detect.drawing import draw_video
    from ..detect.video_tubes import videos_table, write_label_lists
    from .main import one_line

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    names = _names(videos)
    keep_freed_memory()
    if checkpoint is None:
        _refuse("needs --checkpoint", every=every, mode=mode, link=link, precision=precision)
        find = _zero_shot(backbone, weights, proposals, labels, scene, threshold, device)
    else:
        _refuse(
            "does not go with --checkpoint, which carries its own network and classes",
            backbone=backbone, weights=weights, labels=labels, scene=scene,
        )  # fmt: skip
        find = _trained(checkpoint, proposals, every, mode, link, precision, threshold, device)
    out.mkdir(parents=True, exist_ok=True)

    found, failed, frames, begin = [], [], 0, time.perf_counter()
    for video, name in zip(videos, names):
        try:
            result = find(video, name)
            drawn = out / f"{name}.tubes.mp4"
            if not tables_only:
                draw_video(video, result.tubes, drawn, trail=trail)
        except (InputError, OSError) as error:
            print(f"actiontubes detect: {one_line(error)}", file=sys.stderr)
            failed.append(video)
            continue
        found.append(result)
        frames += result.info.num_frames or 0
        print(_summary(name, result))
    if found:
        write_table(concatenate([result.tubes for result in found]), out / "tubes.parquet")
        write_table(
            concatenate([result.detections for result in found]), out / "detections.parquet"
        )
        write_table(videos_table(found), out / "videos.parquet")
        write_label_lists(found, out / "labels.csv")
        seconds = time.perf_counter() - begin
        print(f"{frames} frames in {seconds:.1f} s ({frames / seconds:.1f} frames/s): {out}")
    if failed:
        which = ", ".join(map(str, failed))
        print(f"actiontubes detect: {len(failed)} of {len(videos)} failed: {which}",
              file=sys.stderr)  # fmt: skip
    return 2 if failed else 0


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
) -> Find:
    """Detection by a person detector and a network trained to classify whole videos."""
    from ..backbones.inception import get_variant
    from ..backbones.weights import load_pretrained
    from ..detect.video_tubes import find_tubes
    from ..detect.zero_shot import choose_labels

    share = 0.5 if scene is None else scene
    lowest = 0.05 if threshold is None else threshold
    if not 0 <= share <= 1:
        raise InputError(f"--scene {share}: give a weight from 0 to 1")
    weights = weights or "kinetics400"
    model = load_pretrained(get_variant(backbone or "i3d"), weights)
    if model.head is None or not model.labels:
        raise InputError(f"--weights {weights}: they name no actions; use kinetics400")
    model.trunk.to(device)
    model.head.to(device)
    chosen = choose_labels(labels, model.labels)
    people_of = _people_of(proposals or "default", device)
    return lambda video, name: find_tubes(
        video, name, model, people_of(name), chosen, scene=share, threshold=lowest, device=device
    )


def _trained(
    checkpoint: Path,
    proposals: str | None,
    every: int | None,
    mode: Mode | None,
    link: str | None,
    precision: str | None,
    threshold: float | None,
    device: str,
) -> Find:
    """Detection by a detector that `actiontubes train` made."""
    from ..detect.detector_file import load_detector
    from ..detect.linking.greedy import ACT, SINGH, GreedyRules
    from ..detect.linking.viterbi import PENG, ViterbiRules
    from ..detect.trained_tubes import THRESHOLD, find_trained_tubes

    if every is not None and every < 1:
        raise InputError(f"--every {every}: give 1 or more frames from one key frame to the next")
    detector = load_detector(checkpoint).to(device)
    rules: dict[str, GreedyRules | ViterbiRules] = {"act": ACT, "viterbi": PENG, "online": SINGH}
    asks = proposals is not None or detector.proposals is None
    people_of = _people_of(proposals or "default", device) if asks else None
    lowest = THRESHOLD if threshold is None else threshold
    return lambda video, name: find_trained_tubes(
        video, name, detector, people_of and people_of(name), rules=rules[link or "act"],
        threshold=lowest, mode=mode or "shared", every=every or 1, half=precision == "bf16",
        device=device,
    )  # fmt: skip


def _people_of(proposals: str, device: str) -> Callable[[str], Proposals]:
    """Opens the proposals once; the result gives those of a video by its name."""
    from ..datasets.tables import Detections, read_table
    from ..detect.proposals import open_proposals, table_proposals

    if proposals.endswith((".parquet", ".csv")):
        boxes = read_table(Detections, Path(proposals))
        return lambda name: table_proposals(boxes, name, where=proposals)
    source = open_proposals(proposals, device=device)
    return lambda name: source


def _names(videos: list[Path]) -> list[str]:
    """What the tables call each video: its stem, or the end of its path that no other shares."""
    # Without the root, and not by resolve(), which would follow links to other names.
    parts = [Path(os.path.abspath(video)).parts[1:] for video in videos]  # noqa: PTH100
    repeated = [video for video, path in zip(videos, parts) if parts.count(path) > 1]
    if repeated:
        raise InputError(f"{repeated[0]}: is given twice")
    names, length = [video.stem for video in videos], 1
    while len(set(names)) < len(names):
        length += 1
        names = [
            "/".join(path[-length:]) if names.count(name) > 1 else name
            for name, path in zip(names, parts)
        ]
    return names


def _summary(name: str, result: VideoTubes) -> str:
    """The tubes of a video for people to read, best first."""
    tubes = result.tubes
    count = len(result.label_scores)
    lines = [f"{name}: {count} tube{'s' * (count != 1)}, {result.info.num_frames} frames"]
    for number, scores in enumerate(result.label_scores[:5]):
        rows = (tubes.tube == number).nonzero()[0]
        best = [
            f"{tubes.label_names[i]} {scores[i]:.2f}"
            for i in scores.argsort()[::-1][:3]
            if scores[i] > 0
        ]
        span = f"frames {tubes.frame[rows[0]]}-{tubes.frame[rows[-1]]}"
        lines.append(f"  {result.tube_scores[number]:.2f}  {span:18} {', '.join(best)}")
    if count > 5:
        lines.append(f"  and {count - 5} more")
    return "\n".join(lines)
