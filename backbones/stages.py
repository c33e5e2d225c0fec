"""A trunk as a sequence of named stages: feature maps, truncation and freezing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.errors import choose_from
from .grid import EndpointShape


class StagedTrunk(nn.Module):
    """What the trunks of this package share; each child module is a stage, named as its endpoint.

    Args:
        endpoint_shapes: of all endpoints of the network, the ones behind `last` included. A stage
            that is not among them, such as a stem, is computed but has no feature map to give.
        stages: the stages by name, in order.
        last: name of the last stage to keep; None keeps all.

    Attributes:
        last: the last endpoint that is computed.
        out_channels: channels of `last`, by torchvision's convention for backbones.
        frozen: names of the stages that `freeze` has excluded from training.
    """

    def __init__(
        self,
        endpoint_shapes: Mapping[str, EndpointShape],
        stages: Mapping[str, nn.Module],
        last: str | None = None,
    ) -> None:
        super().__init__()
        self.endpoint_shapes = endpoint_shapes
        self.frozen: tuple[str, ...] = ()
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.last, self.out_channels = "", 0
        self.truncate(last or list(stages)[-1])

    def stages(self) -> dict[str, nn.Module]:
        """The stages that are left, by name, in order."""
        return dict(self.named_children())

    def forward(self, clips: Tensor) -> Tensor:
        """(N, C, T, H, W) normalized clips → (N, C', T', H', W'), the feature map of `last`."""
        return self.endpoints(clips, (self.last,))[self.last]

    def endpoints(self, clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """The feature maps of several endpoints from one pass; see `registry.Backbone`.

        Raises:
            ValueError: one of `names` is behind `last`, or no endpoint.
        """
        computed = [name for name in self.stages() if name in self.endpoint_shapes]
        if unknown := [name for name in names if name not in computed]:
            raise ValueError(
                f"this trunk does not compute {', '.join(unknown)}; it computes "
                f"{', '.join(computed)}"
            )
        state, stages = self.prepare(clips, names)
        features = {}
        for name, stage in stages.items():
            with torch.set_grad_enabled(self.requires_backward(name)):
                state = stage(state)
            if name in names:
                features[name] = self.to_feature_map(state)
        return features

    def prepare(
        self, clips: Tensor, names: Collection[str]
    ) -> tuple[Tensor, Mapping[str, Callable[[Any], Any]]]:
        """The first stage's input, and the stages, some of which may be computed as one."""
        return clips, self.stages()

    def to_feature_map(self, state: Any) -> Tensor:
        """What a stage passes to the next → (N, C', T', H', W')."""
        return state

    def requires_backward(self, name: str) -> bool:
        """Whether autograd must record a stage; frozen ones keep no intermediate results."""
        return torch.is_grad_enabled() and name not in self.frozen

    def truncate(self, last: str) -> nn.Sequential:
        """Removes the stages behind `last` and returns them: taken out, not copied."""
        names = list(self.stages())
        rest = nn.Sequential()
        for name in names[names.index(last) + 1 :]:
            rest.add_module(name, self.get_submodule(name))
            delattr(self, name)
        self.last, self.out_channels = last, self.endpoint_shapes[last].channels
        return rest

    def freeze(self, last: str) -> None:
        """Excludes the stages up to `last`, and the statistics of their norms, from training.

        Raises:
            ValueError: a stage that this trunk does not have.
        """
        names = list(self.stages())
        if last not in names:
            raise ValueError(f"this trunk has no layer {last}; {choose_from(last, names)}")
        self.frozen = tuple(names[: names.index(last) + 1])
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> StagedTrunk:
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self
