"""Lists of videos with one label each, in the formats of classification data sets.

Kinetics (CSV lists, class folders), UCF101 and HMDB51 (official split lists), Something-Something
v1 and v2, and plain lists of paths and labels.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, some_of
from ..split_words import Part, part_of_word
from ..storage.text_files import read_json, read_lines
from ..video.media import iter_videos
from ..video_names import utf8_name
from .entries import Entry

Row = tuple[str, str]
"""A video's name, or path, and its label."""

_LIST_EXTENSIONS = (".csv", ".txt", ".json")
_NAME_COLUMNS = ("path", "video", "name", "file", "filename", "video_path")
_NUM_SPLITS = 3  # of UCF101 and HMDB51


@dataclass(frozen=True)
class VideoLists:
    """The two parts of a data set.

    Attributes:
        train, test: rows; all are in `train` where there is no split.
        labels: the classes in the data set's own order; () where it has none.
        numbered: whether this is one of several splits.
    """

    train: tuple[Row, ...]
    test: tuple[Row, ...]
    labels: tuple[str, ...] = ()
    numbered: bool = False


def read_lists(data: Path, split: int = 1) -> VideoLists:
    """Reads a data set's lists.

    Args:
        data: one list (see `read_list`), or a folder which contains, directly or one level below:
            trainlist01.txt and testlist01.txt (UCF101); <class>_test_split1.txt (HMDB51); lists
            whose names end in train, and in validation, validate, val or test; the folders train/
            and val/ (or validation/, test/) with class folders; or class folders.
        split: of UCF101 or HMDB51, 1 to 3.

    Raises:
        InputError: no such file or folder, it has neither lists nor videos, or a row is invalid.
    """
    if data.is_file():
        rows = read_list(data)
        words = {part for *_, part in rows}
        tested = "test" if "test" in words else "val"
        if {"val", "test"} <= words:
            unused = [name for name, _, part in rows if part == "val"]
            warnings.warn(
                f"{data}: ignoring {len(unused)} validation videos ({some_of(unused)}), because "
                "there are test videos",
                stacklevel=3,
            )
        lists = VideoLists(
            tuple(row[:2] for row in rows if row[2] in (None, "train")),
            tuple(row[:2] for row in rows if row[2] == tested),
            _read_label_order(data.parent, data),
        )
    elif not data.is_dir():
        raise InputError(f"{data}: list or folder not found")
    elif folder := _find_folder(data, "trainlist??.txt"):
        return _read_ucf101(folder, split)
    elif folder := _find_folder(data, "*_test_split?.txt"):
        return _read_hmdb51(folder, split)
    else:
        lists = _find_lists(data) or _read_class_folders(data)
    if split != 1:
        raise InputError(f"--split {split}: this data set ({data}) has only one split")
    return lists


def _find_folder(folder: Path, pattern: str) -> Path | None:
    """The folder, or its first subfolder, with a file of this pattern."""
    first = next(iter(sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])), None)
    return first and first.parent


def _find_lists(data: Path) -> VideoLists | None:
    """The lists of the folder or of a subfolder, by their names; None without a train list."""
    for folder in (data, *sorted(child for child in data.iterdir() if child.is_dir())):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _LIST_EXTENSIONS)
        by_part: dict[Part | None, Path] = {}
        for file in files:
            by_part.setdefault(part_of_word(re.split(r"[-_.]", file.stem)[-1]), file)
        train = by_part.get("train")
        if train is None:
            continue
        # Validation first: the test lists of Kinetics and Something-Something have no labels.
        test = by_part.get("val") or by_part.get("test")
        return VideoLists(
            tuple(row[:2] for row in read_list(train)),
            tuple(row[:2] for row in read_list(test)) if test else (),
            _read_label_order(folder, train),
        )
    return None


def _read_class_folders(data: Path) -> VideoLists:
    parts: dict[Part | None, tuple[Row, ...]] = {}
    for folder in sorted(child for child in data.iterdir() if child.is_dir()):
        if (part := part_of_word(folder.name)) is not None and part not in parts:
            parts[part] = tuple(_videos_by_class(folder, f"{folder.name}/"))
    if "train" not in parts:
        parts = {"train": tuple(_videos_by_class(data, ""))}
    if not any(parts.values()):
        raise InputError(
            f"{data}: contains neither a list of videos nor FOLDER/CLASS/VIDEO; see "
            "`actiontubes classify --help`"
        )
    return VideoLists(parts["train"], parts.get("val") or parts.get("test", ()))


def _videos_by_class(folder: Path, prefix: str) -> Iterator[Row]:
    for path in iter_videos(folder):
        parts = [utf8_name(part) for part in path.relative_to(folder).parts]
        if len(parts) > 1:
            yield prefix + "/".join(parts), parts[0]


