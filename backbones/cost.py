"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .classifier import Classifier
from .family import VARIANTS, Variant
from .inception import Trunk


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, size: tuple[int, ...]) -> int:
    """Multiply-adds of convolutions and linear layers for an input of `size`, by PyTorch's counter.

    Nothing is computed: the module is counted on the meta device and must live there.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.empty(size, device="meta"))
    return counter.get_total_flops() // 2


def family_costs(
    classes: int = 400, frames: int = 64, size: int = 224, width: float = 1.0
) -> list[dict[str, object]]:
    """One row a network of the family, with the paper's figures (None where it has none).

    Keys: name, parameters, multiply_adds, paper_parameters, paper_multiply_adds, temporal, gating.
    """
    return [_cost(row, classes, frames, size, width) for row in VARIANTS.values()]


def _cost(row: Variant, classes: int, frames: int, size: int, width: float) -> dict[str, object]:
    with torch.device("meta"):
        trunk = Trunk(row, width)
        model = nn.Sequential(trunk, Classifier(trunk.out_channels, classes)).eval()
    return {
        "name": row.name,
        "parameters": parameters(model),
        "multiply_adds": multiply_adds(model, (1, 3, frames, size, size)),
        "paper_parameters": row.paper_parameters and round(row.paper_parameters * 1e6),
        "paper_multiply_adds": row.paper_multiply_adds and round(row.paper_multiply_adds * 1e9),
        "temporal": f"{row.temporal_from} to {row.temporal_to}" if row.temporal_from else "none",
        "separable": row.separable,
        "gating": row.gating,
    }
