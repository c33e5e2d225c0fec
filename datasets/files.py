"""Files read and written safely: written whole or not at all, no code run from pickles."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError

EXTRA_MEMORY = 1 << 30
"""Bytes that reading a file may take beyond the file's own size."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` when the block ends without an error.

    A reader of `path` sees the old file or the new one, never a part of it. After an error the
    temporary file is deleted and the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        # mkstemp and safetensors make files private; results get the usual permissions.
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(content: Any, path: Path) -> None:
    """Writes `content` as indented JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_pickle(path: Path) -> Any:
    """Loads a pickle of plain containers, numbers, strings and NumPy arrays.

    Strings written by Python 2 are read as latin-1. No other class or function is ever imported,
    and NumPy's own are replaced, so that an untrusted file cannot run code.

    Raises:
        InputError: the file is damaged, or refers to anything else, which is named.
        OSError: the file cannot be opened.
    """
    from .safe_pickle import ArrayUnpickler, UnsafePickleError

    content = path.read_bytes()
    try:
        return ArrayUnpickler(content, EXTRA_MEMORY).load()
    except UnsafePickleError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: refused for safety ({reason}); only plain containers and NumPy "
            "arrays are read from pickles"
        ) from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: cannot be read as a pickle ({reason}); it may be damaged, download it again"
        ) from error


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
