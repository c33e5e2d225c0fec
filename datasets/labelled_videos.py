"""Videos with one label each, for classification, as the usual data sets come."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import InputError
from .media import FRAME_ENDINGS, find_media
from .video_lists import Row, VideoLists, read_lists, stem, without_times

Array = np.ndarray

# Of Kinetics some videos are always gone; more missing than this is a wrong folder.
_MOST_MISSING = 0.5


@dataclass(frozen=True, eq=False)
class LabelledVideos:
    """V videos of one part of a split.

    Attributes:
        names: as the list has them.
        media: each video's file, or folder of numbered frames.
        label: (V,) int64, codes into `labels`.
        labels: the classes.
        split: "train" or "test", with its number where the data set has several: "train2".
    """

    names: tuple[str, ...]
    media: tuple[Path, ...]
    label: Array
    labels: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        return len(self.names)


def open_labelled_videos(
    data: Path,
    *,
    media: Path | None = None,
    test_data: Path | None = None,
    split: int = 1,
    labels: Sequence[str] | None = None,
    allow_missing: bool = False,
) -> tuple[LabelledVideos, LabelledVideos]:
    """Opens the two parts of a classification data set and finds its videos.

    Args:
        data: a folder or list that `video_lists.read_lists` takes.
        media: the folder of the videos, searched with all that is below it (default: the data's).
        test_data: another such folder or list, to test on in place of a test part of `data`.
        split: which split, from 1, where the data set has several.
        labels: the classes in the order wanted (default: the data set's own order, or sorted).
            Upper and lower case, and _ and space, are the same. Where all labels of the lists are
            numbers, they count these classes from 0.
        allow_missing: go on where more than half of a part's videos are missing.

    Returns:
        the videos to train on and those to test on; the same ones, with a warning, where nothing
        says a split.

    Raises:
        InputError: a list that cannot be read, with its row; a class that is not among `labels`; no
            video of a part is there, or too few.

    Warns:
        some videos are missing.
    """
    lists = read_lists(data, split)
    if test_data is not None:
        other = read_lists(test_data, split)
        lists = VideoLists(
            lists.train or lists.test, other.test or other.train, lists.labels or other.labels,
            lists.numbered,
        )  # fmt: skip
    train, test = lists.train or lists.test, lists.test or lists.train
    if not (lists.train and lists.test):
        warnings.warn(
            f"{data}: nothing says which videos to test on, so it is those trained on; give a list "
            "of others",
            stacklevel=2,
        )
    classes = tuple(labels or lists.labels or _sorted({label for _, label in (*train, *test)}))
    number = str(split) if lists.numbered else ""
    home, other_home = _home(data), _home(test_data or data)
    return (
        _part(train, media or home, classes, f"train{number}", data, allow_missing),
        _part(test, media or other_home, classes, f"test{number}", data, allow_missing),
    )


def same_names(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists have the same classes, whatever their order and way of writing."""
    return sorted(map(plain_name, some)) == sorted(map(plain_name, others))


def codes_of(names: Sequence[str]) -> dict[str, int]:
    """Place of each class, by the name that `plain_name` makes of it."""
    return {plain_name(name): code for code, name in enumerate(names)}


def plain_name(label: str) -> str:
    """A class in lower case, with spaces for _."""
    return " ".join(label.replace("_", " ").casefold().split())


def _sorted(labels: set[str]) -> list[str]:
    if all(label.isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _home(data: Path) -> Path:
    return data if data.is_dir() else data.parent


def _part(
    rows: Sequence[Row],
    folder: Path,
    labels: tuple[str, ...],
    split: str,
    data: Path,
    allow_missing: bool,
) -> LabelledVideos:
    code = codes_of(labels)
    if all(label.isdecimal() for _, label in rows) and "0" not in code:
        code = {str(number): number for number in range(len(labels))}
    for name, label in rows:
        if plain_name(label) not in code:
            raise InputError(
                f"{data}: class {label} of {name} is not among the {len(labels)} labels "
                f"{', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}; add it, or take its "
                "videos out"
            )
    found = _find(folder, [name for name, _ in rows])
    there = [(name, label) for name, label in rows if name in found]
    missing = [name for name, _ in rows if name not in found]
    if missing:
        what = (
            f"{folder}: {len(missing)} of the {len(rows)} videos of {split} are missing, the first "
            f"{missing[0]}"
        )
        if not there:
            raise InputError(f"{what}; say where the videos are (--media)")
        if len(missing) > _MOST_MISSING * len(rows) and not allow_missing:
            raise InputError(f"{what}; say where they are (--media), or --allow-missing")
        warnings.warn(f"{what}; they are left out", stacklevel=3)
    return LabelledVideos(
        tuple(name for name, _ in there),
        tuple(found[name] for name, _ in there),
        np.array([code[plain_name(label)] for _, label in there], np.int64),
        labels,
        split,
    )


def _find(folder: Path, names: Sequence[str]) -> Mapping[str, Path]:
    """The media of names: paths from the folder on, or else names as `find_media` takes them.

    Of Kinetics' names the times may be missing in the file's.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    found: dict[str, Path] = {}
    for name in names:
        path = folder / name
        if path.is_file() or _is_frames(path):
            found[name] = path
    for short in (stem, lambda name: without_times(stem(name))):
        wanted = {name: short(name) for name in names if name not in found}
        media = find_media(folder, wanted.values()) if wanted else {}
        found |= {name: media[word] for name, word in wanted.items() if word in media}
    return found


def _is_frames(path: Path) -> bool:
    return path.is_dir() and any(
        child.suffix in FRAME_ENDINGS and child.stem.isdigit() for child in path.iterdir()
    )
