"""Errors that users can mend, and how they are told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the file, row or key, and the mend. The command line prints
    it without a traceback and exits with code 2.
    """


def some_of(names: Iterable[object], shown: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    words = [str(name) for name in names]
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return ", ".join(words[:shown]) + more


def choose_from(word: str, known: Iterable[str], shown: int = 10) -> str:
    """What an unknown word may be instead: the first known ones, and the nearest of all."""
    known = [str(name) for name in known]
    near = difflib.get_close_matches(word, known, 1)
    return f"choose from {some_of(known, shown)}" + (f" (did you mean {near[0]}?)" if near else "")


def more_rows(bad: int) -> str:
    """What follows the first of `bad` rows in a message."""
    return f" (and {bad - 1} more row{'s' * (bad > 2)})" if bad > 1 else ""


def as_option(name: str) -> str:
    """A parameter's name as the user types it: --look-ahead."""
    return "--" + name.replace("_", "-")


def error_line(error: Exception) -> str:
    """An error's message without line breaks; of a system error, the file and what is wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def refuse_options(why: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{as_option(name)}: {why}")
