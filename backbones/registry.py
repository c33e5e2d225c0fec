"""All networks that a detector can be built on, by name, and what each of them offers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..datasets.errors import InputError, choose_from
from .classifier import PretrainedModel
from .family import VARIANTS
from .grid import EndpointShape, FeatureGrid
from .inception import build_trunk
from .layers import Size3
from .torchvision_video import TORCHVISION_NETWORKS, build_torchvision_trunk


class Backbone(Protocol):
    """A network from clips to feature maps, a `torch.nn.Module`.

    Attributes:
        name: as in `BACKBONES`, with its choice in brackets if it has one.
        width_multiplier: of the number of channels.
        channels_in: of the clips: 3 for RGB, 2 for optical flow.
        layout: plain JSON that `build_backbone` needs, besides name, width and channels, to build a
            network for the same weights; empty where there is one layout only.
        endpoint_shapes: of all endpoints of the network, in order; those behind `last`, too.
        last: the last endpoint that is computed.
        out_channels: channels of `last`.
        blocks_fit_rois: whether the blocks that `truncate` returns, applied to features pooled in
            boxes, (R, C, T', S, S), give (R, C', T'', S', S'): the detector's head "mixed".
    """

    name: str
    width_multiplier: float
    channels_in: int
    layout: Mapping[str, Any]
    endpoint_shapes: Mapping[str, EndpointShape]
    last: str
    out_channels: int
    blocks_fit_rois: bool

    # Of torch.nn.Module, which is no protocol.
    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def state_dict(self, *args: Any, **kwargs: Any) -> Any: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...

    def __call__(self, clips: Tensor) -> Tensor:
        """(N, C, T, H, W) normalized clips → (N, C', T', H', W'), the feature map of `last`."""

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The feature maps of several endpoints from one pass, by name.

        Args:
            clips: (N, C, T, H, W), normalized as the weights need it.
            names: endpoints up to `last`.

        Returns:
            Feature maps (N, C', T', H', W').

        Raises:
            ValueError: an endpoint that is not computed.
        """

    def grid(self, endpoint: str, size: Size3) -> FeatureGrid:
        """Where the cells of an endpoint up to `last` lie in clips of `size` (T, H, W)."""

    def truncate(self, last: str) -> nn.Sequential:
        """Removes the blocks behind the endpoint `last` and returns them."""

    def freeze(self, last: str) -> None:
        """Excludes the stages up to `last`, and the statistics of their norms, from training.

        Raises:
            ValueError: a stage that the network does not have.
        """

    def load_pretrained(self, weights: str) -> PretrainedModel:
        """A whole network of this name with pretrained weights.

        Args:
            weights: a name that the network knows, such as "kinetics400", or a file's path.

        Raises:
            InputError: an unknown name; a file that is missing, damaged or of another network.
        """


BACKBONES: dict[str, Callable[..., Backbone]] = {
    **dict.fromkeys(VARIANTS, build_trunk),
    **dict.fromkeys(TORCHVISION_NETWORKS, build_torchvision_trunk),
}
"""Networks by name, without what stands in brackets. Each is a function that is called with all
parameters of `build_backbone`, by keyword; to add one, add its line here."""


def build_backbone(
    name: str,
    *,
    width_multiplier: float = 1.0,
    channels_in: int = 3,
    layout: Mapping[str, Any] | None = None,
) -> Backbone:
    """A whole network with new weights.

    Args:
        name: of `BACKBONES`; some take a choice in brackets, as in top-heavy-i3d(Mixed_3c).
        width_multiplier: of the number of channels.
        channels_in: of the clips: 3 for RGB, 2 for optical flow.
        layout: fields of `Backbone.layout` that differ from the network's own.

    Raises:
        InputError: an unknown name, or what the network does not offer.
        TypeError, ValueError: `layout` has unknown fields, or values out of range.
    """
    build = BACKBONES.get(name.split("(")[0])
    if build is None:
        raise InputError(f"--backbone {name}: unknown network; {choose_from(name, BACKBONES)}")
    return build(
        name, width_multiplier=width_multiplier, channels_in=channels_in,
        layout={} if layout is None else layout,
    )  # fmt: skip


def load_backbone(name: str, weights: str, *, channels_in: int = 3) -> PretrainedModel:
    """A whole network with pretrained weights; see `Backbone.load_pretrained`."""
    with torch.device("meta"):  # built only to find the right loader, it needs no memory
        network = build_backbone(name, channels_in=channels_in)
    return network.load_pretrained(weights)


@cache
def backbone_endpoint_shapes(name: str) -> Mapping[str, EndpointShape]:
    """`Backbone.endpoint_shapes` of a network of `BACKBONES`, without memory for its weights."""
    with torch.device("meta"):
        return build_backbone(name).endpoint_shapes
