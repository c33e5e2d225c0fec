"""Batch norms fused into the convolutions before them, for networks that only look."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from .layers import ConvNormReLU

Module = TypeVar("Module", bound=nn.Module)


def fold_norms(module: Module, dtype: torch.dtype | None = None) -> Module:
    """Fuses every batch norm of the trunk's layers into its convolution; returns `module`, changed.

    An unfused layer does so on every call, a pass over the weights that only pays in training: the
    function computed is the same. The fused weights lie in channels-last memory, as the features
    do. They cannot be trained, and state dictionaries have other keys.

    Args:
        module: in evaluation mode.
        dtype: of the fused weights, half precision where the layers run under autocast to it; None
            leaves them as they are.

    Raises:
        ValueError: a norm is in training mode.
    """
    for layer in module.modules():
        if isinstance(layer, ConvNormReLU) and layer.norm is not None:
            if layer.norm.training:
                raise ValueError("fold_norms: a batch norm is in training mode; call eval() first")
            with torch.no_grad():
                weight, bias = layer.folded()
                weight = weight.contiguous(memory_format=torch.channels_last_3d)
            weight, bias = weight.to(dtype or weight.dtype), bias.to(dtype or bias.dtype)
            layer.conv.weight = nn.Parameter(weight, requires_grad=False)
            layer.conv.bias = nn.Parameter(bias, requires_grad=False)
            layer.norm = None
    return module
