"""The DataLoader that training and testing share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset


def make_loader(
    samples: Dataset,
    collate: Callable[[Any], Any],
    *,
    batch: int = 1,
    workers: int = 0,
    sampler: Iterable[int] | None = None,
    pin_memory: bool = False,
) -> DataLoader:
    """A loader whose processes are spawned and use one thread each.

    Args:
        samples: position to sample.
        collate: makes a batch of a list of samples.
        batch: samples in a batch.
        workers: processes that load samples; 0 loads them in this one.
        sampler: the positions in order; None for all of `samples`.
        pin_memory: whether clips are put into page-locked memory, for a GPU.
    """
    return DataLoader(
        samples, batch, sampler=sampler, collate_fn=collate, num_workers=workers,
        pin_memory=pin_memory, multiprocessing_context="spawn" if workers else None,
        worker_init_fn=limit_worker_threads,
    )  # fmt: skip


def limit_worker_threads(_: int = 0) -> None:
    """Keeps a loader's process to one thread; for DataLoader's `worker_init_fn`."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
