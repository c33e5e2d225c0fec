"""Where a network runs, and in which precision."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Literal

from ...datasets.errors import InputError

if TYPE_CHECKING:
    import torch

ChosenPrecision = Literal["no", "bf16", "fp16"]
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


def has_native_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 in its own instructions; elsewhere float32 is faster.

    These are AVX512-BF16 on x86, which every processor with AMX-BF16 has too; BF16 on Arm, where
    PyTorch is built with oneDNN; and compute capability 8.0 on of NVIDIA GPUs.

    Args:
        device: "cpu", "cuda", "cuda:1"; of any other kind the answer is no.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device != "cpu":
        return False
    if platform.machine().lower() in ("aarch64", "arm64"):
        # On x86 this is also true of processors that convert to float32 first.
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()


def choose_precision(
    precision: Precision, device: str, *, training: bool = False
) -> ChosenPrecision:
    """The precision itself; for "auto" bf16 where it is native, and float32 elsewhere.

    Training on a processor is in float32: with PyTorch 2.14's oneDNN the weight gradients of
    bfloat16 convolutions are wrong, or write beyond their memory, on small maps (sides of 1 or 2)
    and with a stride of 2. Forward passes are right.

    Args:
        precision: of the user.
        device: see `has_native_bfloat16`.
        training: whether gradients are computed.
    """
    if precision != "auto":
        return precision
    return "bf16" if has_native_bfloat16(device) and not (training and device == "cpu") else "no"


def explain_precision(device: str, *, training: bool = False) -> str:
    """One line for users: what "auto" means on a device, and why; see `choose_precision`."""
    unit = "GPU" if device.startswith("cuda") else "processor"
    if choose_precision("auto", device, training=training) == "bf16":
        return f"precision: bfloat16, native on this {unit}; --precision no computes in float32"
    if has_native_bfloat16(device):
        return "precision: float32, since bfloat16 gradients are not safe on a processor"
    return f"precision: float32, since bfloat16 is not native on this {unit}"


def autocast_dtype(precision: ChosenPrecision) -> torch.dtype | None:
    """The type that safe operations compute in; None for float32."""
    import torch

    return {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
