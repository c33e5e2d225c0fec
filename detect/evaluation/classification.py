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
from ...datasets.labels import LABEL_MAPS, load_label_map, match_labels, normalize_label
from ...datasets.storage.files import atomic_write
from ...datasets.storage.text_files import read_lines

TOP_K = 5


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The outputs of a classifier for V videos.

    Attributes:
        names: of the videos.
        label: (V,) index of each video's label.
        clip_logits: (V, C) of the middle clip.
        video_logits: (V, C) of all frames; None where only clips were classified.
        is_readable: (V,) bool, False for a video that could not be read.
    """

    names: tuple[str, ...]
    label: np.ndarray
    clip_logits: np.ndarray
    video_logits: np.ndarray | None
    is_readable: np.ndarray


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
    for number, row in enumerate(csv.DictReader(read_lines(path)), 2):
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
    readable = scores.is_readable
    if not readable.any():
        raise InputError(
            f"none of the {len(readable)} test videos could be read; the first is {scores.names[0]}"
        )
    label = scores.label[readable]
    per_class: dict[str, dict[str, float]] = {
        labels[code]: {"videos": int(np.sum(label == code))} for code in np.unique(label)
    }
    result: dict[str, Any] = {"clip": None, "video": None, "per_class": per_class}
    for level, logits in (("clip", scores.clip_logits), ("video", scores.video_logits)):
        if logits is None:
            continue
        hits = top_k_hits(logits[readable], correct[label], 1)
        top5 = top_k_hits(logits[readable], correct[label], TOP_K)
        result[level] = {"top1": _percent(hits), "top5": _percent(top5)}
        for code in np.unique(label):
            per_class[labels[code]][f"{level}_top1"] = _percent(hits[label == code])
    unreadable = [name for name, known in zip(scores.names, readable) if not known]
    return result | {"videos": int(readable.sum()), "unreadable": unreadable}


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
    import pandas as pd
    from scipy.special import softmax

    logits = scores.clip_logits if scores.video_logits is None else scores.video_logits
    logits = logits.astype(np.float64)
    probabilities = softmax(logits, axis=1)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K]
    table = pd.DataFrame({"name": scores.names, "label": [labels[code] for code in scores.label]})
    for k, codes in enumerate(best.T, 1):
        table[f"best{k}"] = [classes[code] for code in codes]
        table[f"score{k}"] = probabilities[np.arange(len(codes)), codes]
    table.loc[~scores.is_readable, table.columns[2:]] = None
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\r\n")
