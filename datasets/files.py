"""Files read and written safely: errors with a mend, whole files or none, no code in pickles."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the file, row or key, and the mend. The command line prints
    it without a traceback and exits with code 2.
    """


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
                f"{path}: refused, {asked}; only plain containers and NumPy arrays are read from a "
                "pickle"
            ) from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{path}: not a readable pickle ({reason}); get it again") from error
