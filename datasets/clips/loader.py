"""Settings that all data loaders share."""

from __future__ import annotations

import torch


def limit_worker_threads(_: int = 0) -> None:
    """Keeps a loader's process to one thread; for DataLoader's `worker_init_fn`."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
