"""The DataLoader that training and testing share, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips with what is known about them: tensors, lists of tensors, and plain values.

    Attributes:
        clips: (N, T, H, W, C) uint8.
        names: N names, "<video>:<first frame>".
        seeds: N numbers from 0 to 2**31 - 1, for whatever is drawn at random later.
    """

    clips: Tensor
    names: list[str]
    seeds: list[int]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch with all tensors on a device."""
        return replace(
            self,
            **{f.name: move_to(getattr(self, f.name), device, non_blocking) for f in fields(self)},
        )

    def pin_memory(self) -> Self:
        """The batch with the clips in page-locked memory, as DataLoader expects.

        The small tensors stay where they are: locking each costs more than copying it.
        """
        return replace(self, clips=self.clips.pin_memory())


def move_to(value: Any, device: torch.device | str, non_blocking: bool = False) -> Any:
    """A value with all tensors in it, also in lists and dicts, on a device."""
    if isinstance(value, list):
        return [move_to(each, device, non_blocking) for each in value]
    if isinstance(value, dict):
        return {name: move_to(each, device, non_blocking) for name, each in value.items()}
    if isinstance(value, (Tensor, Batch)):
        return value.to(device, non_blocking=non_blocking)
    return value


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
