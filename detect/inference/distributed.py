"""Several processes share a list of videos; one that dies does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ...datasets.errors import InputError

_LOCK = ".actiontubes.lock"


@dataclass(frozen=True)
class ProcessShare:
    """The videos of this process: every `count`-th, from number `index` on.

    Attributes:
        index: number of this process, from 0, among those that were launched together.
        count: number of these processes.
        local: number of this process among those on the same machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0


def process_share() -> ProcessShare:
    """From the environment that `accelerate launch` and torchrun set; otherwise all videos."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    index, count, local = (int(os.environ.get(name) or "0") for name in names)
    return ProcessShare(index, max(count, 1), local)


@contextmanager
def lock_folder(folder: Path, share: ProcessShare = ProcessShare()) -> Iterator[Callable[[], None]]:
    """Creates a folder and keeps other runs out of it; the kernel frees the lock of a dead process.

    The first process of a launch enters only where no process of another run is left, then the
    others enter.

    Args:
        folder: of a run's output.
        share: of this process, among those that write to the folder together.

    Yields:
        a function that waits until the other processes of the launch have ended.

    Raises:
        InputError: another run is writing there, or there is a file of that name.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        if share.index == 0:
            _lock_file(folder / _LOCK, folder, locks)
            for path in sorted(folder.glob(f"{_LOCK}.*")):  # processes that outlived their launch
                with ExitStack() as briefly:
                    _lock_file(path, folder, briefly)
        with _barriers(share) as barrier:
            barrier()
            if share.index:
                _lock_file(folder / f"{_LOCK}.{share.index}", folder, locks)
            barrier()

        def wait_for_others() -> None:
            for index in range(1, share.count):
                with FileLock(folder / f"{_LOCK}.{index}"):
                    pass

        yield wait_for_others


def _lock_file(path: Path, folder: Path, stack: ExitStack) -> None:
    """Locks a file and writes this process's number to it, until the stack ends."""
    owner = path.read_text("utf-8").strip() if path.is_file() else ""
    try:
        stack.enter_context(FileLock(path, timeout=0))
    except Timeout as error:
        raise InputError(
            f"{folder}: another run{f' (process {owner})' if owner else ''} is writing there; wait "
            "for it, or choose another --out"
        ) from error
    with suppress(OSError):  # Windows does not let a locked file be written
        path.write_text(f"{os.getpid()}\n", "utf-8")


@contextmanager
def _barriers(share: ProcessShare) -> Iterator[Callable[[], None]]:
    """A function that returns when all processes of a launch have called it."""
    if share.count == 1:
        yield lambda: None
        return
    from torch import distributed

    distributed.init_process_group("gloo", rank=share.index, world_size=share.count)
    yield lambda: distributed.barrier()
    distributed.destroy_process_group()
