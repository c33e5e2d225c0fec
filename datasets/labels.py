"""What a class is called, and which classes of Kinetics-400 stand for those of other data sets."""

from __future__ import annotations

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from .errors import InputError

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
    """A class in lower case, compatible Unicode, one space for spaces, underscores and hyphens."""
    text = unicodedata.normalize("NFKC", _visible(label))
    return " ".join(text.replace("_", " ").replace("-", " ").casefold().split())


def _visible(label: str) -> str:
    """The label in composed Unicode without characters that nobody sees, and blanks around it."""
    if label.isascii():
        return label.strip()
    seen = "".join(each for each in label if unicodedata.category(each) != "Cf")
    return unicodedata.normalize("NFC", seen).strip()


def merge_spellings(names: Sequence[str], source: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """The classes of one file; blanks around a name and what nobody sees are no part of it.

    Args:
        names: L names as the file writes them, in any order.
        source: the file, for messages.

    Returns:
        (L,) int32 index into the classes; the classes in the order of their first name.

    Raises:
        InputError: a name is empty, or two differ only in capitals, blanks, underscores or hyphens.
    """
    stripped = [_visible(name) for name in names]
    if not all(stripped):
        raise InputError(f"{source}: a label is empty; name the class, or remove its rows")
    classes = tuple(dict.fromkeys(stripped))
    spelled: dict[str, str] = {}
    for name in classes:
        other = spelled.setdefault(normalize_label(name), name)
        if other != name:
            raise InputError(
                f"{source}: labels {other!r} and {name!r} differ only in how they are written; "
                "give the class one spelling"
            )
    index = {name: code for code, name in enumerate(classes)}
    return np.array([index[name] for name in stripped], np.int32), classes


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
