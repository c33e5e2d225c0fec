"""Text files of other people: lists, CSV, JSON and YAML, read as UTF-8 or refused in one line."""

from __future__ import annotations

import codecs
import csv
import json
from pathlib import Path
from typing import Any

from ..errors import InputError, error_line
from .files import allowed_memory

MAX_LINE = 1_000_000  # characters of a line in a list or a CSV file
_MAX_YAML = 1 << 18  # characters; its reader takes seconds for more
_MAX_VALUES = 100_000  # of a YAML file
_ENCODINGS = {  # the longer marks first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte-order mark; every line ends with a line feed.

    Raises:
        InputError: another encoding, or no text.
        OSError: the file cannot be opened.
    """
    content = path.read_bytes()
    _check_encoding(content[:4096], path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file "
            "as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def check_encoding(path: Path) -> None:
    """Refuses a file whose first bytes show another encoding than UTF-8; errors as `read_text`."""
    with path.open("rb") as file:
        _check_encoding(file.read(4096), path)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without their ends.

    Raises:
        InputError: as `read_text`, or a line longer than `MAX_LINE`.
        OSError: the file cannot be opened.
    """
    check_encoding(path)
    lines: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(MAX_LINE + 2):
                lines.append(line.removesuffix("\n"))
                if len(lines[-1]) > MAX_LINE:
                    raise InputError(
                        f"{path}: line {len(lines)}: has more than {MAX_LINE} characters; this is "
                        "not a list or a CSV file"
                    )
    except UnicodeDecodeError:
        read_text(path)  # which knows the line
        raise
    return lines


def read_csv(path: Path, separator: str = ",") -> list[list[str]]:
    """The rows of a CSV file as text, an empty line as [].

    Raises:
        InputError: as `read_lines`, or a field that is no CSV.
        OSError: the file cannot be opened.
    """
    rows: list[list[str]] = []
    try:
        rows.extend(csv.reader((f"{line}\n" for line in read_lines(path)), delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path}: row {len(rows) + 1}: not readable as CSV ({error})") from error
    return rows


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: as `read_text`, no JSON, or lists too deep in each other.
        OSError: the file cannot be opened.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, source: object) -> Any:
    """The content of JSON; errors as `read_json`, which name `source`."""
    # A list takes 72 bytes, what stands between two commas 40: far more than is plausible?
    needed = 72 * (text.count("[") + text.count("{")) + 40 * text.count(",")
    if needed > allowed_memory(len(text)):
        raise InputError(f"{source}: would take {needed / 2**30:.1f} GB of memory; split it")
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(
            f"{source}: its JSON lists or objects are too deep in each other to be read"
        ) from None
    except ValueError as error:
        raise InputError(f"{source}: is not valid JSON ({error}); write it again") from error


def parse_yaml(text: str, source: object) -> Any:
    """The content of YAML.

    A few lines of it can repeat a list in a list until it has thousands of millions of values.

    Raises:
        InputError: no YAML, far more values than a file of options or names has, lists too deep in
            each other, or a key that is there twice.
    """
    import yaml

    if len(text) > _MAX_YAML:
        raise InputError(f"{source}: has {len(text)} characters, more than {_MAX_YAML}")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _count_values(root, {}, source) > _MAX_VALUES:
            raise InputError(f"{source}: repeats its values too often; write them out")
        return yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{source}: its lists are too deep in each other to be read") from None
    # ValueError: of a number with thousands of digits, or a date that is none.
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: is not valid YAML ({error_line(error)[:200]})") from error


def _count_values(node: Any, known: dict[int, int], source: object) -> int:
    """The values in a node of YAML, with each as often as the node repeats it."""
    if id(node) in known:
        return known[id(node)]
    members: list[Any] = []
    keys: dict[str, int] = {}
    for each in node.value if isinstance(node.value, list) else ():
        if not isinstance(each, tuple):
            members.append(each)
            continue
        members += each
        key, line = str(each[0].value), each[0].start_mark.line + 1
        if key in keys:
            raise InputError(
                f"{source}: line {line}: {key} stands in line {keys[key]}, too; keep one"
            )
        keys[key] = line
    length = 0 if members else len(node.value) // 100
    known[id(node)] = 1 + length + sum(_count_values(each, known, source) for each in members)
    return known[id(node)]


def _check_encoding(start: bytes, path: Path) -> None:
    for mark, name in _ENCODINGS.items():
        if start.startswith(mark):
            raise InputError(f"{path}: is {name}; save the file as UTF-8")
    if b"\0" in start:
        raise InputError(
            f"{path}: contains NUL bytes, so it is no text, or UTF-16; save the file as UTF-8"
        )
