"""Videos with one label each, from folders or lists in the formats of the usual data sets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, more_of, some_of
from ..formats.classification_lists import Part, Row, VideoLists, read_lists
from ..frame_numbers import is_frame_folder
from ..labels import match_labels, merge_spellings
from ..video.media import locate_videos
from ..video_names import strip_extension, strip_timestamps

# Some of Kinetics' videos are always missing; a larger share means a wrong folder.
_MAX_MISSING_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class ClassificationSet:
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
    label: np.ndarray
    labels: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        return len(self.names)


def open_classification_set(
    data: Path,
    part: Part,
    *,
    media: Path | None = None,
    test_data: Path | None = None,
    split: int = 1,
    labels: Sequence[str] | None = None,
    allow_missing: bool = False,
) -> ClassificationSet:
    """Opens a part of a classification data set and finds its videos.

    Args:
        data: a folder or list that `read_lists` reads.
        part: "train" or "test"; both have all videos where nothing defines a split.
        media: the folder of the videos, searched recursively (default: the data's).
        test_data: another such folder or list, to test on instead of the test part of `data`.
        split: counted from 1, where the data set has several.
        labels: the classes in the order wanted (default: the data set's own order, or sorted).
            Case, and _ or space, make no difference. If all labels of the lists are numbers, they
            are indices of these classes, from 0.
        allow_missing: continue if more than half of the videos are missing.

    Raises:
        InputError: a list that cannot be read, with its row; a video that is listed for training
            and for testing, or with two classes; a class that is written in two ways, or is not
            among `labels`; no video is found, or too few.

    Warns:
        Some videos are missing.
    """
    lists = read_lists(data, split)
    if test_data is not None:
        other = read_lists(test_data, split)
        lists = VideoLists(
            lists.train or lists.test, other.test or other.train, lists.labels or other.labels,
            lists.numbered,
        )  # fmt: skip
    _check_lists(lists, data, test_data)
    train, test = lists.train or lists.test, lists.test or lists.train
    classes = tuple(labels or lists.labels or _sorted({label for _, label in (*train, *test)}))
    rows, home = (train, data) if part == "train" else (test, test_data or data)
    folder = media or (home if home.is_dir() else home.parent)
    paths = _find_media(folder, [name for name, _ in rows])
    name = f"{part}{split}" if lists.numbered else part
    present = _rows_with_media(rows, paths, name, media or home, allow_missing)
    code = _label_codes(rows, classes, home)
    return ClassificationSet(
        names=tuple(name for name, _ in present),
        media=tuple(paths[name] for name, _ in present),
        label=np.array([code[label] for _, label in present], np.int64),
        labels=classes,
        split=name,
    )


def with_labels(videos: ClassificationSet, labels: Sequence[str]) -> ClassificationSet:
    """The same videos with the same classes in another order."""
    codes = match_labels(videos.labels, labels).astype(np.int64)
    return replace(videos, label=codes[videos.label], labels=tuple(labels))


def _check_lists(lists: VideoLists, data: Path, test_data: Path | None) -> None:
    """Refuses videos in both parts or of several classes, and classes that are written two ways."""
    trained, tested = ([name for name, _ in rows] for rows in (lists.train, lists.test))
    both = {*trained} & {*tested}
    shared = [name for name in tested if name in both]
    # The same list for both is meant so.
    if shared and not (test_data is not None and set(trained) == set(tested)):
        raise InputError(
            f"{data}: video {shared[0]}{more_of(len(shared), 'video')} is in both the training "
            f"list and the test list{f' ({test_data})' if test_data else ''}; take it out of one "
            "of them"
        )
    label_of: dict[str, str] = {}
    for name, label in (*lists.train, *lists.test):
        if label_of.setdefault(name, label) != label:
            raise InputError(
                f"{data}: video {name} has the classes {label_of[name]} and {label}; a video has "
                "one class"
            )
    merge_spellings(list(dict.fromkeys(label_of.values())), data)


def _sorted(labels: set[str]) -> list[str]:
    if all(label.isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def _label_codes(rows: Sequence[Row], labels: tuple[str, ...], data: Path) -> dict[str, int]:
    """The code of each label of the rows; labels that are numbers are codes themselves."""
    known: Sequence[str] = labels
    if all(label.isdecimal() for _, label in rows) and not all(map(str.isdecimal, labels)):
        known = [str(number) for number in range(len(labels))]
    words = list(dict.fromkeys(label for _, label in rows))
    code = dict(zip(words, match_labels(words, known).tolist()))
    for name, label in rows:
        if code[label] < 0:
            raise InputError(
                f"{data}: video {name} has class {label}, which is not one of the "
                f"{len(labels)} labels ({some_of(labels, 5)}); add the class to --labels, or "
                "remove its videos"
            )
    return code


def _rows_with_media(
    rows: Sequence[Row], paths: Mapping[str, Path], part: str, folder: Path, allow_missing: bool
) -> list[Row]:
    """The rows whose video was found."""
    missing = [name for name, _ in rows if name not in paths]
    if missing:
        if len(missing) == len(rows):
            raise InputError(
                f"{folder}: none of the {len(rows)} {part} videos were found (the first is "
                f"{missing[0]}); give their folder with --media"
            )
        few = f"{len(missing)} of the {len(rows)} {part} videos"
        if len(missing) > _MAX_MISSING_SHARE * len(rows) and not allow_missing:
            raise InputError(
                f"{folder}: {few} were not found (the first is {missing[0]}); give their folder "
                "with --media, or continue with --allow-missing"
            )
        warnings.warn(
            f"{folder}: ignoring {few} that were not found; the first is {missing[0]}",
            stacklevel=3,
        )
    return [row for row in rows if row[0] in paths]


def _find_media(folder: Path, names: Sequence[str]) -> Mapping[str, Path]:
    """The media of names: relative paths, or else names as `locate_videos` finds them.

    Kinetics' names contain times, which the file's name may lack.
    """
    if not folder.is_dir():
        raise InputError(f"--media {folder}: folder not found")
    paths: dict[str, Path] = {}
    for name in names:
        path = folder / name
        if path.is_file() or (path.is_dir() and is_frame_folder(path.iterdir())):
            paths[name] = path
    for shorten in (str, lambda name: strip_timestamps(strip_extension(name))):
        if len(paths) < len(names):
            # All names together, so that an ambiguous one is noticed.
            wanted = {name: shorten(name) for name in names}
            media = locate_videos(folder, wanted.values())
            paths = {n: media[word] for n, word in wanted.items() if word in media} | paths
    return paths
