"""Late fusion: two detectors, such as one on RGB and one on optical flow, look at the same boxes.

The alternative to one detector whose two trunks' feature maps are averaged ("both" of
`DetectorConfig.streams`). The scores are averaged as the two-stream papers do (Simonyan &
Zisserman 2014), each stream trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...datasets.errors import InputError
from .detector import Detector
from .postprocess import KeyFrameDetections, postprocess

_MUST_MATCH = (
    "labels", "frames", "frame_step", "size", "multi_label", "per_class_boxes",
    "flow_method",
)  # fmt: skip


class ScoreFusion(nn.Module):
    """Stands in for a `Detector` in inference, in `dense` and all that is built on it.

    Proposals are those of the first detector, or given; on each, class scores and box refinements
    are the mean of both.

    Args:
        first, second: in evaluation mode.

    Attributes:
        settings: of the first, with the streams of both.
        proposals: of the first.

    Raises:
        InputError: they differ in more than their networks.
    """

    def __init__(self, first: Detector, second: Detector) -> None:
        super().__init__()
        for name in _MUST_MATCH:
            one, other = getattr(first.settings, name), getattr(second.settings, name)
            if one != other:
                raise InputError(
                    f"--fuse: the two detectors differ in {name} ({one} and {other}); both "
                    f"must be trained with the same {name}"
                )
        same = first.settings.streams == second.settings.streams
        streams = first.settings.streams if same else "both"
        self.settings = replace(first.settings, streams=streams)
        self.first, self.second, self.proposals = first, second, first.proposals

    def maps(self, clips: Tensor) -> dict[str, Tensor]:
        """As `Detector.maps`, the names with a 1 or a 2 before them."""
        ours = {f"1{name}": one for name, one in self.first.maps(clips).items()}
        return ours | {f"2{name}": one for name, one in self.second.maps(clips).items()}

    def propose(
        self, maps: dict[str, Tensor], clips: Tensor, clip_of: Tensor, key_frames: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """As `Detector.propose`."""
        return self.first.propose(_of("1", maps), clips, clip_of, key_frames)

    def find(
        self,
        maps: dict[str, Tensor],
        length: int,
        proposals: Sequence[Tensor],
        clip_of: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> KeyFrameDetections:
        """As `Detector.find`."""
        where = length, proposals, clip_of, key_frames
        ours = self.first.score(_of("1", maps), *where)
        theirs = self.second.score(_of("2", maps), *where)
        probabilities, deltas = fuse_scores(ours[:2], theirs[:2])
        size = (self.settings.height, self.settings.width)
        return postprocess(probabilities, deltas, *ours[2:], size, threshold=threshold)


def _of(number: str, maps: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[1:]: one for name, one in maps.items() if name.startswith(number)}


def fuse_scores(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The mean of two detectors' outputs on the same R proposals.

    Args:
        first, second: probabilities (R, classes) and deltas (R, 1, 4) or (R, classes, 4).
    """
    return torch.lerp(first[0], second[0], 0.5), torch.lerp(first[1], second[1], 0.5)
