"""Files read and written safely: errors with a mend, whole files or none, no code in pickles."""

from __future__ import annotations

import difflib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces it when the block ends without an error.

    A reader of `path` sees the old file or the new one, never half of it; after an error the
    temporary file is gone and the old one untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        # mkstemp makes files private, and safetensors too; results are as readable as any other
        # file of this user.
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(content: Any, path: Path) -> None:
    """Writes `content` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_pickle(path: Path) -> Any:
    """Loads a pickle of plain containers, numbers, strings and NumPy arrays.

    Strings written by Python 2 are read as latin-1. No other class or function is ever looked up
    and NumPy's own are not trusted either, so an untrusted file cannot run code.

    Raises:
        InputError: the file is damaged, or asks for anything else, which is named.
        OSError: the file cannot be opened.
    """
    from .pickles import ArraysOnly, RefusedError

    with path.open("rb") as file:
        try:
            return ArraysOnly(file, encoding="latin1").load()
        except RefusedError as error:
            asked = " ".join(str(error).split())
            raise InputError(
                f"{path}: refused for safety ({asked}); only plain containers and NumPy "
                "arrays are read from pickles"
            ) from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"{path}: cannot be read as a pickle ({reason}); it may be damaged, download it "
                "again"
            ) from error
