"""Ctrl-C and SIGTERM in a training run: they end it after the step, so that its state is saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm


class StopSignals:
    """What was received; in the main thread of a process alone, as Python demands.

    Attributes:
        received: the name of a signal that waits for the end of the step, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._in_step = False
        self._process = os.getpid()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handles the signals within the block."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self._handle) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Lets the first signal wait for the end of the block; then `received` names it."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A process that loads clips: the terminal sends Ctrl-C to it, too.
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if not self._in_step or self.received:
            raise KeyboardInterrupt(f"stopped by {name}")
        self.received = name
        tqdm.write("stopping after this step; again to stop at once", file=sys.stderr)
