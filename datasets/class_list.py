"""Files that name the classes of a data set, for formats that hold numbers instead."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError, some_of
from .labels import normalize_label
from .storage.text_files import parse_json, parse_yaml, read_text

_LAYOUTS = "one name a line, a CSV file of number and name, YAML as YOLO's, JSON, or AVA's .pbtxt"


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set.

    Attributes:
        names: in the order of their numbers.
        numbers: of each name, ascending; None where the file only has an order.
        source: the file, for messages.

    Raises:
        InputError: two names are spellings of one class.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...] | None = None
    source: str = "--classes"

    def __post_init__(self) -> None:
        _refuse_repeated([normalize_label(name) for name in self.names], "class", self.source)

    def in_order(self) -> tuple[str, ...]:
        """The names, for a format that numbers classes by their place in a list.

        Raises:
            InputError: the file's numbers leave some out, so that places are not certain.
        """
        if self.numbers is not None:
            first = self.numbers[0]
            if first not in (0, 1) or self.numbers[-1] - first != len(self.numbers) - 1:
                raise InputError(
                    f"{self.source}: its numbers ({some_of(self.numbers)}) must be all from 0 or "
                    "1 on for a format that counts classes"
                )
        return self.names

    def by_number(self) -> dict[int, str]:
        """Each number's name; without numbers in the file, they count from 0."""
        numbers = range(len(self.names)) if self.numbers is None else self.numbers
        return dict(zip(numbers, self.names))


def read_class_list(path: Path) -> ClassList:
    """Reads the classes of a data set.

    Args:
        path: one name a line, perhaps each behind its number (classInd.txt); a CSV file of number
            and name; a YAML file as YOLO's, with a list or numbers below `names`; JSON: a list, or
            an object from number to name or from name to number, or objects with `id` and `name`
            (below `categories`, too); AVA's label map (.pbtxt).

    Raises:
        InputError: not such a file, a name is empty, or a name or number stands there twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found; it should list the classes: {_LAYOUTS}")
    text = read_text(path)
    try:
        entries = _READERS.get(path.suffix.lower(), _read_lines)(text)
    except (ValueError, TypeError, LookupError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list of classes: {_LAYOUTS}") from error
    entries = [(number, str(name).strip()) for number, name in entries]
    if not entries or not all(name for _, name in entries):
        raise InputError(f"{path}: has {'an empty name' if entries else 'no classes'}; {_LAYOUTS}")
    if any(number is None for number, _ in entries):
        return ClassList(tuple(name for _, name in entries), source=str(path))
    _refuse_repeated([number for number, _ in entries], "number", path)
    entries.sort(key=lambda entry: entry[0])
    numbers, names = zip(*entries)
    return ClassList(names, numbers, source=str(path))


def expand_labels(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """The classes of --labels: its words, or those of the file that is its only word.

    Raises:
        InputError: the only word ends as a file does, and there is none; see `read_class_list`.
    """
    if labels is None or len(labels) != 1:
        return None if labels is None else tuple(labels)
    path = Path(labels[0])
    if path.is_file():
        return read_class_list(path).names
    if path.suffix.lower() in (".txt", *_READERS):
        raise InputError(f"--labels {path}: file not found; it should list the classes: {_LAYOUTS}")
    return tuple(labels)


_Entries = list[tuple[Any, Any]]
"""A number, or None, and a name of each class."""


def _refuse_repeated(values: list, what: str, source: object) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise InputError(f"{source}: {what} {value} stands there twice; write it once")


def _unnumbered(names: Iterable[Any]) -> _Entries:
    return [(None, name) for name in names]


def _read_lines(text: str) -> _Entries:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [re.fullmatch(r"(\d+)[\s:,;]+(\S.*)", line) for line in lines]
    if all(numbered):
        return [(int(match[1]), match[2]) for match in numbered if match]
    return _unnumbered(lines)


def _read_csv(text: str) -> _Entries:
    separator = ";" if ";" in text and "," not in text else ","
    cells = csv.reader(text.splitlines(), delimiter=separator)
    rows = [[cell.strip() for cell in row] for row in cells if any(row)]
    widths = {len(row) for row in rows}
    if widths == {1}:
        return _read_lines(text)
    if len(widths) != 1:
        raise ValueError("rows of different lengths")
    body = rows if any(cell.isdigit() for cell in rows[0]) else rows[1:]
    number, *_ = [i for i in range(len(body[0])) if all(row[i].isdigit() for row in body)]
    header = [cell.casefold() for cell in rows[0]]
    known = [header.index(word) for word in ("name", "label", "class") if word in header]
    name = next(i for i in (*known, *range(len(body[0]))) if i != number)
    return [(int(row[number]), row[name]) for row in body]


def _read_yaml(text: str) -> _Entries:
    content = parse_yaml(text, "--classes")
    return _from_object(content["names"] if isinstance(content, dict) and "names" in content
                        else content)  # fmt: skip


def _read_json(text: str) -> _Entries:
    content = parse_json(text, "--classes")
    return _from_object(content.get("categories", content) if isinstance(content, dict)
                        else content)  # fmt: skip


def _from_object(content: Any) -> _Entries:
    """A list of names or of objects with id and name, or numbers to names, or names to numbers."""
    if isinstance(content, dict):
        if all(str(key).strip().isdigit() for key in content):
            return [(int(key), name) for key, name in content.items()]
        return [(_whole(number), name) for name, number in content.items()]
    if all(isinstance(each, dict) for each in content):
        return [(_whole(each["id"]), each["name"]) for each in content]
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise ValueError("not a list of names")
    return _unnumbered(content)


def _whole(number: Any) -> int:
    """The number, which JSON may also hold as text; never cut to fit."""
    if isinstance(number, str):
        return int(number)
    if type(number) is not int:
        raise TypeError("not a whole number")
    return number


def _read_label_map(text: str) -> _Entries:
    """AVA's label map: blocks with name: "..." and id: N, or label_id: N."""
    entries: _Entries = []
    for block in re.findall(r"\{([^{}]*)\}", text):
        name = re.search(r"""\bname\s*:\s*(["'])((?:\\.|(?!\1).)*)\1""", block)
        number = re.search(r"\b(?:label_)?id\s*:\s*(\d+)", block)
        if name is None or number is None:
            raise ValueError("a block without name and id")
        entries.append((int(number[1]), re.sub(r"\\(.)", r"\1", name[2])))
    return entries


_READERS: dict[str, Callable[[str], _Entries]] = {
    ".csv": _read_csv,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
    ".pbtxt": _read_label_map,
}
"""By a file's extension; others have one name a line."""
