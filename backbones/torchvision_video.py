"""torchvision's networks for Kinetics as trunks for detection, beside the paper's family.

R(2+1)D-18 (Tran et al. 2018), MViTv2-S (Li et al. 2022) and Video Swin-T (Liu et al. 2022). They
take clips of any length and size that is a multiple of their stride. The memory of MViT, in which
all places of a clip see one another, grows with the square of the clip: it is for short ones
(`detect --mode per_clip`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.errors import choose_from
from .grid import FeatureGrid

State = Any
"""What goes from stage to stage: a feature map, or tokens and their (T, H, W)."""


@dataclass(frozen=True)
class TorchvisionVariant:
    """One of torchvision's networks.

    Attributes:
        name: torchvision's.
        weights: of its Kinetics-400 weights, as `torchvision.models.get_weight` knows them.
        shapes: of every endpoint: channels, stride in time, stride in space.
        patches: whether cell 0 is the mean of the first frames and pixels, by convolutions as wide
            as their stride; else it is centred on the first of each, by symmetric padding.
    """

    name: str
    weights: str
    shapes: dict[str, tuple[int, int, int]]
    patches: bool

    def grid(self, endpoint: str) -> FeatureGrid:
        """Where the cells of an endpoint look, in clips of any size."""
        _, time, space = self.shapes[endpoint]
        if not self.patches:
            return FeatureGrid((0.0, 0.0, 0.0), (time, space, space))
        return FeatureGrid(((time - 1) / 2, (space - 1) / 2, (space - 1) / 2), (time, space, space))


def _four(time: tuple[int, ...], prefix: str, channels: int, space: int) -> dict:
    """Four stages, each with twice the channels and cells twice as large as the one before."""
    return {
        f"{prefix}{number + 1}": (channels << number, time[number], space << number)
        for number in range(4)
    }


TORCHVISION_NETWORKS = {
    row.name: row
    for row in (
        TorchvisionVariant(
            "r2plus1d_18", "R2Plus1D_18_Weights.KINETICS400_V1",
            _four((1, 2, 4, 8), "layer", 64, 2), patches=False,
        ),
        TorchvisionVariant(
            "mvit_v2_s", "MViT_V2_S_Weights.KINETICS400_V1",
            _four((2, 2, 2, 2), "stage", 96, 4), patches=False,
        ),
        TorchvisionVariant(
            "swin3d_t", "Swin3D_T_Weights.KINETICS400_V1",
            _four((2, 2, 2, 2), "stage", 96, 4), patches=True,
        ),
    )
}  # fmt: skip
"""By name."""


class TorchvisionTrunk(nn.Module):
    """The stages of one of torchvision's networks, up to one of them; as `inception.Trunk`.

    Args:
        variant: which.
        last: the last endpoint that is computed; None is the network's.
        network: torchvision's, to take the layers of; None builds one with new weights.

    Attributes:
        out_channels: channels of `last`.
        frozen: stages that `freeze` has taken out of training.
    """

    def __init__(
        self,
        variant: TorchvisionVariant,
        last: str | None = None,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        from torchvision.models import get_model

        self.variant, self.width, self.channels_in = variant, 1.0, 3
        self.frozen: tuple[str, ...] = ()
        stages = _STAGES[variant.name](network or get_model(variant.name, weights=None))
        for name, stage in zip(("stem", *variant.shapes), stages, strict=True):
            self.add_module(name, stage)
        self.last, self.out_channels = "", 0
        self.end_at(last or list(variant.shapes)[-1])

    def end_at(self, last: str) -> TorchvisionTrunk:
        """Drops the stages behind the endpoint `last`; returns self."""
        names = [name for name, _ in self.named_children()]
        for name in names[names.index(last) + 1 :]:
            delattr(self, name)
        self.last, self.out_channels = last, self.variant.shapes[last][0]
        return self

    def forward(self, clips: Tensor) -> Tensor:
        return self.endpoints(clips, (self.last,))[self.last]

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """(N, 3, T, H, W) clips → the feature maps of several endpoints, (N, C, T', H', W').

        Raises:
            ValueError: an endpoint that this trunk does not compute.
        """
        stages = dict(self.named_children())
        if unknown := [name for name in names if name not in stages or name == "stem"]:
            raise ValueError(
                f"this trunk does not compute {', '.join(unknown)}; it computes "
                f"{', '.join(list(stages)[1:])}"
            )
        state: State = clips
        features = {}
        for name, stage in stages.items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and name not in self.frozen):
                state = stage(state)
            if name in names:
                features[name] = _MAPS[self.variant.name](state)
        return features

    def freeze(self, last: str) -> TorchvisionTrunk:
        """Keeps the stages up to the endpoint `last` as they are, their norms too; returns self.

        Raises:
            ValueError: an endpoint that this trunk does not compute.
        """
        names = [name for name, _ in self.named_children()]
        if last not in names:
            raise ValueError(f"this trunk has no stage {last}; {choose_from(last, names[1:])}")
        self.frozen = tuple(names[: names.index(last) + 1])
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> TorchvisionTrunk:
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class _Tokens(nn.Module):
    """MViT's first layer: a clip to its tokens, the class token first, and their (T, H, W)."""

    def __init__(self, projection: nn.Module, encoding: nn.Module) -> None:
        super().__init__()
        self.projection, self.encoding = projection, encoding

    def forward(self, clips: Tensor) -> State:
        x = self.projection(clips)
        return self.encoding(x.flatten(2).transpose(1, 2)), tuple(x.shape[2:])


class _TokenBlocks(nn.Module):
    """Some of MViT's blocks, and its norm after the last."""

    def __init__(self, blocks: nn.ModuleList, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks, self.norm = blocks, norm or nn.Identity()

    def forward(self, state: State) -> State:
        x, size = state
        for block in self.blocks:
            x, size = block(x, size)
        return self.norm(x), size


def _resnet_stages(network: Any) -> list[nn.Module]:
    return [network.stem, network.layer1, network.layer2, network.layer3, network.layer4]


def _mvit_stages(network: Any) -> list[nn.Module]:
    # A stage begins where a block pools its queries in space.
    begins = [place for place, block in enumerate(network.blocks) if block.pool_skip is not None]
    edges = [0, *begins, len(network.blocks)]
    stages = [
        _TokenBlocks(network.blocks[start:stop], network.norm if stop == edges[-1] else None)
        for start, stop in pairwise(edges)
    ]
    return [_Tokens(network.conv_proj, network.pos_encoding), *stages]


def _swin_stages(network: Any) -> list[nn.Module]:
    # Stages and the mergings between them take turns.
    first, *rest = network.features
    stages = [nn.Sequential(first)]
    stages += [nn.Sequential(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
    stages[-1].append(network.norm)
    return [nn.Sequential(network.patch_embed, network.pos_drop), *stages]


def _map_of_tokens(state: State) -> Tensor:
    tokens, size = state
    return tokens[:, 1:].transpose(1, 2).unflatten(2, size)


_STAGES: dict[str, Callable[[Any], list[nn.Module]]] = {
    "r2plus1d_18": _resnet_stages, "mvit_v2_s": _mvit_stages, "swin3d_t": _swin_stages,
}  # fmt: skip
_MAPS: dict[str, Callable[[State], Tensor]] = {
    "r2plus1d_18": lambda state: state,
    "mvit_v2_s": _map_of_tokens,
    "swin3d_t": lambda state: state.permute(0, 4, 1, 2, 3),
}
