"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .classifier import Classifier
from .family import VARIANTS
from .inception import Trunk


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, size: tuple[int, ...]) -> int:
    """Multiply-adds of convolutions and linear layers for an input of `size`, by PyTorch's counter.

    Nothing is computed: `module` must be on the meta device.
    """
    with torch.inference_mode():
        return count_multiply_adds(lambda: module(torch.empty(size, device="meta")))


def count_multiply_adds(run: Callable[[], object]) -> int:
    """Multiply-adds of convolutions and matrix products in a call, by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def family_costs(
    classes: int = 400, frames: int = 64, size: int = 224, width_multiplier: float = 1.0
) -> list[dict[str, object]]:
    """Parameters and multiply-adds of every network of the family on (1, 3, frames, size, size).

    Beside them the paper's figures (None where it has none).

    Keys: name, parameters, multiply_adds, paper_parameters, paper_multiply_adds, temporal,
    separable, gating.
    """
    rows: list[dict[str, object]] = []
    for variant in VARIANTS.values():
        with torch.device("meta"):
            trunk = Trunk(variant, width_multiplier)
            model = nn.Sequential(trunk, Classifier(trunk.out_channels, classes)).eval()
        paper, paper_adds = variant.paper_parameters, variant.paper_multiply_adds
        first, last = variant.first_temporal, variant.last_temporal
        rows.append({
            "name": variant.name,
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(model, (1, 3, frames, size, size)),
            "paper_parameters": paper and round(paper * 1e6),
            "paper_multiply_adds": paper_adds and round(paper_adds * 1e9),
            "temporal": f"{first} to {last}" if first else "none",
            "separable": variant.separable,
            "gating": variant.gating,
        })  # fmt: skip
    return rows
