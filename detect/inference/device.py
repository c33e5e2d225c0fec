"""Where a network runs, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...datasets.errors import InputError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "no", "bf16", "fp16"]


def choose_device(device: str, process: int = 0) -> str:
    """A name that torch knows.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        process: number of this process among those of the machine, which share its GPUs.

    Raises:
        InputError: there is no GPU.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU on this machine; use --device cpu")
    return f"cuda:{process % torch.cuda.device_count()}" if device == "cuda" else device


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """The type that safe operations compute in; None for float32, as "auto" means today."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
