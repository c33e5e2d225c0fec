"""How well whole videos are named: clip-level and video-level accuracy."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from ..backbones.classifier import PretrainedModel
from ..datasets.clips import one_thread
from ..datasets.files import InputError, whole_file
from ..datasets.label_maps import LABEL_MAPS, label_map
from ..datasets.labelled_clips import LabelledClip, collate
from ..datasets.labelled_videos import codes_of, plain_name
from .classification import logits_of

Array = np.ndarray

WINDOW = 320
"""Frames of a pass through the trunk; Kinetics' ten seconds fit into one."""
BEST = 5


@dataclass(frozen=True, eq=False)
class VideoScores:
    """What a classifier says of V videos.

    Attributes:
        names, label: of the videos, as their samples say.
        clip: (V, classes) logits of the middle clip.
        video: (V, classes) logits of all frames, or None where only clips were asked for.
        read: (V,) bool, False for a video that could not be read.
    """

    names: tuple[str, ...]
    label: Array
    clip: Array
    video: Array | None
    read: Array


def score_videos(
    model: PretrainedModel,
    videos: Dataset[LabelledClip],
    *,
    frames: int = 64,
    whole: bool = True,
    backwards: bool = False,
    half: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> VideoScores:
    """The logits of each video's middle clip, and of all its frames.

    Of all frames at most `WINDOW` go through the trunk at once, a longer video in parts of equal
    length, whose logits are averaged. Every process takes its share of the videos; all get the
    whole result.

    Args:
        model: in evaluation mode, with a head.
        videos: a sample a video with all its frames, such as `WholeVideos`; it has a length. One
            without a frame counts as unreadable.
        frames: of the clip.
        whole: whether to score all frames, too.
        backwards: show the frames in reversed order (paper, section on the arrow of time).
        half: compute in bfloat16.
        workers: processes that read videos.
        progress: show a bar with the time left.
    """
    assert model.head is not None
    state = PartialState()
    device = next(model.head.parameters()).device
    mine = range(state.process_index, len(videos), state.num_processes)  # type: ignore[arg-type]
    loader = DataLoader(
        Subset(videos, mine), collate_fn=collate, num_workers=workers,
        multiprocessing_context="spawn" if workers else None, worker_init_fn=one_thread,
    )  # fmt: skip
    bar = tqdm(
        loader, desc="classifying", unit=" videos", leave=False,
        disable=not progress or not state.is_main_process,
    )  # fmt: skip

    def logits(clips: Tensor) -> Array:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return logits_of(model, clips.to(device))[0].float().cpu().numpy()

    nothing = np.zeros(model.head.fc.out_features, np.float32)
    found: list[tuple[int, str, int, Array, Array, bool]] = []
    for number, batch in zip(mine, bar):
        clips = batch.clips.flip(1) if backwards else batch.clips
        length = clips.shape[1]
        clip = video = nothing
        if length:
            middle = max(0, length - frames) // 2
            clip = video = logits(clips[:, middle : middle + frames])
        if whole and length > frames:
            parts = clips.tensor_split(-(-length // WINDOW), dim=1)
            video = np.sum([part.shape[1] / length * logits(part) for part in parts], axis=0)
        found.append((number, batch.names[0], batch.labels.item(), clip, video, length > 0))
    if state.num_processes > 1:
        found = sorted(gather_object(found), key=lambda row: row[0])
    _, names, label, clip, video, read = zip(*found)
    return VideoScores(
        names, np.array(label), np.stack(clip), np.stack(video) if whole else None, np.stack(read)
    )


def fuse(one: VideoScores, other: VideoScores, order: Sequence[int]) -> VideoScores:
    """Late fusion of two streams: the mean of their logits (equal weights, as I3D and the paper).

    Args:
        one, other: of the same videos.
        order: for each class of `one` its place among those of `other`.
    """
    video = None
    if one.video is not None and other.video is not None:
        video = (one.video + other.video[:, order]) / 2
    clip = (one.clip + other.clip[:, order]) / 2
    return replace(one, clip=clip, video=video, read=one.read & other.read)


def right_classes(
    labels: Sequence[str], classes: Sequence[str], class_map: Mapping[str, Sequence[str]] | None
) -> Array:
    """(labels, classes) bool: which of a classifier's classes are right for a label.

    Args:
        labels: of the data.
        classes: of the classifier.
        class_map: label → classes that stand for it; None: those of the same name.

    Raises:
        InputError: a label has no class.
    """
    code = codes_of(classes)
    named = {plain_name(label): names for label, names in (class_map or {}).items()}
    right = np.zeros((len(labels), len(classes)), bool)
    for row, label in enumerate(labels):
        names = named.get(plain_name(label), () if class_map is not None else (label,))
        found = [code[plain_name(name)] for name in names if plain_name(name) in code]
        if not found:
            import difflib

            near = difflib.get_close_matches(label, classes, 3, 0.4) or classes[:3]
            raise InputError(
                f"class {label}: the classifier has no such class (similar: "
                f"{', '.join(near)}); train a classifier with it, or map it with --class-map"
            )
        right[row, found] = True
    return right


def read_class_map(name: str) -> dict[str, list[str]]:
    """Label → the classifier's classes that stand for it.

    Args:
        name: ucf101-24 or jhmdb, for Kinetics-400 classes; or the path of a CSV file with the
            columns label and class.

    Raises:
        InputError: neither; a row without both.
    """
    if name in LABEL_MAPS:
        return label_map(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"--class-map {name}: no such file, and not one of {', '.join(LABEL_MAPS)}"
        )
    found: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            if not row.get("label") or not row.get("class"):
                raise InputError(
                    f"{path}: row {number}: the columns label and class must both be filled"
                )
            found.setdefault(row["label"], []).append(row["class"])
    return found


def top(logits: Array, right: Array, count: int) -> Array:
    """(V,) bool: whether one of the `count` best classes is right.

    Args:
        logits: (V, classes).
        right: (V, classes) bool.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return np.logical_or.reduce(np.take_along_axis(right, best, axis=1), axis=1)


def accuracies(scores: VideoScores, labels: Sequence[str], right: Array) -> dict[str, Any]:
    """Top-1 and top-5 in percent of the videos that could be read.

    Args:
        labels: that the videos' labels count.
        right: of `right_classes` of these labels.

    Returns:
        {"clip": {"top1", "top5"}, "video": the same or None, "per_class": {label: {"videos",
        "clip_top1", "video_top1"}}, "videos": how many, "unreadable": names}.

    Raises:
        InputError: none could be read.
    """
    read = scores.read
    if not read.any():
        raise InputError(
            f"none of the {len(read)} test videos could be read; the first is {scores.names[0]}"
        )
    label = scores.label[read]
    levels = {"clip": scores.clip[read]}
    if scores.video is not None:
        levels["video"] = scores.video[read]
    hits = {level: top(logits, right[label], 1) for level, logits in levels.items()}
    result: dict[str, Any] = {"clip": None, "video": None}
    for level, logits in levels.items():
        five = top(logits, right[label], BEST)
        result[level] = {"top1": _percent(hits[level]), "top5": _percent(five)}
    result["per_class"] = {
        labels[code]: {"videos": int((label == code).sum())}
        | {f"{level}_top1": _percent(hit[label == code]) for level, hit in hits.items()}
        for code in np.unique(label)
    }
    unreadable = [name for name, known in zip(scores.names, read) if not known]
    return result | {"videos": int(read.sum()), "unreadable": unreadable}


def _percent(hits: Array) -> float:
    return 100 * float(hits.mean())


def write_predictions(
    scores: VideoScores, labels: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """A CSV file with a row a video: name, label, and the best five classes with their softmax.

    Of all frames where they were scored. Empty for a video that could not be read.

    Args:
        labels: that the videos' labels count.
        classes: the classifier's.
    """
    logits = (scores.clip if scores.video is None else scores.video).astype(np.float64)
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    count = min(BEST, len(classes))
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    rows = [["name", "label", *[f"{w}{k}" for k in range(1, count + 1) for w in ("best", "score")]]]
    for number, name in enumerate(scores.names):
        row = [name, labels[scores.label[number]]]
        for code in best[number]:
            known = bool(scores.read[number])
            row += [classes[code], f"{share[number, code]:.6f}"] if known else ["", ""]
        rows.append(row)
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)
