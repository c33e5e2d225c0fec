"""Accuracies of classifiers of whole videos. NumPy only."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from ...datasets.labels import LABEL_MAPS, load_label_map, match_labels, normalize_label

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
    label: np.ndarray
    clip: np.ndarray
    video: np.ndarray | None
    read: np.ndarray


def correct_classes(
    labels: Sequence[str], classes: Sequence[str], class_map: Mapping[str, Sequence[str]] | None
) -> np.ndarray:
    """(labels, classes) bool: which of a classifier's classes are right for a label.

    Args:
        labels: of the data.
        classes: of the classifier.
        class_map: label → classes that stand for it; None: those of the same name.

    Raises:
        InputError: a label has no class.
    """
    named = {normalize_label(label): names for label, names in (class_map or {}).items()}
    right = np.zeros((len(labels), len(classes)), bool)
    for row, label in enumerate(labels):
        names = named.get(normalize_label(label), () if class_map is not None else (label,))
        codes = match_labels(names, classes)
        codes = codes[codes >= 0]
        if not len(codes):
            import difflib

            near = difflib.get_close_matches(label, classes, 3, 0.4) or classes[:3]
            raise InputError(
                f"class {label}: the classifier has no such class (similar: "
                f"{', '.join(near)}); train a classifier with it, or map it with --class-map"
            )
        right[row, codes] = True
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
        return load_label_map(name)
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


def top_k_hits(logits: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """(V,) bool: whether one of the `count` best classes is right.

    Args:
        logits: (V, classes).
        right: (V, classes) bool.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return np.logical_or.reduce(np.take_along_axis(right, best, axis=1), axis=1)


def accuracies(scores: VideoScores, labels: Sequence[str], right: np.ndarray) -> dict[str, Any]:
    """Top-1 and top-5 in percent of the videos that could be read.

    Args:
        labels: that the videos' labels count.
        right: of `correct_classes` of these labels.

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
    hits = {level: top_k_hits(logits, right[label], 1) for level, logits in levels.items()}
    result: dict[str, Any] = {"clip": None, "video": None}
    for level, logits in levels.items():
        five = top_k_hits(logits, right[label], BEST)
        result[level] = {"top1": _percent(hits[level]), "top5": _percent(five)}
    result["per_class"] = {
        labels[code]: {"videos": int((label == code).sum())}
        | {f"{level}_top1": _percent(hit[label == code]) for level, hit in hits.items()}
        for code in np.unique(label)
    }
    unreadable = [name for name, known in zip(scores.names, read) if not known]
    return result | {"videos": int(read.sum()), "unreadable": unreadable}


def _percent(hits: np.ndarray) -> float:
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
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)
