"""Training clips of a detector: a few key frames with their boxes.

A sample depends only on (seed, position), so a run that is resumed, or spread over several
processes, sees the very same samples; no global random state is read or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..options import at_least, check_option
from ..tables import Detections
from ..video.resize import shrink
from .augmentation import ClipTransform, sample_transform
from .detection_set import DetectionSet
from .loader import Batch
from .options import Augmentation, ClipConfig, ClipSampling

# Cached frames are at most this many times as large as a clip's, on each side.
_MAX_CACHED_SCALE = 1.5


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """One clip of T frames with K key frames.

    Attributes:
        clip: (T, H, W, C) uint8, RGB or flow or both; see `ClipConfig`.
        key_frames: (K,) int64, positions in the clip.
        boxes: K tensors (G, 4) float32, x1 y1 x2 y2 in pixels of the clip. G differs, and may be 0.
        labels: K tensors (G, classes) float32, 1 for each class of the box.
        name: "<video>:<first frame>", negative where the clip begins before the video.
        seed: 0 to 2**31 - 1, for whatever is drawn at random later for this sample.
        proposals: K tensors (P, 4) float32, external proposals, or None.
    """

    clip: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    name: str
    seed: int
    proposals: list[Tensor] | None = None


@dataclass(frozen=True, eq=False)
class DetectionBatch(Batch):
    """N samples of one shape, with N * K key frames; those of a clip are consecutive.

    Attributes:
        clip_index: (N * K,) int64, the clip of each key frame.
        key_frames: (N * K,) int64, positions in the clip.
        boxes: N * K tensors (G, 4), see `DetectionSample`.
        labels: N * K tensors (G, classes).
        proposals: N * K tensors (P, 4), or None.
    """

    clip_index: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    proposals: list[Tensor] | None = None


def collate(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Makes a batch of samples; for DataLoader's `collate_fn`."""
    counts = torch.tensor([len(sample.key_frames) for sample in samples])
    return DetectionBatch(
        clips=torch.stack([sample.clip for sample in samples]),
        clip_index=torch.arange(len(samples)).repeat_interleave(counts),
        key_frames=torch.cat([sample.key_frames for sample in samples]),
        boxes=[boxes for sample in samples for boxes in sample.boxes],
        labels=[labels for sample in samples for labels in sample.labels],
        names=[sample.name for sample in samples],
        seeds=[sample.seed for sample in samples],
        proposals=[boxes for sample in samples for boxes in sample.proposals or ()] or None,
    )


class DetectionClips(Dataset[DetectionSample]):
    """Random clips of a detection set, at any position from 0 on.

    With `sampling.balance` a class is drawn first, with the square root of its number of tubes as
    weight, a compromise between equal classes and equal tubes (Mahajan et al. 2018, "Exploring the
    limits of weakly supervised pretraining", section 2.2); then one of its tubes, then a frame of
    the tube. Without it any frame that has boxes is drawn. That frame becomes one of the clip's key
    frames, at random. Frames before the video's start or after its end repeat the first or last.

    Boxes that coincide on a frame are one box of several classes. Boxes are clipped at the frame's
    edge, and have at least one pixel of the original video on each side.

    Args:
        video_set: the videos.
        config: the shape of the clips.
        augmentation: how much clips vary; None only stretches each frame to the clip.
        seed: at least 0; another one gives other samples.
        sampling: which clips are drawn. Videos are cached per process of a loader, at most 1.5
            times as large as the clips.
        proposals: person boxes of these videos by name, in pixels of the set's boxes; they are
            transformed as the ground truth is.
    """

    def __init__(
        self,
        video_set: DetectionSet,
        config: ClipConfig,
        *,
        augmentation: Augmentation | None,
        seed: int,
        sampling: ClipSampling | None = None,
        proposals: Detections | None = None,
    ) -> None:
        check_option("seed", seed, Annotated[int, at_least(0)])
        self._set, self._config, self._augmentation = video_set, config, augmentation
        self._seed, self._sampling = seed, sampling or ClipSampling()
        self._proposals = _by_video(proposals, video_set) if proposals is not None else None
        self._cache: dict[int, np.ndarray] = {}
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
        """The number of frames with boxes: the size of one pass, not a limit to positions."""
        return len(self._annotated)

    def __getitem__(self, position: int) -> DetectionSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        rng = np.random.default_rng((self._seed, position))
        config, positions = self._config, self._config.key_frame_positions
        video, frame = self._draw_frame(rng)
        first = frame - config.frame_step * positions[rng.integers(len(positions))]
        last_frame = int(self._set.num_frames[video]) - 1
        numbers = first + config.frame_step * np.arange(config.length)
        numbers = np.clip(numbers, 0, last_frame)
        # Each frame is transformed once, however often the clip repeats it.
        distinct, index = np.unique(numbers, return_inverse=True)
        frames = self._frames(video, int(distinct[0]), int(distinct[-1]) + 1)
        frames = frames[distinct - distinct[0]]
        transform = sample_transform(self._augmentation, rng, frames, *config.size)
        clip = torch.from_numpy(transform.apply_to_frames(frames))[torch.from_numpy(index)]
        scale = np.array(frames.shape[2:0:-1]) / (self._set.width[video], self._set.height[video])
        scale = np.tile(scale, 2)
        boxes, labels, proposals = [], [], []
        for number in numbers[positions]:
            truth, classes = self._boxes(video, int(number))
            moved, kept = _transform_boxes(transform, truth * scale)
            boxes.append(moved)
            labels.append(torch.from_numpy(classes[kept]))
            if self._proposals is not None:
                proposal_frames, people = self._proposals[video]
                start, stop = np.searchsorted(proposal_frames, [number, number + 1])
                proposals.append(_transform_boxes(transform, people[start:stop] * scale)[0])
        return DetectionSample(
            clip=clip, key_frames=torch.tensor(positions), boxes=boxes, labels=labels,
            name=f"{self._set.names[video]}:{first}", seed=int(rng.integers(2**31)),
            proposals=proposals if self._proposals is not None else None,
        )  # fmt: skip

    def _draw_frame(self, rng: np.random.Generator) -> tuple[int, int]:
        """A video and a frame of it."""
        if not len(self._keys) or rng.random() < self._sampling.background:
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

    def _frames(self, video: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, h, w, C) uint8; the last frame again where the file ends too early."""
        streams, method = self._config.streams, self._config.flow_method
        if not self._sampling.cache:
            return self._set.read_frames(video, start, stop, streams, method)
        if video not in self._cache:
            count = int(self._set.num_frames[video])
            frames = self._set.read_frames(video, 0, count, streams, method)
            limit = [round(_MAX_CACHED_SCALE * side) for side in self._config.size]
            self._cache[video] = _shrink_frames(frames, *limit)
        return self._cache[video][start:stop]


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


def _shrink_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """The frames, at most `height` high and `width` wide."""
    size = min(height, frames.shape[1]), min(width, frames.shape[2])
    if size == frames.shape[1:3]:
        return frames
    return np.stack([shrink(frame, *size) for frame in frames])
