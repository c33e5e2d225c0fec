"""Shape and position of feature maps: channels, strides, and the input place of each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .layers import Size3


class EndpointShape(NamedTuple):
    """Channels of an endpoint's feature map, and its strides in frames and in pixels."""

    channels: int
    time_stride: int
    space_stride: int


@dataclass(frozen=True)
class FeatureGrid:
    """Where the cells of a feature map lie in the clip, over (T, H, W) in frames and pixels.

    The receptive field of cell i along an axis is centered on `origin` + i · `stride`, where 0 is
    the center of the first frame or pixel.
    """

    origin: tuple[float, float, float]
    stride: Size3
