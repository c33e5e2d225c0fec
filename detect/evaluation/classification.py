"""Accuracies of classifiers of whole videos. NumPy only."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from ...datasets.files import atomic_write
from ...datasets.labels import LABEL_MAPS, load_label_map, match_labels, normalize_label

TOP_K = 5


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The outputs of a classifier for V videos.

    Attributes:
        names: of the videos.
        label: (V,) index of each video's label.
        clip: (V, C) logits of the middle clip.
        video: (V, C) logits of all frames; None where only clips were classified.
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
    """Which of a classifier's classes are correct for each label of the data.

    Args:
        labels: L labels of the data.
        classes: C classes of the classifier.
        class_map: the classes that are correct by label; None: those of the same name.

    Returns:
        (L, C) bool.

    Raises:
        InputError: a label has no class.
    """
    named = {normalize_label(label): names for label, names in (class_map or {}).items()}
    correct = np.zeros((len(labels), len(classes)), bool)
    for row, label in enumerate(labels):
        names = named.get(normalize_label(label), () if class_map is not None else (label,))
        codes = match_labels(names, classes)
        codes = codes[codes >= 0]
        if not len(codes):
            near = difflib.get_close_matches(label, classes, 3, 0.4) or classes[:3]
            raise InputError(
                f"class {label}: the classifier has no such class (similar: "
                f"{', '.join(near)}); train a classifier with it, or map it with --class-map"
            )
        correct[row, codes] = True
    return correct


def read_class_map(name: str) -> dict[str, list[str]]:
    """The classifier's classes that are correct, by label of the data.

    Args:
        name: ucf101-24 or jhmdb, for Kinetics-400 classes; or the path of a CSV file with the
            columns label and class.

    Raises:
        InputError: there is no such map or file, or a row does not fill both columns.
    """
    if name in LABEL_MAPS:
        return load_label_map(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"--class-map {name}: no such file, and not one of {', '.join(LABEL_MAPS)}"
        )
    class_map: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            if not row.get("label") or not row.get("class"):
                raise InputError(
                    f"{path}: row {number}: the columns label and class must both be filled"
                )
            class_map.setdefault(row["label"], []).append(row["class"])
    return class_map


def top_k_hits(logits: np.ndarray, correct: np.ndarray, k: int) -> np.ndarray:
    """(V,) bool: is one of the `k` best classes correct?

    Args:
        logits: (V, C).
        correct: (V, C) bool.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return np.any(np.take_along_axis(correct, best, axis=1), axis=1)


def accuracies(scores: VideoScores, labels: Sequence[str], correct: np.ndarray) -> dict[str, Any]:
    """Top-1 and top-5 accuracy, in percent of the videos that could be read.

    Args:
        scores: V videos.
        labels: L names, which `scores.label` indexes.
        correct: (L, C) bool, from `correct_classes`.

    Returns:
        {"clip": {"top1", "top5"}, "video": the same or None, "per_class": {label: {"videos",
        "clip_top1", "video_top1"}}, "videos": their number, "unreadable": names}.

    Raises:
        InputError: no video could be read.
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
    hits = {level: top_k_hits(logits, correct[label], 1) for level, logits in levels.items()}
    result: dict[str, Any] = {"clip": None, "video": None}
    for level, logits in levels.items():
        top5 = top_k_hits(logits, correct[label], TOP_K)
        result[level] = {"top1": _percent(hits[level]), "top5": _percent(top5)}
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
    """Writes a CSV file with a row for each video: name, label, five best classes and their scores.

    Scores are the softmax of the logits of all frames, or of the middle clip without those. They
    are empty for a video that could not be read.

    Args:
        scores: V videos.
        labels: names, which `scores.label` indexes.
        classes: C classes of the classifier.
        path: of the CSV file.
    """
    logits = (scores.clip if scores.video is None else scores.video).astype(np.float64)
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    count = min(TOP_K, len(classes))
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    rows = [["name", "label", *[f"{w}{k}" for k in range(1, count + 1) for w in ("best", "score")]]]
    for number, name in enumerate(scores.names):
        row = [name, labels[scores.label[number]]]
        for code in best[number]:
            known = bool(scores.read[number])
            row += [classes[code], f"{softmax[number, code]:.6f}"] if known else ["", ""]
        rows.append(row)
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)
