"""Batch norms folded into the convolutions before them, for inference."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from .layers import ConvNormReLU
from .registry import Backbone

Module = TypeVar("Module", bound=nn.Module | Backbone)


def fold_norms(module: Module, dtype: torch.dtype | None = None) -> Module:
    """Folds every batch norm of a trunk's layers into its convolution; returns `module`, changed.

    A layer that is not folded does so on every call. The function computed is the same. The folded
    weights are in channels-last memory, as the features are; they cannot be trained, and the keys
    of the state dictionary change.

    Args:
        module: in evaluation mode.
        dtype: of the folded weights: half precision where the layers run under autocast to it; None
            keeps their own.

    Raises:
        ValueError: a norm is in training mode.
    """
    for layer in module.modules():
        if isinstance(layer, ConvNormReLU) and layer.norm is not None:
            if layer.norm.training:
                raise ValueError("fold_norms: a batch norm is in training mode; call eval() first")
            with torch.no_grad():
                weight, bias = layer.folded_weights()
                weight = weight.contiguous(memory_format=torch.channels_last_3d)
            weight, bias = weight.to(dtype or weight.dtype), bias.to(dtype or bias.dtype)
            layer.conv.weight = nn.Parameter(weight, requires_grad=False)
            layer.conv.bias = nn.Parameter(bias, requires_grad=False)
            layer.norm = None
    return module
