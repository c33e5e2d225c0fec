"""Shared by the tests of the backbones: the table of the blocks, and weights that matter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.weights.load import load_file
from actiontubes.datasets.errors import InputError
from torch import nn

# in, branch 0, branch 1, branch 2, branch 3 (Szegedy et al. 2015, table 1).
BLOCKS = {
    "Mixed_3b": (192, 64, (96, 128), (16, 32), 32),
    "Mixed_3c": (256, 128, (128, 192), (32, 96), 64),
    "Mixed_4b": (480, 192, (96, 208), (16, 48), 64),
    "Mixed_4c": (512, 160, (112, 224), (24, 64), 64),
    "Mixed_4d": (512, 128, (128, 256), (24, 64), 64),
    "Mixed_4e": (512, 112, (144, 288), (32, 64), 64),
    "Mixed_4f": (528, 256, (160, 320), (32, 128), 128),
    "Mixed_5b": (832, 256, (160, 320), (32, 128), 128),
    "Mixed_5c": (832, 384, (192, 384), (48, 128), 128),
}


@pytest.fixture(scope="session")
def blocks() -> dict[str, tuple]:
    return BLOCKS


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], None]:
    """Gives a network random weights under which every layer matters.

    Fresh networks hide errors: their features fade from layer to layer, and batch norms do nothing.
    """

    @torch.no_grad()
    def fill(module: nn.Module, seed: int = 0) -> None:
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight).mul_(0.8)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                assert layer.running_mean is not None and layer.running_var is not None
                nn.init.normal_(layer.running_mean, std=0.2)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.2)
                if isinstance(layer.weight, nn.Parameter):
                    nn.init.uniform_(layer.weight, 0.5, 1.5)

    return fill


@pytest.fixture(scope="session")
def refusal() -> Callable[[Path, str], str]:
    """The one line with which a file is refused as weights of a network, after the file's name."""

    def load(path: Path, variant: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(InputError) as error:
                load_file(path, get_variant(variant))
        message = str(error.value)
        assert message.startswith(f"{path}: ") and "\n" not in message
        return message.removeprefix(f"{path}: ")

    return load


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers on several threads mostly wait for each other, on a busy machine for seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
