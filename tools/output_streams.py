"""Standard output and error that may end before the command does, as with `| head -1`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, TextIO


class LastingStream:
    """A text stream that drops what can no longer be written, instead of raising an error.

    Characters that its encoding lacks are written as escapes such as \\u00e9.

    Attributes:
        error: the first error: the reader has left, or the disk is full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, TextIOWrapper):
            # Names of files and classes may have characters that the terminal lacks.
            stream.reconfigure(errors="backslashreplace")
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop_from_now_on(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop_from_now_on(error)

    def _drop_from_now_on(self, error: OSError) -> None:
        self.error = self.error or error
        # What waits in the buffer goes nowhere, too; Python would try again when it ends.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[LastingStream]:
    """Lets print() go on in vain when standard output or error ends; yields standard output."""
    with ExitStack() as stack:
        streams = LastingStream(sys.stdout), LastingStream(sys.stderr)
        stack.enter_context(redirect_stdout(streams[0]))
        stack.enter_context(redirect_stderr(streams[1]))
        yield streams[0]
