"""The one rule for class names, and the label maps of Kinetics-400."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

LABEL_MAPS = ("ucf101-24", "jhmdb")


def load_label_map(dataset: str) -> dict[str, list[str]]:
    """Class of the data set → the Kinetics-400 classes that stand for it.

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


def same_labels(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists have the same classes, whatever their order and way of writing."""
    return sorted(map(normalize_label, some)) == sorted(map(normalize_label, others))


def label_codes(names: Sequence[str]) -> dict[str, int]:
    """Place of each class, by the name that `normalize_label` makes of it."""
    return {normalize_label(name): code for code, name in enumerate(names)}


def normalize_label(label: str) -> str:
    """A class in lower case, with spaces for _."""
    return " ".join(label.replace("_", " ").casefold().split())


def remap_codes(codes: np.ndarray, old: Sequence[str], new: Sequence[str]) -> np.ndarray:
    """Codes into `new` for codes into `old`; -1 where a name is not among the new ones."""
    place = {name: code for code, name in enumerate(new)}
    return np.array([*(place.get(name, -1) for name in old), -1], np.int32)[codes]
