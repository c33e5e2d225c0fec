"""The balanced draw of positive and negative examples that Faster R-CNN trains on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sample(
    positive: Tensor, negative: Tensor, count: int, fraction: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Row numbers of at most `count` examples drawn, at most `fraction` of them positive.

    torchvision's BalancedPositiveNegativeSampler draws by the process's random state; here the seed
    alone decides, so that resumed and distributed runs draw the same.

    Args:
        positive, negative: (R,) bool.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(mask: Tensor, most: int) -> Tensor:
        rows = torch.nonzero(mask)[:, 0]
        return rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]

    chosen = draw(positive, int(count * fraction))
    return chosen, draw(negative, count - len(chosen))


class SeededSampler:
    """`sample` as torchvision's RegionProposalNetwork calls its sampler.

    Attributes:
        seeds: one for each picture of the next call.
        share: of the examples asked for in the last call, or of those there are, how many it drew.
    """

    def __init__(self, count: int, fraction: float) -> None:
        self.count, self.fraction = count, fraction
        self.seeds: Sequence[int] = ()
        self.share = 1.0

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per picture (anchors,) masks of positives and negatives; labels are 1, 0 or ignored."""
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        drawn = 0
        for one, seed in zip(labels, self.seeds, strict=True):
            pair = sample(one >= 1, one == 0, self.count, self.fraction, seed)
            for masks, rows in zip(chosen, pair):
                mask = torch.zeros_like(one, dtype=torch.uint8)
                mask[rows] = 1
                masks.append(mask)
                drawn += len(rows)
        self.share = drawn / sum(min(self.count, len(one)) for one in labels)
        return chosen
