"""Zip files of other people: one member is read in place, nothing is unpacked to the disk."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from .files import allowed_memory

_MAX_MEMBERS = 200_000  # images of a data set
_ENCRYPTED = 0x1


def list_members(path: Path, wanted: Callable[[str], bool]) -> list[str]:
    """The names in a zip file that are wanted; [] of another file.

    Raises:
        InputError: the file is damaged, has too many members, or has a wanted name twice.
    """
    if not zipfile.is_zipfile(path):
        return []
    with _errors_of_zip(path), zipfile.ZipFile(path) as archive:
        if len(archive.namelist()) > _MAX_MEMBERS:
            raise InputError(f"{path}: has more than {_MAX_MEMBERS} members")
        names = [name for name in archive.namelist() if wanted(name)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: has {name} twice; export it again")
    return names


@contextmanager
def open_member(path: Path, name: str) -> Iterator[BinaryIO]:
    """Opens one member of a zip file for reading.

    Raises:
        InputError: it is damaged, encrypted, or would be far larger than the file makes plausible.
    """
    with _errors_of_zip(path), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
        if info.flag_bits & _ENCRYPTED:
            raise InputError(f"{path}: {name} is encrypted; export it without a password")
        if info.file_size > allowed_memory(path.stat().st_size):
            raise InputError(
                f"{path}: {name} would be {info.file_size / 2**30:.1f} GB; export fewer tasks at "
                "once"
            )
        with archive.open(info) as member:
            yield member  # type: ignore[misc]


@contextmanager
def _errors_of_zip(path: Path) -> Iterator[None]:
    """What a block that reads a zip file raises, as an InputError."""
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise InputError(
            f"{path}: cannot be read as a zip file ({error}); export it again"
        ) from error
    except Exception as error:  # of the decompressors: zlib, lzma
        if type(error).__module__ in ("zlib", "_lzma", "lzma"):
            raise InputError(f"{path}: is damaged ({error}); export it again") from error
        raise
