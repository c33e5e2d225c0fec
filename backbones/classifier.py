"""The classification head of the family, and a trunk with its head as it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .inception import Trunk
from .layers import Size3


class Classifier(nn.Module):
    """Average pooling, dropout, one linear layer, mean over places (I3D, S3D).

    Args:
        channels: of the feature map.
        classes: number of classes.
        window: average pooling of stride 1 over (T, H, W), shrunk where the map is smaller; None
            for the mean over the whole map.
        dropout: probability of dropping a feature.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        window: Size3 | None = (2, 7, 7),
        dropout: float = 0.2,
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
    """A trunk with what its weights were trained with.

    Attributes:
        trunk: the convolutions.
        head: the classifier, or None where the weights have none that names actions.
        labels: the head's classes in order; empty where they have no names.
        mean, std: of the trunk's channels in [0, 1] (red, green and blue; or x and y of flow),
            subtracted and divided by before the trunk.
    """

    trunk: Trunk
    head: Classifier | None
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalise(self, frames: Tensor) -> Tensor:
        """`normalize` with this model's mean and standard deviation."""
        return normalize(frames, self.mean, self.std)


def normalize(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, T, H, W, C) uint8 frames → (N, C, T, H, W) float32 clips as a trunk expects them.

    The result is a view in channels-last memory.
    """
    offset = torch.tensor(mean, device=frames.device)
    scale = torch.tensor(std, device=frames.device)
    clips = frames.to(torch.float32).mul_(1 / 255).sub_(offset).div_(scale)
    return clips.permute(0, 4, 1, 2, 3)


def logits_of(model: PretrainedModel, clips: Tensor) -> Tensor:
    """(N, T, H, W, C) uint8 clips → (N, classes)."""
    assert model.head is not None
    return model.head(model.trunk(model.normalise(clips)))
