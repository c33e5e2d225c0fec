"""Text files of other people: lists, CSV and JSON, read as UTF-8 or refused in one line."""

from __future__ import annotations

import codecs
import csv
import json
from pathlib import Path
from typing import Any

from .errors import InputError

MAX_LINE = 1_000_000  # characters of a line in a list or a CSV file
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
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise InputError(
                f"{path}: line {number}: has {len(line)} characters, more than {MAX_LINE}; this "
                "is not a list or a CSV file"
            )
    return lines if lines[-1] else lines[:-1]


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
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(
            f"{path}: its JSON lists or objects are too deep in each other to be read"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid JSON ({error}); write it again") from error


def _check_encoding(start: bytes, path: Path) -> None:
    for mark, name in _ENCODINGS.items():
        if start.startswith(mark):
            raise InputError(f"{path}: is {name}; save the file as UTF-8")
    if b"\0" in start:
        raise InputError(
            f"{path}: contains NUL bytes, so it is no text, or UTF-16; save the file as UTF-8"
        )
