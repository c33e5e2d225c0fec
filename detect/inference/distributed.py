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
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        if is_new:  # and an error keeps it empty
            locks.callback(_delete_if_empty, folder)
        if share.index == 0:
            locks.enter_context(_lock_file(folder / _LOCK))
            for path in sorted(folder.glob(f"{_LOCK}.*")):  # processes that outlived their launch
                with _lock_file(path):
                    pass
        with _barriers(share) as barrier:
            barrier()
            if share.index:
                locks.enter_context(_lock_file(folder / f"{_LOCK}.{share.index}"))
            barrier()

        def wait_for_others() -> None:
            for index in range(1, share.count):
                with _lock_file(folder / f"{_LOCK}.{index}", wait=True):
                    pass

        yield wait_for_others


def _delete_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _lock_file(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Locks a file, which contains this process's number meanwhile, and deletes it."""
    owner = path.read_text("utf-8").strip() if path.is_file() else ""
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{path.parent}: another run{f' (process {owner})' if owner else ''} is writing "
            "there; wait for it, or choose another --out"
        ) from error
    try:
        with suppress(OSError):  # Windows does not let a locked file be written or deleted
            path.write_text(f"{os.getpid()}\n", "utf-8")
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def _barriers(share: ProcessShare) -> Iterator[Callable[[], object]]:
    """A function that returns when all processes of a launch have called it."""
    if share.count == 1:
        yield lambda: None
        return
    from torch import distributed

    distributed.init_process_group("gloo", rank=share.index, world_size=share.count)
    yield lambda: distributed.barrier()
    distributed.destroy_process_group()
