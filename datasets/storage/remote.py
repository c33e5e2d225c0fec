"""Files at addresses (https://, s3://, ...), read through fsspec: found, recognized, downloaded."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import InputError, error_line

MAX_BYTES = 64 << 30
"""The largest file that is downloaded."""
_SPARE_BYTES = 1 << 30  # of the disk, which are left free for results
_BLOCK = 1 << 20
_COPIED_PARTS = 8  # of a path, by which a copy's rows in tables are found
_SILENCE_SECONDS = 60.0  # without a byte; the whole may take longer
# Path makes one slash of two; a drive of Windows has one letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?=[^/])")
_WEB = ("http", "https")


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address.

    Attributes:
        address: as fsspec takes it, perhaps with a password or a signature.
    """

    address: str

    @property
    def shown(self) -> str:
        """The address for messages and records: without password and query."""
        if not self.address.startswith(_WEB):
            return self.address
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def path(self) -> Path:
        """The address as a path, by which a video's name and its rows in tables are found."""
        protocol, _, rest = self.shown.partition("://")
        names = (unquote(rest) if protocol in _WEB else rest).replace("\\", "/")
        return Path(*[part for part in PurePosixPath(names).parts if part not in ("/", "..")])

    def state(self) -> list[Any]:
        """Size in bytes and what else tells versions apart, to recognize a changed file.

        Raises:
            InputError: it is not there, or cannot be read.
        """
        with _errors_of(self):
            filesystem, path = _open_filesystem(self.address)
            about = filesystem.info(path)
        return _state_of(about)

    @contextmanager
    def download(self, folder: Path, *, progress: bool = False) -> Iterator[tuple[Path, list[Any]]]:
        """A context with a copy in a folder, which is deleted at the end.

        Args:
            folder: to make; what is there is deleted.
            progress: show a bar with the time left.

        Yields:
            the path of the copy, whose last parts are those of `path`, and `state`.

        Raises:
            InputError: it cannot be read, ends early, or is too large for `MAX_BYTES` or the disk.
        """
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        copy = folder.joinpath(*self.path.parts[-_COPIED_PARTS:])
        copy.parent.mkdir(parents=True)
        try:
            with _errors_of(self):
                state = self._copy(copy, progress)
            yield copy, state
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, target: Path, progress: bool) -> list[Any]:
        from tqdm import tqdm

        filesystem, path = _open_filesystem(self.address)
        about = filesystem.info(path)
        if about.get("type") == "directory":
            raise InputError(f"{self.shown}: is a folder; give a file")
        size = about.get("size")
        most = min(MAX_BYTES, shutil.disk_usage(target.parent).free - _SPARE_BYTES)
        _refuse_large(self, size or 0, most)
        # A server that cannot send parts of a file is asked for the whole.
        whole = {"block_size": 0} if self.address.startswith(_WEB) else {}
        with (
            filesystem.open(path, "rb", **whole) as source,
            target.open("wb") as copy,
            tqdm(desc=self.path.name, total=size, unit="B", unit_scale=True, leave=False, delay=1,
                 disable=not progress) as bar,
        ):  # fmt: skip
            received = 0
            while block := source.read(_BLOCK):
                received += len(block)
                _refuse_large(self, received, most)
                copy.write(block)
                bar.update(len(block))
        if size is not None and received != size:
            raise InputError(
                f"{self.shown}: ended after {received} of {size} bytes; run the command again"
            )
        return _state_of(about)


def as_address(word: str | Path) -> str | None:
    """The address that a word is; None of a path, also of an existing one that looks like one.

    A word that was a `Path` has lost one of the slashes behind the protocol, and gets it back.
    """
    text = str(word)
    match = _ADDRESS.match(text)
    if match is None or os.path.lexists(text):
        return None
    return f"{match[1].lower()}://{text[match.end() :]}"


def find_remote_files(address: str, extensions: Collection[str]) -> list[RemoteFile]:
    """The files that an address stands for: itself, those below a folder, or those of a pattern.

    Args:
        address: on the web (http, https) always one file, for ? and * may be part of its name.
        extensions: lower case with the dot, of the files that are taken from a folder.

    Returns:
        sorted by address; the address itself where a folder or a pattern has no such file.

    Raises:
        InputError: the protocol is unknown, its package is not installed, or it cannot be listed.
    """
    if "::" in address:
        raise InputError(f"{address}: is a chain of addresses; give the address of the file")
    if address.startswith("file://"):
        raise InputError(f"{address}: give the path of a local file, without file://")
    itself = RemoteFile(address)
    if address.startswith(_WEB):
        return [itself]
    with _errors_of(itself):
        filesystem, path = _open_filesystem(address)
        if has_magic(address) and not filesystem.exists(path):
            found = filesystem.glob(path)
        elif PurePosixPath(path).suffix.lower() not in extensions and filesystem.isdir(path):
            found = filesystem.find(path)
            found = [name for name in found if PurePosixPath(name).suffix.lower() in extensions]
        else:
            return [itself]
    files = [RemoteFile(filesystem.unstrip_protocol(name)) for name in sorted(found)]
    return files or [itself]


def _open_filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it."""
    import fsspec

    options: dict[str, Any] = {}
    if address.startswith(_WEB):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, connect=_SILENCE_SECONDS, sock_read=_SILENCE_SECONDS)
        options = {"client_kwargs": {"timeout": limits, "trust_env": True}}
    return fsspec.url_to_fs(address, **options)


def _state_of(about: dict[str, Any]) -> list[Any]:
    # Each file system has its own word; of the web, servers choose which they send.
    names = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "updated", "created")
    version = next((about[name] for name in names if about.get(name)), None)
    return [about.get("size"), None if version is None else str(version)]


def _refuse_large(file: RemoteFile, size: int, most: int) -> None:
    if size > most:
        limit = f"{max(most, 0) / 2**30:.1f} GB can be downloaded here"
        raise InputError(
            f"{file.shown}: has at least {size / 2**30:.1f} GB, and {limit}; choose another --out "
            "on a larger disk, or cut the video"
        )


@contextmanager
def _errors_of(file: RemoteFile) -> Iterator[None]:
    """Errors of fsspec and its file systems, each with its own classes, as `InputError`."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{file.shown}: a package is missing ({error_line(error)}); "
            "`pip install 'actiontubes[s3]'` has that of s3://"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{file.shown}: file not found") from error
    except Exception as error:
        reason = error_line(error).replace(file.address, file.shown)[:300]
        raise InputError(
            f"{file.shown}: cannot be read ({type(error).__name__}: {reason}); check the address "
            "and whether you may read it"
        ) from error
