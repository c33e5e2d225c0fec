"""What each person does, by a network that has only ever classified whole videos.

The trunk sees the whole picture of a clip once. Each person's features are pooled from the last
feature map, at every time step from the box that the person has there, and go through the
classifier that was trained on the mean over the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...backbones.classifier import PretrainedModel
from ...backbones.grid import feature_grid
from ...datasets.errors import InputError
from ...datasets.labels import LABEL_MAPS, load_label_map
from .roi_align import expand_boxes, roi_align_3d

CONTEXT = 2.0
"""Boxes are enlarged about their centres: actions need the object and the place. With ground truth
boxes, 12 of 12 clips are named right at 2 and 10 of 12 at 1."""
CONTEXT_CELLS = 4
"""And to at least this many cells of the feature map a side, so that small people have a place,
too."""


@dataclass(frozen=True)
class LabelGroups:
    """The classes that are asked for, as groups of the classifier's own.

    Attributes:
        names: of the groups.
        groups: for each, indices of the classifier's classes.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """(..., classes) logits → (..., groups): softmax over the groups' classes, then sums."""
        used = sorted({index for group in self.groups for index in group})
        exponential = np.exp(logits[..., used] - logits[..., used].max(axis=-1, keepdims=True))
        share = exponential / exponential.sum(axis=-1, keepdims=True)
        place = {index: i for i, index in enumerate(used)}
        return np.stack(
            [share[..., [place[index] for index in group]].sum(axis=-1) for group in self.groups],
            axis=-1,
        )


def select_labels(chosen: Sequence[str] | None, classes: Sequence[str]) -> LabelGroups:
    """The groups that --labels names.

    Args:
        chosen: names of classes; or one of "ucf101-24" and "jhmdb", for that data set's classes
            where Kinetics-400 has classes that stand for them; None for all classes.
        classes: the classifier's, in order.

    Raises:
        InputError: a name that is neither; the nearest ones are named.
    """
    if not chosen:
        return LabelGroups(tuple(classes), tuple((i,) for i in range(len(classes))))
    place = {name: index for index, name in enumerate(classes)}
    if len(chosen) == 1 and chosen[0] in LABEL_MAPS:
        groups = load_label_map(chosen[0])
        missing = sorted({k for names in groups.values() for k in names} - set(place))
        if missing:
            raise InputError(
                f"--labels {chosen[0]}: needs weights trained on Kinetics-400; these weights "
                f"have no class {missing[0]}"
            )
        return LabelGroups(
            tuple(groups), tuple(tuple(place[k] for k in names) for names in groups.values())
        )
    for name in chosen:
        if name not in place:
            import difflib

            near = difflib.get_close_matches(name, classes, 5, 0.4) or list(classes[:5])
            raise InputError(
                f"--labels {name}: unknown class; similar ones are {', '.join(near)}. "
                "ucf101-24 and jhmdb select the classes of those data sets"
            )
    names = tuple(dict.fromkeys(chosen))
    return LabelGroups(names, tuple((place[name],) for name in names))


@dataclass(frozen=True)
class ClipFeatures:
    """The last feature map of one clip.

    Attributes:
        features: (1, C, T', H', W').
        scene: (classes,) logits of the whole picture.
        size: (length, height, width) of the trunk's input.
        frames: number of real frames, counted from the clip's first.
    """

    features: Tensor
    scene: np.ndarray
    size: tuple[int, int, int]
    frames: int


def clip_features(
    model: PretrainedModel, clip: np.ndarray, device: str, length: int
) -> ClipFeatures:
    """Runs the trunk over one clip.

    Args:
        clip: (T, H, W, 3) uint8 RGB at the trunk's size, T at most `length`.
        length: frames of a full clip; a shorter one repeats its last frame.
    """
    frames = torch.from_numpy(clip)
    if len(frames) < length:
        frames = torch.cat([frames, frames[-1:].expand(length - len(frames), -1, -1, -1)])
    with torch.inference_mode():
        x = model.normalise(frames.to(device)[None])
        if device != "cpu":
            x = x.to(torch.bfloat16)
        features = model.trunk(x).float()
        assert model.head is not None
        scene = model.head(features)[0].cpu().numpy()
    return ClipFeatures(features, scene, (length, *clip.shape[1:3]), len(clip))


def person_logits(
    model: PretrainedModel, clip: ClipFeatures, boxes: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classifier logits of people in one clip, their box followed from step to step.

    Args:
        clip: of `clip_features`.
        boxes: (R, T, 4) x1 y1 x2 y2 in [0, 1] of the picture, a box for each of the clip's frames.
        present: (R, T) whether the person is there.

    Returns:
        (R, classes) logits, mean over the frames in which the person is there, and (R,) the number
        of those frames.
    """
    steps = clip.features.shape[2]
    _, height, width = clip.size
    grid = feature_grid(model.trunk.variant, model.trunk.last, clip.size)
    frame = np.arange(boxes.shape[1])
    cell = np.clip(np.round((frame - grid.first[0]) / grid.stride[0]), 0, steps - 1).astype(int)
    member = (cell[:, None] == np.arange(steps)) & present[:, :, None]
    count = member.sum(axis=1)
    mean = np.einsum("rts,rtd->rsd", member, boxes) / np.maximum(count, 1)[..., None]
    pixels = torch.from_numpy(mean * [width, height, width, height]).float()
    least = CONTEXT_CELLS * grid.stride[1]
    pixels = expand_boxes(pixels, CONTEXT, width, height, least).to(clip.features.device)
    assert model.head is not None
    with torch.inference_mode():
        clip_of = torch.zeros(len(boxes), dtype=torch.long, device=pixels.device)
        pooled = roi_align_3d(clip.features, pixels, clip_of, grid).mean((3, 4))
        logits = model.head.fc(pooled.transpose(1, 2)).cpu().numpy()
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    return (logits * share[..., None]).sum(axis=1), count.sum(axis=1)
