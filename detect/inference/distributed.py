"""Several processes share a list of videos; one that dies does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...datasets.errors import InputError


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


def barrier(share: ProcessShare) -> None:
    """Waits until all processes of a launch have called it.

    Later they only wait through `folder_lock`, which a killed process does not block.
    """
    if share.count > 1:
        from torch import distributed

        distributed.init_process_group("gloo", rank=share.index, world_size=share.count)
        distributed.barrier()
        distributed.destroy_process_group()


@contextmanager
def folder_lock(folder: Path, shared: bool) -> Iterator[Callable[[], None]]:
    """Locks a folder, and yields a function that waits until no other process has a lock on it.

    The operating system releases the lock of a process that is killed.

    Args:
        folder: to lock.
        shared: whether other processes may have a shared lock on it, too.

    Raises:
        InputError: another process has locked it, or a shared lock is needed and the file system
            has none.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        if shared:
            raise InputError(
                "several processes need file locks, which Windows does not have; run a single "
                "process"
            ) from None
        yield lambda: None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another `actiontubes detect` is writing there; wait for it, or "
                "choose another --out"
            ) from error
        except OSError as error:  # some network file systems
            if shared:
                raise InputError(
                    f"{folder}: this file system does not support locks, which several "
                    f"processes need ({error.strerror}); run a single process, or choose "
                    "another --out"
                ) from error
        yield lambda: fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)
