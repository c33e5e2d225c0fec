"""The action head: class scores and a refined box for each proposal.

After the paper's section on detection and AVA (Gu et al. 2018, section 5): features of all time
steps are pooled in the proposal's box, averaged over time and classified, and the box is refined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from .roi_align import Rois
from .roi_features import FeatureMap, RoiFeatures

BOX_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Converts boxes into deltas and back: Fast R-CNN's regression targets with its weights."""


@contextmanager
def _norms_in_evaluation(features: RoiFeatures) -> Iterator[None]:
    """Batch norms use their running statistics: fewer than two boxes have no variance.

    Synchronized batch norms do not change, as other processes have boxes, too.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    norms = [norm for norm in features.modules() if isinstance(norm, kinds) and norm.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


class ActionHead(nn.Module):
    """Class scores and refined boxes of proposals.

    Args:
        features: pools the boxes' features.
        classes: number of classes, without background.
        multi_label: a sigmoid for each class (AVA: several labels a person) instead of one softmax
            over the classes and background (JHMDB, UCF101-24).
        separate_background: a sigmoid for whether the box contains an action at all, from the
            features for scores and for boxes, and a softmax over the classes for which one (as
            YOLO's objectness, Redmon et al. 2016). In a single softmax the many background
            proposals dominate what a network with new weights learns first: on the demo's figures,
            after 100 steps, 71 % of true boxes got their class instead of 30 %.
        per_class_boxes: a refined box for each class instead of one for all.
        dropout: probability of dropping a feature for the scores.
    """

    def __init__(
        self,
        features: RoiFeatures,
        classes: int,
        *,
        multi_label: bool = False,
        separate_background: bool = False,
        per_class_boxes: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = features
        self.classes, self.multi_label = classes, multi_label
        self.separate_background = separate_background
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features.out_channels, classes + (not multi_label))
        self.deltas = nn.Linear(features.box_channels, 4 * (classes if per_class_boxes else 1))
        self.background = nn.Linear(features.box_channels, 1) if separate_background else None
        # As Fast R-CNN: at first refined boxes are the proposals, nearly.
        for layer, std in ((self.scores, 0.01), (self.deltas, 0.001), (self.background, 0.001)):
            if layer is not None:
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[FeatureMap], rois: Rois) -> tuple[Tensor, Tensor]:
        """Logits and box deltas of R proposals.

        Args:
            maps: see `RoiFeatures`; a window that is longer than its map is shortened to it.
            rois: the proposals.

        Returns:
            Logits (R, classes + 1), background first, or (R, classes) with `multi_label`; and box
            deltas (R, 1, 4) or (R, classes, 4), see `BOX_CODER`.
        """
        maps = [each._replace(window=min(each.window, each.features.shape[2])) for each in maps]
        few_boxes = self.training and len(rois.boxes) < 2
        with _norms_in_evaluation(self.features) if few_boxes else nullcontext():
            score_features, box_features = self.features(maps, rois)
        logits = self.scores(self.dropout(score_features)).float()
        if self.background is not None:
            background, classes = logits.split([1, self.classes], dim=1)
            background = background + self.background(box_features).float()
            logits = torch.cat([background, classes], dim=1)
        return logits, self.deltas(box_features).float().unflatten(1, (-1, 4))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(R, classes) from the logits that `forward` returns."""
        if self.multi_label:
            return logits.sigmoid()
        if self.separate_background:
            return logits[:, :1].neg().sigmoid() * logits[:, 1:].softmax(dim=1)
        return logits.softmax(dim=1)[:, 1:]
