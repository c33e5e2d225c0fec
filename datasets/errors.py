"""Errors that users can correct, and the words of their messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_LONGEST = 1200  # characters of a message


class InputError(ValueError):
    """An input that cannot be used.

    The message is one line: the file (with row or key) or the option, what is wrong, and what to
    do. The command line prints it without a traceback and exits with code 2.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # a video's name may have any character


def some_of(names: Iterable[object], shown: int = 3) -> str:
    """The first names of a list and the number of the others: "a, b, c and 5 more"."""
    words = [str(name) for name in names]
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def choose_from(word: str, known: Iterable[str], shown: int = 10) -> str:
    """The end of a message about an unknown word: the first known words and the most similar."""
    import difflib

    known = [str(name) for name in known]
    near = difflib.get_close_matches(word, known, 1)
    return f"choose from {some_of(known, shown)}" + (f" (did you mean {near[0]}?)" if near else "")


def refuse_rows(
    bad: np.ndarray, source: object, why: str, numbers: Sequence[int] | None = None
) -> None:
    """Raises an error that names the first bad row and counts the others.

    Args:
        bad: (R,) bool.
        source: the file.
        why: what is wrong with these rows.
        numbers: the number of each row in the file; None counts from 1.

    Raises:
        InputError: a row is bad.
    """
    if bad.any():
        row = int(bad.argmax())
        number = row + 1 if numbers is None else numbers[row]
        raise InputError(f"{source}: row {number}{more_rows(int(bad.sum()))}: {why}")


def more_of(count: int, noun: str) -> str:
    """The end of a message about the first of `count` things: " (and 4 more videos)"."""
    return f" (and {count - 1} more {noun}{'s' * (count > 2)})" if count > 1 else ""


def more_rows(bad: int) -> str:
    """The end of a message about the first of `bad` rows: " (and 4 more rows)"."""
    return more_of(bad, "row")


def as_option(name: str) -> str:
    """A parameter's name as an option: --look-ahead."""
    return "--" + name.replace("_", "-")


def error_line(error: Exception) -> str:
    """An error's message in one line; for a system error, the file and the reason."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    # A file's values may be of any length; what to do stands at the end.
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} … {text[-300:]}"


def refuse_options(why: str, **options: object) -> None:
    """Raises an InputError with the reason `why` for the first option that is not None."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{as_option(name)}: {why}")
