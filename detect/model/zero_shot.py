"""Actions of each person by a network that was trained to classify whole videos only.

The trunk runs once on the whole frames of a clip. Each person's features are pooled from the last
feature map, at every time step in the person's box there, and go through the classifier that was
trained on the mean over the map.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...backbones.classifier import PretrainedModel
from ...datasets.box_coordinates import rescale_boxes
from ...datasets.errors import InputError
from ...datasets.labels import LABEL_MAPS, load_label_map, match_labels, normalize_label
from .roi_align import expand_boxes, roi_align_3d

CONTEXT = 2.0
"""Factor of a box's width and height: the object and the place help to recognize an action. With
ground truth boxes, 12 of 12 clips are classified correctly with 2 and 10 of 12 with 1."""
CONTEXT_CELLS = 4
"""The least width and height of an enlarged box in cells of the feature map, so that small people
have context, too."""


ACTOR_SHARE = 0.45
"""The share of a class's activation (`activation_shares`) at which somebody is as likely to be
the one who does it as not."""
ACTOR_SLOPE = 15.0
"""How fast that probability rises with the share."""
TEMPERATURE = 2.0
"""Logits are divided by it."""


@dataclass(frozen=True)
class LabelGroups:
    """The labels to predict, each the sum of some of the classifier's classes.

    Attributes:
        names: the labels.
        groups: for each label, indices of the classifier's classes.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    def scores(self, logits: np.ndarray, share: np.ndarray | None = None) -> np.ndarray:
        """(..., classes) logits → (..., labels): softmax over all classes in a group, then sums.

        Args:
            logits: of the classes.
            share: (..., classes) factors of the softmax before it is summed.
        """
        used = sorted({index for group in self.groups for index in group})
        exponential = np.exp(logits[..., used] - logits[..., used].max(axis=-1, keepdims=True))
        softmax = exponential / exponential.sum(axis=-1, keepdims=True)
        if share is not None:
            softmax = softmax * share[..., used]
        columns = [np.searchsorted(used, group) for group in self.groups]
        return np.stack([softmax[..., each].sum(axis=-1) for each in columns], axis=-1)


def select_labels(chosen: Sequence[str] | None, classes: Sequence[str]) -> LabelGroups:
    """The labels that --labels asks for.

    Args:
        chosen: names of classes, compared as by `match_labels`; or one of "ucf101-24" and "jhmdb",
            for that data set's classes that correspond to classes of Kinetics-400; None for all
            classes.
        classes: the classifier's, in order.

    Raises:
        InputError: a name that is neither.
    """
    if not chosen:
        return LabelGroups(tuple(classes), tuple((i,) for i in range(len(classes))))
    index_of = {name: index for index, name in enumerate(classes)}
    if len(chosen) == 1 and chosen[0] in LABEL_MAPS:
        groups = load_label_map(chosen[0])
        if missing := sorted({k for names in groups.values() for k in names} - set(index_of)):
            raise InputError(
                f"--labels {chosen[0]}: needs weights trained on Kinetics-400; these weights "
                f"have no class {missing[0]}"
            )
        return LabelGroups(
            tuple(groups), tuple(tuple(index_of[k] for k in names) for names in groups.values())
        )
    codes = match_labels(chosen, classes).tolist()
    for name, code in zip(chosen, codes):
        if code < 0:
            raise InputError(
                f"--labels {name}: unknown class; similar ones are "
                f"{', '.join(similar_labels(name, classes))}. "
                "ucf101-24 and jhmdb select the classes of those data sets, and `actiontubes "
                "detect --list-labels` prints all"
            )
    codes = list(dict.fromkeys(codes))
    return LabelGroups(tuple(classes[code] for code in codes), tuple((code,) for code in codes))


def similar_labels(name: str, classes: Sequence[str]) -> list[str]:
    """Classes that a user may mean: all with the word in them, else those spelled most alike."""
    word = normalize_label(name)
    with_word = [each for each in classes if word and word in normalize_label(each)]
    return with_word or difflib.get_close_matches(name, classes, 5, 0.4) or list(classes[:5])


