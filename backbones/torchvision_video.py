"""torchvision's networks for Kinetics as trunks for detection, beside the paper's family.

R(2+1)D-18 (Tran et al. 2018), MViTv2-S (Li et al. 2022) and Video Swin-T (Liu et al. 2022). They
take clips of any length and size that is a multiple of their stride. MViT attends over all places
of a clip, so that its memory grows with the square of the clip's size: it is for short clips
(`detect --mode per_clip`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..datasets.errors import InputError, choose_from
from .grid import EndpointShape, FeatureGrid
from .layers import Size3
from .stages import StagedTrunk

if TYPE_CHECKING:
    from .classifier import PretrainedModel

State = Any
"""What one stage passes to the next: a feature map, or tokens with their (T, H, W)."""


@dataclass(frozen=True)
class TorchvisionNetwork:
    """One of torchvision's networks.

    Attributes:
        name: torchvision's.
        weights: its Kinetics-400 weights, a name for `torchvision.models.get_weight`.
        endpoint_shapes: by endpoint.
        centered_on_patches: whether cell 0 is centered on its patch, as by convolutions as wide as
            their stride; else on the first frame and pixel, as by symmetric padding.
        split: the network's stages: a stem, and one for each endpoint.
        to_feature_map: what a stage returns → (N, C, T', H', W').
    """

    name: str
    weights: str
    endpoint_shapes: Mapping[str, EndpointShape]
    centered_on_patches: bool
    split: Callable[[Any], list[nn.Module]]
    to_feature_map: Callable[[State], Tensor]


class TorchvisionTrunk(StagedTrunk):
    """The stages of one of torchvision's networks, up to an endpoint; a `registry.Backbone`.

    Args:
        network: which one.
        last: the last endpoint that is computed; None is the network's last.
        model: torchvision's model, whose layers are taken; None builds one with new weights.
    """

    channels_in, width_multiplier = 3, 1.0
    blocks_fit_rois = False

    def __init__(
        self, network: TorchvisionNetwork, last: str | None = None, model: nn.Module | None = None
    ) -> None:
        from torchvision.models import get_model

        stages = network.split(model or get_model(network.name, weights=None))
        names = ("stem", *network.endpoint_shapes)
        super().__init__(network.endpoint_shapes, dict(zip(names, stages, strict=True)), last)
        self.network, self.name = network, network.name
        self.layout: Mapping[str, Any] = {}

    def to_feature_map(self, state: State) -> Tensor:
        return self.network.to_feature_map(state)

    def grid(self, endpoint: str, size: Size3) -> FeatureGrid:
        _, time, space = self.endpoint_shapes[endpoint]
        center = ((time - 1) / 2, (space - 1) / 2, (space - 1) / 2)
        origin = center if self.network.centered_on_patches else (0.0, 0.0, 0.0)
        return FeatureGrid(origin, (time, space, space))

    def load_pretrained(self, weights: str) -> PretrainedModel:
        from .weights.load import load_torchvision_trunk

        return load_torchvision_trunk(self.name, weights)


def build_torchvision_trunk(
    name: str, width_multiplier: float, channels_in: int, layout: Mapping[str, Any]
) -> TorchvisionTrunk:
    """A trunk by torchvision's name; see `registry.build_backbone`. It has one layout only."""
    if name not in TORCHVISION_NETWORKS:
        raise InputError(
            f"--backbone {name}: unknown network; {choose_from(name, TORCHVISION_NETWORKS)}"
        )
    if width_multiplier != 1:
        raise InputError(
            f"--width {width_multiplier}: only works with the S3D family; with {name} use 1.0"
        )
    if channels_in != 3:
        raise InputError(
            f"--streams: optical flow only works with the S3D family; with {name} use rgb"
        )
    return TorchvisionTrunk(TORCHVISION_NETWORKS[name])


class _Tokens(nn.Module):
    """MViT's first layer: a clip → its tokens, the class token first, and their (T, H, W)."""

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
    starts = [i for i, block in enumerate(network.blocks) if block.pool_skip is not None]
    edges = [0, *starts, len(network.blocks)]
    stages = [
        _TokenBlocks(network.blocks[start:stop], network.norm if stop == edges[-1] else None)
        for start, stop in pairwise(edges)
    ]
    return [_Tokens(network.conv_proj, network.pos_encoding), *stages]


def _swin_stages(network: Any) -> list[nn.Module]:
    # Stages alternate with the layers that merge patches between them.
    first, *rest = network.features
    stages = [nn.Sequential(first)]
    stages += [nn.Sequential(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
    stages[-1].append(network.norm)
    return [nn.Sequential(network.patch_embed, network.pos_drop), *stages]


def _tokens_to_map(state: State) -> Tensor:
    tokens, size = state
    return tokens[:, 1:].transpose(1, 2).unflatten(2, size)


def _four_stages(
    prefix: str, channels: int, time_strides: tuple[int, ...], space_stride: int
) -> dict[str, EndpointShape]:
    """Each stage has twice the channels and the stride in space of the one before."""
    return {
        f"{prefix}{i + 1}": EndpointShape(channels << i, time_strides[i], space_stride << i)
        for i in range(4)
    }


TORCHVISION_NETWORKS = {
    network.name: network
    for network in (
        TorchvisionNetwork(
            name="r2plus1d_18", weights="R2Plus1D_18_Weights.KINETICS400_V1",
            endpoint_shapes=_four_stages("layer", 64, (1, 2, 4, 8), 2), centered_on_patches=False,
            split=_resnet_stages, to_feature_map=lambda state: state,
        ),
        TorchvisionNetwork(
            name="mvit_v2_s", weights="MViT_V2_S_Weights.KINETICS400_V1",
            endpoint_shapes=_four_stages("stage", 96, (2, 2, 2, 2), 4), centered_on_patches=False,
            split=_mvit_stages, to_feature_map=_tokens_to_map,
        ),
        TorchvisionNetwork(
            name="swin3d_t", weights="Swin3D_T_Weights.KINETICS400_V1",
            endpoint_shapes=_four_stages("stage", 96, (2, 2, 2, 2), 4), centered_on_patches=True,
            split=_swin_stages, to_feature_map=lambda state: state.permute(0, 4, 1, 2, 3),
        ),
    )
}  # fmt: skip
"""By torchvision's name."""
