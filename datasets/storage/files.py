"""Files read and written safely: written whole or not at all, no code run from pickles."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError

EXTRA_MEMORY = 1 << 30
"""Bytes that reading a file may take beyond the file's own size."""
TEMPORARY_PREFIX = ".part-"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, whose file replaces `path` when the block ends without an error.

    A reader of `path` sees the old file or the new one, never a part of it, also after a power cut.
    After an error the temporary file is deleted and the old file is unchanged. A link is followed:
    the file that it names is replaced. A device or a pipe, such as /dev/stdout, gets the content
    when the block ends.

    Raises:
        InputError: `path` is a folder.
    """
    require_no_folder(path)
    if _is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder, f"content{path.suffix}")
            yield temporary
            _write_to_stream(temporary, path)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_abandoned(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        _lock(handle)
        yield temporary
        # mkstemp and safetensors make files private; results get the usual permissions.
        temporary.chmod(0o666 & ~umask)
        sync_file(temporary)
        os.close(handle)  # Windows does not rename open files
        handle = -1
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        if handle != -1:
            os.close(handle)
        temporary.unlink(missing_ok=True)


def require_no_folder(path: Path, name: str = "") -> None:
    """Refuses a folder where a file is to be written.

    Args:
        path: of the file.
        name: what the message begins with, such as an option.

    Raises:
        InputError: it is a folder.
    """
    if path.is_dir():
        raise InputError(f"{name}{': ' * bool(name)}{path}: is a folder; name a file")


@cache
def delete_abandoned(folder: Path) -> None:
    """Deletes the temporary files in a folder whose processes were killed; once in each process."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(OSError), path.open("rb+") as file:
            if _lock(file.fileno()):
                path.unlink()


def _lock(descriptor: int) -> bool:
    """Marks an open temporary file as in use until its process ends; whether it was not before."""
    try:
        import fcntl
    except ImportError:  # Windows, which does not delete open files
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # in use, or a file system without locks
        return False
    return True


def sync_file(path: Path) -> None:
    """Waits until the disk has the content of a file.

    Raises:
        OSError: the disk is full.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename_folder(folder: Path, target: Path) -> None:
    """Gives a complete folder its name, in place of the folder that had it."""
    if target.is_dir():
        shutil.rmtree(target)
    folder.rename(target)
    _sync_folder(target.parent)


def _is_stream(path: Path) -> bool:
    """Whether a path names a device, a pipe or an open file (/dev/stdout)."""
    if path.exists() and not path.is_file():
        return True
    target = path.readlink() if path.is_symlink() else path.parent.resolve()
    return target.is_relative_to("/proc")


def _write_to_stream(content: Path, path: Path) -> None:
    try:
        # Appending, because standard output may be a file with earlier lines.
        with content.open("rb") as source, path.open("ab") as stream:
            shutil.copyfileobj(source, stream)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(content: Any, path: Path) -> None:
    """Writes `content` as indented JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def allowed_memory(size: int) -> int:
    """Bytes that reading a file of `size` bytes may take: large ones may be well packed."""
    return max(size + EXTRA_MEMORY, 8 * size)


def load_pickle(path: Path) -> Any:
    """Loads a pickle of plain containers, numbers, strings and NumPy arrays.

    Strings written by Python 2 are read as latin-1. No other class or function is ever imported,
    and NumPy's own are replaced, so that an untrusted file cannot run code.

    Raises:
        InputError: the file is damaged, or refers to anything else, which is named.
        OSError: the file cannot be opened.
    """
    from .safe_pickle import ArrayUnpickler, UnsafePickleError

    try:
        with path.open("rb") as file:
            return ArrayUnpickler(file, path.stat().st_size, EXTRA_MEMORY).load()
    except UnsafePickleError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: refused for safety ({reason}); only plain containers and NumPy "
            "arrays are read from pickles"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
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
