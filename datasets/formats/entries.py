"""Values inside pickles, JSON and MATLAB files, checked where they are read."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError

_MOST = 2**31 - 1  # of whole numbers: frames and counts are 32 bits
_NUMBERS = (int, float, np.integer, np.floating)
_SHOWN = 40  # characters of a value in a message


class Entry:
    """A value of a file's content, and where in the file it stands.

    Each method expects one kind of value, and raises an InputError that names the file and the keys
    on the way to the value where it is another: "gt.pkl: nframes: alpha: must be a whole number".

    Args:
        value: what the file holds there.
        key: the file, or the key in `parent`, or (what, number) of an item.
        parent: the entry that holds this one; None for the whole content.
    """

    __slots__ = ("_key", "_parent", "value")

    def __init__(self, value: Any, key: object, parent: Entry | None = None) -> None:
        self.value, self._key, self._parent = value, key, parent

    def __str__(self) -> str:
        """The file and the keys, for messages."""
        key = f"{self._key[0]} {self._key[1]}" if isinstance(self._key, tuple) else self._key
        return f"{self._parent}: {key}" if self._parent is not None else str(key)

    def error(self, why: str) -> InputError:
        """The error to raise about this entry."""
        return InputError(f"{self}: {why}")

    def _expected(self, what: str) -> InputError:
        return self.error(f"must be {what}, not {_shown(self.value)}")

    def __getitem__(self, key: object) -> Entry:
        """The entry of a key."""
        entry = self.get(key)
        if entry is None:
            raise self.error(f"has no {key}")
        return entry

    def get(self, key: object) -> Entry | None:
        """The entry of a key, or None where the dict does not have it."""
        content = self.value
        if not isinstance(content, dict):
            raise self._expected(f"a dict with {key}")
        return Entry(content[key], key, self) if key in content else None

    def items(self, what: str) -> Iterator[tuple[Entry, Entry]]:
        """The keys and values of a dict.

        Args:
            what: what a key is, for messages: "label".
        """
        if not isinstance(self.value, dict):
            raise self._expected(f"a dict by {what}")
        for key, value in self.value.items():
            yield Entry(key, (what, key), self), Entry(value, (what, key), self)

    def each(self, what: str) -> Iterator[Entry]:
        """The items of a list, a tuple or an array.

        Args:
            what: what an item is, for messages, which number the items from 1: "tube".
        """
        if not self._is_list():
            raise self._expected(f"a list with an item for each {what}")
        for number, value in enumerate(self.value, 1):
            yield Entry(value, (what, number), self)

    def _is_list(self) -> bool:
        is_array = isinstance(self.value, np.ndarray) and self.value.ndim > 0
        return is_array or isinstance(self.value, list | tuple)

    def parts(self, *names: str) -> list[Entry]:
        """The items of a list that has one of each name."""
        if not self._is_list() or len(self.value) != len(names):
            raise self._expected(f"{len(names)} items: {', '.join(names)}")
        return [Entry(value, name, self) for value, name in zip(self.value, names)]

    def text(self) -> str:
        """A text that is not empty; a whole number is taken as one."""
        value = self.value
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self._expected("text")
        if not value.strip():
            raise self.error("is empty")
        return str(value)

    def identifier(self) -> int | float | str:
        """A number or a text that other entries refer to."""
        if not isinstance(self.value, int | float | str):
            raise self._expected("a number or text")
        return self.value

    def integer(self, least: int = -_MOST, most: int = _MOST) -> int:
        """A whole number within limits."""
        if type(self.value) is int and least <= self.value <= most:
            return self.value
        value = self._scalar()
        if value is None or not math.isfinite(value) or value % 1:
            raise self._expected("a whole number")
        if not least <= value <= most:
            limits = f"{least} or more" if value < least and most == _MOST else f"{least} to {most}"
            raise self._expected(limits)
        return int(value)

    def number(self) -> float:
        """A number, which may be NaN or infinite: `check_table` refuses those of tables."""
        value = self._scalar()
        if value is None:
            raise self._expected("a number")
        return float(value)

    def _scalar(self) -> Any:
        """A number, which MATLAB and NumPy may wrap in an array; None for anything else."""
        value = self.value
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return None
        is_too_long = isinstance(value, int) and abs(value) > sys.float_info.max
        return math.inf if is_too_long else value

    def column(self, what: str, key: str, *parts: str) -> np.ndarray:
        """The numbers of a key in all N items of a list, which may be NaN or infinite.

        Args:
            what: what an item is, for messages.
            key: a key of every item.
            parts: names of the P numbers there; none for a single number.

        Returns:
            (N, P) float64, or (N,) without parts.
        """
        shape = (len(parts),) if parts else ()
        try:
            numbers = _as_numbers([item[key] for item in self.value])
            if numbers is not None and numbers.shape[1:] == shape:
                return numbers
        except (TypeError, KeyError, IndexError, ValueError, OverflowError):
            pass
        # One by one, which names the first bad item.
        rows = [
            [part.number() for part in item[key].parts(*parts)] if parts else item[key].number()
            for item in self.each(what)
        ]
        return np.array(rows, np.float64).reshape(-1, *shape)

    def array(self, *columns: str, more: bool = False) -> np.ndarray:
        """Rows of numbers, (n, C) float64, as `matrix` reads them.

        Args:
            columns: the names of the C columns.
            more: whether further columns may follow, which are left out.
        """
        wanted = f"rows of {', '.join(columns)}"
        rows, width = self.matrix(wanted), len(columns)
        if len(rows) and (rows.shape[1] < width or (rows.shape[1] > width and not more)):
            raise self.error(f"has shape {rows.shape}; it must be {wanted}")
        return rows[:, :width] if len(rows) else np.empty((0, width))

    def matrix(self, wanted: str) -> np.ndarray:
        """Rows of numbers, (n, C) float64; numbers may be NaN or infinite.

        Args:
            wanted: what the rows are, for messages.
        """
        try:
            rows = _as_numbers(self.value)
        except (ValueError, TypeError, OverflowError):
            rows = None
        if rows is not None and rows.ndim == 2:
            return rows
        if rows is not None and rows.ndim and not len(rows):
            return np.empty((0, 0))
        if isinstance(self.value, list | tuple | np.ndarray):
            raise self.error(f"must be {wanted}, all numbers, each row of one length")
        raise self._expected(wanted)


def _as_numbers(value: Any) -> np.ndarray | None:
    """An array or lists of numbers as float64; None of anything else.

    Not by NumPy alone: where one item is a text, it makes texts of all, as long as the longest.
    """
    array = value if isinstance(value, np.ndarray) else np.array(value, object)
    if array.dtype == object:
        kinds = set(map(type, array.ravel().tolist()))
        if bool in kinds or not all(issubclass(kind, _NUMBERS) for kind in kinds):
            return None
    return array.astype(np.float64) if array.dtype.kind in "iufO" else None


def _shown(value: object) -> str:
    """A number or text as it is, shortened; the type of anything else."""
    if value is None:
        return "None"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    length = f" of {len(value)} items" if isinstance(value, list | tuple) else ""
    return f"a {type(value).__name__}{length}"
