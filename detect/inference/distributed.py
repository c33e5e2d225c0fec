"""Several processes on one list of videos, none of which a dead one can hold up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...datasets.errors import InputError


@dataclass(frozen=True)
class ProcessShare:
    """This process's part of the videos: every `count`-th from number `index` on.

    Attributes:
        index: from 0, of the processes that were launched together.
        count: how many they are.
        local: its number among those on the same machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0


def process_share() -> ProcessShare:
    """As `accelerate launch` and torchrun say it in the environment; else all videos."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    index, count, local = (int(os.environ.get(name) or "0") for name in names)
    return ProcessShare(index, max(count, 1), local)


def barrier(share: ProcessShare) -> None:
    """Waits until all processes of a launch have come here.

    Later none waits for another but through `folder_lock`: one that is killed holds nobody up.
    """
    if share.count > 1:
        from torch import distributed

        distributed.init_process_group("gloo", rank=share.index, world_size=share.count)
        distributed.barrier()
        distributed.destroy_process_group()


@contextmanager
def folder_lock(folder: Path, shared: bool) -> Iterator[Callable[[], None]]:
    """Holds a lock on a folder, and yields a function that waits until nobody else holds one.

    The system frees the lock of a process that was killed.

    Args:
        folder: to lock.
        shared: whether others may hold it too, that ask for it in this way.

    Raises:
        InputError: another process holds it, or the file system cannot be locked where it must be.
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
