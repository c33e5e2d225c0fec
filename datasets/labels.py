"""What a class is called, and which classes of Kinetics-400 stand for those of other data sets."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

LABEL_MAPS = ("ucf101-24", "jhmdb")


def match_labels(labels: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Which known class each label means: the same text, else the same normalized text.

    Args:
        labels: L names.
        known: K names.

    Returns:
        (L,) int32, index into `known`; -1 where none is meant.
    """
    exact = {name: code for code, name in enumerate(known)}
    normalized = {normalize_label(name): code for code, name in enumerate(known)}
    codes = [exact.get(name, normalized.get(normalize_label(name), -1)) for name in labels]
    return np.array(codes, np.int32)


def normalize_label(label: str) -> str:
    """A class in lower case, with a space for each run of spaces and underscores."""
    return " ".join(label.replace("_", " ").casefold().split())


def same_labels(labels: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists have the same classes, whatever their order and spelling."""
    return sorted(map(normalize_label, labels)) == sorted(map(normalize_label, others))


def remap_codes(codes: np.ndarray, old: Sequence[str], new: Sequence[str]) -> np.ndarray:
    """Codes into the names `new` for codes into the names `old`.

    Args:
        codes: (R,) index into `old`.
        old, new: names, compared as they are.

    Returns:
        (R,) int32; -1 where a name is not in `new`.
    """
    position = {name: code for code, name in enumerate(new)}
    return np.array([*(position.get(name, -1) for name in old), -1], np.int32)[codes]


def load_label_map(dataset: str) -> dict[str, list[str]]:
    """The Kinetics-400 classes that stand for each class of a data set.

    Every class of UCF101-24 has one. JHMDB's climb_stairs, pick, pour, shoot_gun, sit, stand, walk
    and wave have none and are left out.

    Args:
        dataset: one of `LABEL_MAPS`.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    file = files("actiontubes.datasets").joinpath("label_maps", f"kinetics400_to_{dataset}.csv")
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        groups[row["label"]].append(row["kinetics400"])
    return dict(groups)