def read_list(path: Path) -> list[tuple[str, str, Part | None]]:
    """Reads one list: name, label and part of each video.

    Formats: Kinetics' CSV (label, youtube_id, time_start, time_end, split; videos are named
    ID_000010_000020); Something-Something's v1 CSV (id;template) and v2 JSON; any CSV with the
    columns path (or video, name, file) and label, and perhaps split; lines of path and label,
    separated by a comma, a tab or a space.

    Raises:
        InputError: a row is invalid, or there is no video.
    """
    if path.suffix.lower() == ".json":
        rows = _read_something_v2(path)
    else:
        lines = list(_read_lines(path))
        header = [word.lower() for word in _fields(path, *lines[0])] if lines else []
        has_names = any(name in header for name in _NAME_COLUMNS)
        if "youtube_id" in header or ("label" in header and has_names):
            rows = _read_csv(path, header, lines[1:])
        else:
            rows = [(*_plain_row(path, number, line), None) for number, line in lines]
    if not rows:
        raise InputError(f"{path}: lists no videos")
    return rows


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, and their numbers from 1."""
    yield from ((n, line) for n, line in enumerate(read_lines(path), 1) if line.strip())


def _fields(path: Path, number: int, line: str, delimiter: str = ",") -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error as error:
        raise _row_error(path, number, f"cannot be read as CSV ({error})") from error


def _read_csv(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, str]]
) -> list[tuple[str, str, Part | None]]:
    """Rows of a CSV file behind its header."""
    rows: list[tuple[str, str, Part | None]] = []
    for number, line in lines:
        fields = _fields(path, number, line)
        if len(fields) != len(header):
            raise _row_error(
                path, number, f"has {len(fields)} columns, the header has {len(header)}"
            )
        try:
            name, label, word = _csv_row(dict(zip(header, fields)))
        except (LookupError, ValueError, OverflowError) as error:
            why = "must have time_start and time_end in seconds"
            raise _row_error(path, number, why) from error
        if not name or not label:
            raise _row_error(path, number, "has no label; test lists without labels cannot be used")
        part = part_of_word(word)
        if word and part is None:
            raise _row_error(path, number, f"split {word} must be train, validation or test")
        rows.append((name, label, part))
    return rows


def _csv_row(row: Mapping[str, str]) -> tuple[str, str, str]:
    """Name, label and split of a row of Kinetics' CSV files or of one with a column for names."""
    name = next(row[key] for key in ("youtube_id", *_NAME_COLUMNS) if key in row)
    if "youtube_id" in row and row.get("time_start"):
        start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
        name = f"{name}_{start:06d}_{end:06d}"
    return name, row.get("label", ""), row.get("split", "")


def _plain_row(path: Path, number: int, line: str) -> Row:
    if ";" in line and "," not in line.partition(";")[0]:
        fields = line.split(";", 1)
    elif "\t" in line or "," in line:
        fields = _fields(path, number, line, "\t" if "\t" in line else ",")
    else:
        fields = line.rsplit(maxsplit=1)
    fields = [field.strip() for field in fields]
    if len(fields) != 2 or not all(fields):
        raise _row_error(path, number, f"must be a path and a label, but has {len(fields)} columns")
    return fields[0], fields[1]


def _read_something_v2(path: Path) -> list[tuple[str, str, Part | None]]:
    rows: list[tuple[str, str, Part | None]] = []
    for entry in Entry(read_json(path), path).each("entry"):
        if entry.get("template") is None:
            raise entry.error("has no template; test lists without labels cannot be used")
        template = re.sub(r"[\[\]]", "", entry["template"].text())
        rows.append((entry["id"].text(), template, None))
    return rows


def _read_label_order(folder: Path, beside: Path) -> tuple[str, ...]:
    """The classes of Something-Something's label file beside one of its lists; () without one."""
    start = beside.stem.lower().removesuffix("train").removesuffix("validation")
    for ending in (".json", ".csv"):
        path = folder / f"{start}labels{ending}"
        if not path.is_file() or path == beside:
            continue
        if ending == ".csv":
            return tuple(line.strip() for _, line in _read_lines(path))
        numbers: dict[int, str] = {}
        for label, number in Entry(read_json(path), path).items("label"):
            code = number.text()
            if not re.fullmatch("[0-9]{1,9}", code) or int(code) in numbers:
                raise number.error(f"must be a number of its own, not {code}")
            numbers[int(code)] = label.text()
        return tuple(numbers[code] for code in sorted(numbers))
    return ()


def _read_ucf101(folder: Path, split: int) -> VideoLists:
    index = folder / "classInd.txt"
    number_of: dict[str, str] = {}
    for number, line in _read_lines(index) if index.is_file() else ():
        words = line.split()
        if len(words) != 2:
            raise _row_error(index, number, "must be a number and a class")
        number_of[words[1]] = words[0]
    train, test = (
        tuple(_ucf101_rows(folder / f"{part}list{split:02d}.txt", number_of))
        for part in ("train", "test")
    )
    return VideoLists(train, test, tuple(number_of), numbered=True)


def _ucf101_rows(path: Path, number_of: dict[str, str]) -> Iterator[Row]:
    if not path.is_file():
        raise InputError(f"{path}: list not found; UCF101 has splits 1 to {_NUM_SPLITS}")
    for number, line in _read_lines(path):
        words = line.split()
        label = words[0].rpartition("/")[0]
        if not label or (number_of and label not in number_of):
            raise _row_error(
                path, number, f"{words[0]} must be CLASS/VIDEO with a class of classInd.txt"
            )
        if len(words) > 1 and number_of and words[1] != number_of[label]:
            raise _row_error(path, number, f"{label} is class {number_of[label]}, not {words[1]}")
        yield words[0], label


def _read_hmdb51(folder: Path, split: int) -> VideoLists:
    files = sorted(folder.glob(f"*_test_split{split}.txt"))
    if not files:
        raise InputError(
            f"{folder}: has no lists of split {split}; HMDB51 has splits 1 to {_NUM_SPLITS}"
        )
    parts: dict[str, list[Row]] = {"1": [], "2": [], "0": []}
    labels = [file.name.rpartition("_test_split")[0] for file in files]
    for file, label in zip(files, labels):
        for number, line in _read_lines(file):
            words = line.rsplit(maxsplit=1)
            if len(words) != 2 or words[1] not in parts:
                raise _row_error(
                    file, number, "must be a video and 1 (train), 2 (test) or 0 (unused)"
                )
            parts[words[1]].append((f"{label}/{words[0]}", label))
    return VideoLists(tuple(parts["1"]), tuple(parts["2"]), tuple(labels), numbered=True)


def _row_error(path: Path, number: int, why: str) -> InputError:
    return InputError(f"{path}: row {number}: {why}")
