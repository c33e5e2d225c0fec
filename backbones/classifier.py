"""The classification head of the family, and a pretrained trunk with its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Size3

if TYPE_CHECKING:
    from .registry import Backbone


class Classifier(nn.Module):
    """Average pooling, dropout, one linear layer, mean over time and space (I3D, S3D).

    Args:
        channels: channels of the feature map.
        classes: number of classes.
        window: kernel (T, H, W) of the average pooling of stride 1, smaller where the map is; None
            for the mean over the whole map.
        dropout: probability of dropping a feature.
    """

    def __init__(
        self, channels: int, classes: int, window: Size3 | None = (2, 7, 7), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.window = window
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, T, H, W) features → (N, classes) logits."""
        if self.window is None:
            features = features.mean((2, 3, 4), keepdim=True)
        else:
            window = [min(k, size) for k, size in zip(self.window, features.shape[2:], strict=True)]
            features = F.avg_pool3d(features, window, stride=1)
        return self.fc(self.dropout(features.movedim(1, -1))).mean((1, 2, 3))


@dataclass(frozen=True)
class PretrainedModel:
    """A trunk with its weights, its classifier and the normalization of its input.

    Attributes:
        trunk: the network up to its feature map.
        head: the classifier, or None where the weights have none.
        labels: the head's classes in order; empty where they have no names.
        mean, std: of each input channel in [0, 1] (red, green and blue; or x and y of flow); the
            input is (clip / 255 - mean) / std.
    """

    trunk: Backbone
    head: Classifier | None
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalize(self, clips: Tensor) -> Tensor:
        """`normalize` with this model's mean and standard deviation."""
        return normalize(clips, self.mean, self.std)

    def logits(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, C) uint8 clips → (N, classes); the model must have a head."""
        assert self.head is not None
        return self.head(self.trunk(self.normalize(clips)))


def normalize(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, T, H, W, C) uint8 clips → (N, C, T, H, W) float32 input of a trunk.

    The result is a view in channels-last memory. `mean` and `std` are for values in [0, 1].
    """
    offset = torch.tensor(mean, device=clips.device)
    scale = torch.tensor(std, device=clips.device)
    normalized = clips.to(torch.float32).mul_(1 / 255).sub_(offset).div_(scale)
    return normalized.permute(0, 4, 1, 2, 3)
