"""Readers in a process of their own: where a parser in C dies of a damaged file, only that ends."""

from __future__ import annotations

import io
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, error_line
from .files import EXTRA_MEMORY
from .safe_pickle import ArrayUnpickler, UnsafePickleError

_SECONDS = 60  # for one file, and as many more as it has megabytes
_LENGTH = struct.Struct("<Q")
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import _serve; _serve()"


@contextmanager
def isolated_reader(
    read: Callable[..., Any], memory: int = EXTRA_MEMORY // 2, copies: int = 1
) -> Iterator[Callable[..., Any]]:
    """Yields a function that calls `read(path, ...)` in another process, and returns its value.

    The process is started for the first file, and again after a file that ended it. It may take
    limited memory (on Linux) and time for each file.

    Args:
        read: a function of a module, of a path and plain values. It returns plain containers and
            NumPy arrays, or raises an InputError.
        memory: bytes that the process may take for a file beyond copies of it; what it returns
            takes as much again here.
        copies: that it may hold of the file.

    Raises:
        InputError: by the function: that of `read`, or the process died, or took too long.
    """
    process: subprocess.Popen[bytes] | None = None

    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        nonlocal process
        process = process or _start()
        size = path.stat().st_size if path.is_file() else 0
        limits = memory + copies * size, _SECONDS + (size >> 20)
        request = pickle.dumps((limits, read, path, arguments, options))
        try:
            _send(process.stdin, request)
            answer = _receive(process.stdout)
        except (EOFError, OSError):
            code, process = process.wait(), None
            raise InputError(
                f"{path}: is damaged: reading it {_ended(code)}; download it again"
            ) from None
        try:
            is_value, value = ArrayUnpickler(io.BytesIO(answer), len(answer), EXTRA_MEMORY).load()
        except UnsafePickleError as error:
            raise InputError(f"{path}: contains objects of unknown kinds ({error})") from error
        if not is_value:
            raise InputError(value)
        return value

    try:
        yield call
    finally:
        if process is not None:
            with suppress(OSError):
                process.communicate()


def _start() -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(path=sys.path, module=__name__)
    # Reading needs no threads, whose stacks would count as memory.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip


def _ended(code: int) -> str:
    """How the process ended, in words."""
    if code == -getattr(signal, "SIGALRM", 0):
        return "took too long"
    return f"ended the reader ({signal.Signals(-code).name if code < 0 else f'code {code}'})"


def _serve() -> None:
    """The other process: answers requests until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a parser prints is no answer
    while True:
        try:
            limits, read, path, arguments, options = pickle.loads(_receive(sys.stdin.buffer))
        except EOFError:
            return
        _limit(*limits)
        try:
            answer = pickle.dumps((True, read(path, *arguments, **options)))
        except InputError as error:
            answer = pickle.dumps((False, error_line(error)))
        except MemoryError:
            why = f"{path}: is damaged: reading it takes too much memory; download it again"
            answer = pickle.dumps((False, why))
        _limit(None, 0)
        _send(answers, answer)


def _limit(memory: int | None, seconds: int) -> None:
    """Limits what the process may take from now on; without `memory` and with 0, no longer."""
    if sys.platform == "win32":
        return
    import resource

    signal.alarm(seconds)
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    if memory is not None:
        with suppress(OSError):  # of other systems than Linux, which do not say what is taken now
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _send(file: Any, content: bytes) -> None:
    file.write(_LENGTH.pack(len(content)) + content)
    file.flush()


def _receive(file: Any) -> bytes:
    (size,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    return _read(file, size)


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content