@dataclass(frozen=True)
class ClipFeatures:
    """The last feature map of one clip.

    Attributes:
        features: (1, C, T', H', W').
        scene: (classes,) logits of the whole frames.
        size: (length, height, width) of the trunk's input in frames and pixels.
        frames: number of frames from the video, without the last one's repetitions.
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
        x = model.normalize(frames.to(device)[None])
        if device != "cpu":
            x = x.to(torch.bfloat16)
        features = model.trunk(x).float()
        assert model.head is not None
        scene = model.head(features)[0].cpu().numpy()
    return ClipFeatures(
        features=features, scene=scene, size=(length, *clip.shape[1:3]), frames=len(clip)
    )


def person_logits(
    model: PretrainedModel, clip: ClipFeatures, boxes: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classifier logits of people in one clip, pooled in their box at every time step.

    Args:
        clip: of `clip_features`.
        boxes: (R, T, 4) x1 y1 x2 y2 in each frame, as fractions of its width and height.
        present: (R, T) bool, whether the person is in that frame.

    Returns:
        (R, classes) logits, the mean over the frames with the person, and (R,) their number.
    """
    _, height, width = clip.size
    grid = model.trunk.grid(model.trunk.last, clip.size)
    mean, count = _step_boxes(model, clip, boxes, present)
    pixels = torch.from_numpy(rescale_boxes(mean, (1, 1), (width, height))).float()
    min_side = CONTEXT_CELLS * grid.stride[1]
    pixels = expand_boxes(pixels, CONTEXT, width, height, min_side).to(clip.features.device)
    assert model.head is not None
    with torch.inference_mode():
        clip_index = torch.zeros(len(boxes), dtype=torch.long, device=pixels.device)
        pooled = roi_align_3d(clip.features, pixels, clip_index, grid).mean((3, 4))
        logits = model.head.fc(pooled.transpose(1, 2)).cpu().numpy()
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    return (logits * share[..., None]).sum(axis=1), count.sum(axis=1)


def _step_boxes(
    model: PretrainedModel, clip: ClipFeatures, boxes: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(R, T', 4) mean boxes at the time steps of the feature map, and (R, T') of how many frames;
    see `person_logits`."""
    steps = clip.features.shape[2]
    grid = model.trunk.grid(model.trunk.last, clip.size)
    frame = np.arange(boxes.shape[1])
    cell = np.clip(np.round((frame - grid.origin[0]) / grid.stride[0]), 0, steps - 1).astype(int)
    member = (cell[:, None] == np.arange(steps)) & present[:, :, None]
    count = member.sum(axis=1)
    mean = np.einsum("rts,rtd->rsd", member, boxes) / np.maximum(count, 1)[..., None]
    return mean, count


def activation_shares(
    model: PretrainedModel, clip: ClipFeatures, boxes: np.ndarray, present: np.ndarray
) -> np.ndarray:
    """How much of what speaks for a class in a clip is where a person is.

    The classifier's logits of each cell of the feature map by itself say where a class is seen
    (class activation maps, Zhou et al. 2016). At each time step 0 is their mean over the map and 1
    their maximum; a person has the value of the cell in their box with the highest.

    Args:
        clip, boxes, present: see `person_logits`.

    Returns:
        (R, classes), the mean over the frames with the person, 1 or less.
    """
    assert model.head is not None
    with torch.inference_mode():
        activation = model.head.fc(clip.features[0].permute(1, 2, 3, 0)).cpu().numpy()
    mean_boxes, count = _step_boxes(model, clip, boxes, present)
    shares = np.zeros((len(boxes), activation.shape[-1]))
    height, width = activation.shape[1:3]
    for step, cells in enumerate(activation):
        mean = cells.mean(axis=(0, 1))
        span = cells.max(axis=(0, 1)) - mean
        is_flat = span < 1e-6
        for row in np.flatnonzero(count[:, step]).tolist():
            x1, y1, x2, y2 = mean_boxes[row, step].tolist()
            inside = cells[_cells(y1, y2, height), _cells(x1, x2, width)].max(axis=(0, 1))
            share = np.where(is_flat, 1, (inside - mean) / np.where(is_flat, 1, span))
            shares[row] += share * count[row, step]
    return shares / np.maximum(count.sum(axis=1), 1)[:, None]


def _cells(low: float, high: float, count: int) -> slice:
    """The cells whose centers are between two fractions of the side, or else the nearest one."""
    first, last = math.ceil(low * count - 0.5), math.floor(high * count - 0.5)
    if first > last:
        first = last = int((low + high) / 2 * count)
    first, last = (min(max(cell, 0), count - 1) for cell in (first, last))
    return slice(first, last + 1)


def score_labels(
    own: np.ndarray,
    scene: np.ndarray,
    share: np.ndarray,
    labels: LabelGroups,
    scene_weight: float,
) -> np.ndarray:
    """The probability of each label for people.

    That somebody in the scene does it, by the softmax of the weighted logits; times that it is this
    person, by where in the frame the class is seen.

    Args:
        own: (R, classes) logits of the people's regions.
        scene: (classes,) logits of the whole frames.
        share: (R, classes) of `activation_shares`.
        labels: to choose from.
        scene_weight: weight of the whole frame's logits against those of the region, 0 to 1.

    Returns:
        (R, labels).
    """
    logits = (1 - scene_weight) * own + scene_weight * scene
    is_theirs = 1 / (1 + np.exp(-ACTOR_SLOPE * (share - ACTOR_SHARE)))
    return labels.scores(logits / TEMPERATURE, is_theirs)
