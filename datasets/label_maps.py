"""Which Kinetics-400 classes stand for a class of a detection data set, where any does."""

from __future__ import annotations

import csv
from collections import defaultdict
from importlib.resources import files

LABEL_MAPS = ("ucf101-24", "jhmdb")


def label_map(dataset: str) -> dict[str, list[str]]:
    """Class of the data set → the Kinetics-400 classes that stand for it.

    Every class of UCF101-24 has one. JHMDB's climb_stairs, pick, pour, shoot_gun, sit, stand, walk
    and wave have none and are left out.

    Args:
        dataset: one of `LABEL_MAPS`.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    file = files("actiontubes.datasets").joinpath("labels", f"kinetics400_to_{dataset}.csv")
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        groups[row["label"]].append(row["kinetics400"])
    return dict(groups)
