"""The annotated frames of a detection set: drawn at random, and with their boxes in a clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..tables import Detections
from .augmentation import ClipTransform
from .detection_set import DetectionSet
from .options import ClipSampling


class AnnotatedFrames:
    """Draws frames of a detection set, and finds the boxes of each.

    With `sampling.balance` a class is drawn first, with the square root of its number of tubes as
    weight, a compromise between equal classes and equal tubes (Mahajan et al. 2018, "Exploring the
    limits of weakly supervised pretraining", section 2.2); then one of its tubes, then a frame of
    the tube. Without it any frame that has boxes is drawn.

    Boxes that coincide on a frame are one box of several classes. Boxes are clipped at the frame's
    edge, and have at least one pixel of the original video on each side.

    Args:
        video_set: the videos.
        sampling: which frames are drawn.
        proposals: person boxes of these videos by name, in pixels of the set's boxes.

    Raises:
        InputError: `proposals` has no boxes for one of the videos.
    """

    def __init__(
        self, video_set: DetectionSet, sampling: ClipSampling, proposals: Detections | None = None
    ) -> None:
        self._set, self._sampling = video_set, sampling
        self._proposals = _by_video(proposals, video_set) if proposals is not None else None
        tubes = video_set.tubes
        # Each frame of each video has a number of its own; rows are sorted by it.
        self._starts = np.concatenate([[0], np.cumsum(video_set.num_frames)])
        keys = self._starts[tubes.video] + tubes.frame
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._annotated = np.unique(keys)
        self._by_tube = np.argsort(tubes.tube, kind="stable")
        _, self._tube_starts, self._tube_sizes = np.unique(
            tubes.tube[self._by_tube], return_index=True, return_counts=True
        )
        label = tubes.label[self._by_tube][self._tube_starts]
        self._tubes_of_label = [np.flatnonzero(label == code) for code in np.unique(label)]
        share = np.sqrt([len(members) for members in self._tubes_of_label])
        self._label_share = share / share.sum()

    def __len__(self) -> int:
        """The number of frames with boxes."""
        return len(self._annotated)

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """A video and a frame of it."""
        if not len(self._keys) or rng.random() < self._sampling.background:
            if (known := self._set.annotated_frames) is not None and len(known):
                video, frame = known[rng.integers(len(known))].tolist()
                return video, frame
            video = int(rng.integers(len(self._set)))
            return video, int(rng.integers(self._set.num_frames[video]))
        if not self._sampling.balance:
            key = self._annotated[rng.integers(len(self._annotated))]
            video = int(np.searchsorted(self._starts, key, side="right")) - 1
            return video, int(key - self._starts[video])
        members = self._tubes_of_label[rng.choice(len(self._label_share), p=self._label_share)]
        tube = members[rng.integers(len(members))]
        row = self._by_tube[self._tube_starts[tube] + rng.integers(self._tube_sizes[tube])]
        return int(self._set.tubes.video[row]), int(self._set.tubes.frame[row])

    def annotate(
        self,
        video: int,
        numbers: Iterable[int],
        transform: ClipTransform,
        frame_size: tuple[int, int],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """The boxes of K frames of a video, in a clip that it was made into.

        Args:
            video: its row in the set.
            numbers: of the K frames.
            transform: how the clip was made of the video's frames.
            frame_size: (height, width) of the frames that were transformed.

        Returns:
            Boxes, labels and proposals (None without any), as in `DetectionSample`.
        """
        scale = np.array(frame_size[::-1]) / (self._set.width[video], self._set.height[video])
        scale = np.tile(scale, 2)
        boxes, labels, proposals = [], [], []
        for number in numbers:
            truth, classes = self._boxes(video, int(number))
            moved, kept = _transform_boxes(transform, truth * scale)
            boxes.append(moved)
            labels.append(torch.from_numpy(classes[kept]))
            if self._proposals is not None:
                proposal_frames, people = self._proposals[video]
                start, stop = np.searchsorted(proposal_frames, [number, number + 1])
                proposals.append(_transform_boxes(transform, people[start:stop] * scale)[0])
        return boxes, labels, proposals if self._proposals is not None else None

    def _boxes(self, video: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(G, 4) float64 in the pixels of the set's boxes, (G, classes) float32."""
        key = self._starts[video] + frame
        start, stop = np.searchsorted(self._keys, [key, key + 1])
        rows = self._order[start:stop]
        boxes, box_of_row = np.unique(self._set.tubes.boxes[rows], axis=0, return_inverse=True)
        labels = np.zeros((len(boxes), len(self._set.labels)), np.float32)
        labels[box_of_row.reshape(-1), self._set.tubes.label[rows]] = 1
        size = np.tile([self._set.width[video], self._set.height[video]], 2)
        boxes = np.clip(boxes, 0, size)
        low = np.minimum(boxes[:, :2], size[:2] - 1)
        return np.concatenate([low, np.maximum(boxes[:, 2:], low + 1)], axis=1), labels


def _transform_boxes(transform: ClipTransform, boxes: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """The boxes that are left in the clip, (G', 4) float32, and which of all they are, (G,)."""
    moved, kept = transform.apply_to_boxes(boxes)
    return torch.from_numpy(moved[kept].astype(np.float32)), kept


def _by_video(table: Detections, video_set: DetectionSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each video of the set, the frames of its proposals, ascending, and their boxes."""
    code = {name: number for number, name in enumerate(table.video_names)}
    proposals = []
    for name in video_set.names:
        if name not in code:
            raise InputError(
                f"--proposals: the table has no boxes for the video {name} (it has {len(code)} "
                "videos)"
            )
        rows = np.flatnonzero(table.video == code[name])
        rows = rows[np.argsort(table.frame[rows], kind="stable")]
        proposals.append((table.frame[rows], table.boxes[rows]))
    return proposals
