"""Clips with one label each, to train and test classification on.

As in `detection_clips`, a sample depends only on (seed, position): no global random state is read
or changed, and a resumed or shared run sees the very same samples.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..flow import FlowMethod
from ..flow.cache import read_frames_with_flow
from ..flow.estimate import STREAM_CHANNELS
from ..options import at_least, check_option
from ..video.media import measure_video, read_frames
from ..video.reader import probe
from .augmentation import ClipTransform, sample_transform
from .classification_set import ClassificationSet
from .loader import Batch
from .options import Augmentation, CropConfig

Reader = Callable[[Path, int, int], Iterator[np.ndarray]]
"""Reads frames (H, W, C) uint8 of a video, from a first one to the one before another."""

# The crop's share of the frame's shorter side: 224 of 256 (paper, section 3).
_CROP_SHARE = 224 / 256
# That many consecutive unreadable videos are not an accident.
_MAX_UNREADABLE = 10
# A whole video is kept in memory for a test: at 224x224 this is 3 GB.
_MAX_FRAMES = 20_000


@dataclass(frozen=True, eq=False)
class ClassificationSample:
    """One clip of T frames.

    Attributes:
        clip: (T, H, W, C) uint8, RGB or flow.
        label: the class, from 0.
        name: its origin, such as "<video>:<first frame>".
        seed: 0 to 2**31 - 1, for whatever is drawn at random later for this sample.
    """

    clip: Tensor
    label: int
    name: str
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ClassificationBatch(Batch):
    """N clips of one shape.

    Attributes:
        labels: (N,) int64.
    """

    labels: Tensor


def collate(samples: Sequence[ClassificationSample]) -> ClassificationBatch:
    """Makes a batch of samples; for DataLoader's `collate_fn`."""
    return ClassificationBatch(
        clips=torch.stack([sample.clip for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples]),
        names=[sample.name for sample in samples],
        seeds=[sample.seed for sample in samples],
    )


class ClassificationClips(Dataset[ClassificationSample]):
    """Random training clips of labelled videos, at any position from 0 on.

    Each pass takes every video once, in an order drawn anew. A video that cannot be read is
    replaced by the next one of that order, with a warning.

    Args:
        videos: the training videos.
        config: how clips are cut.
        seed: at least 0; another one gives other samples.
        read: `read_frames`, or for flow `flow_reader(...)`.
    """

    def __init__(
        self,
        videos: ClassificationSet,
        config: CropConfig,
        *,
        seed: int,
        read: Reader = read_frames,
    ) -> None:
        check_option("seed", seed, Annotated[int, at_least(0)])
        if not len(videos):
            raise InputError("there is no training video; check --data and --split")
        self._videos, self._config, self._seed, self._read = videos, config, seed, read
        # Only flip and color are used; the crop is drawn below.
        self._augmentation = Augmentation(
            flip=config.flip, scale=(1.0, 1.0), crop=False, color=config.color
        )
        self._left_right = left_right_labels(videos.labels)
        self._counts: dict[int, int] = {}
        self._unreadable: set[int] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """The number of videos: the size of one pass, not a limit to positions."""
        return len(self._videos)

    def __getitem__(self, position: int) -> ClassificationSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: ten consecutive videos cannot be read.
        """
        for attempt in range(_MAX_UNREADABLE):
            video = self._video(position + attempt)
            try:
                return self._clip(video, np.random.default_rng((self._seed, position)))
            except (InputError, OSError) as error:
                if video not in self._unreadable:
                    self._unreadable.add(video)
                    warnings.warn(f"{error}; using another video instead", stacklevel=2)
                last = error
        raise InputError(
            f"{last}; the {_MAX_UNREADABLE - 1} videos tried before it could not be read either"
        )

    def _video(self, position: int) -> int:
        epoch, index = divmod(position, len(self._videos))
        if self._order[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch, 1))
            self._order = epoch, rng.permutation(len(self._videos))
        return int(self._order[1][index])

    def _clip(self, video: int, rng: np.random.Generator) -> ClassificationSample:
        config, path = self._config, self._videos.media[video]
        if video not in self._counts:
            self._counts[video] = frame_count(path)
        label = int(self._videos.label[video])
        position, x, y = rng.random(3)
        start = int(position * (max(self._counts[video] - config.frames, 0) + 1))
        frames = read_repeated(path, start, config.frames, self._read)
        drawn = sample_transform(self._augmentation, rng, frames, config.size, config.size)
        _, height, width, _ = frames.shape
        transform = replace(
            square_crop(height, width, config.size, x, y),
            flip=drawn.flip and label not in self._left_right,
            color=drawn.color,
        )
        return ClassificationSample(
            clip=torch.from_numpy(transform.apply_to_frames(frames)), label=label,
            name=f"{self._videos.names[video]}:{start}", seed=int(rng.integers(2**31)),
        )  # fmt: skip


class FullVideos(Dataset[ClassificationSample]):
    """All frames of each video, the middle square of 7/8 of the shorter side.

    A video that cannot be read gives a warning, and a sample without frames.

    Args:
        videos: V of them.
        size: side of the square in pixels.
        frames: a shorter video is repeated up to this many frames.
        read: see `ClassificationClips`.
    """

    def __init__(
        self, videos: ClassificationSet, size: int, frames: int, read: Reader = read_frames
    ) -> None:
        self._videos, self._size, self._frames, self._read = videos, size, frames, read

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, video: int) -> ClassificationSample:
        name, label = self._videos.names[video], int(self._videos.label[video])
        try:
            frames = np.concatenate(list(self._squares(self._videos.media[video])))
        except (InputError, OSError) as error:
            warnings.warn(f"{error}; skipping this video", stacklevel=2)
            return ClassificationSample(torch.empty(0, self._size, self._size, 3), label, name)
        count = max(len(frames), self._frames)
        return ClassificationSample(torch.from_numpy(repeat_frames(frames, count)), label, name)

    def _squares(self, path: Path) -> Iterator[np.ndarray]:
        """(1, size, size, C) for each frame; only one full frame is in memory at a time."""
        count = 0
        for frame in self._read(path, 0, _MAX_FRAMES + 1):
            height, width, _ = frame.shape
            yield square_crop(height, width, self._size).apply_to_frames(frame[None])
            count += 1
        if count > _MAX_FRAMES:
            raise InputError(
                f"{path}: has more than {_MAX_FRAMES} frames, too long for classification; cut "
                "it into clips"
            )
        if not count:
            raise InputError(f"{path}: contains no frames")


def flow_reader(method: FlowMethod) -> Reader:
    """Reads the flow of videos, from the cache beside them or computed now."""
    return partial(_read_flow, method=method)  # unlike a closure, it can be sent to a process


def _read_flow(path: Path, start: int, stop: int, method: FlowMethod) -> Iterator[np.ndarray]:
    for frame in read_frames_with_flow(path, start, stop, method):
        yield frame[..., STREAM_CHANNELS["flow"]]


def read_repeated(path: Path, start: int, count: int, read: Reader = read_frames) -> np.ndarray:
    """`count` frames from `start` on, (count, H, W, C) uint8; repeated where there are fewer.

    A container may count too many frames: if there is none at `start`, the last `count` frames of
    the video are taken.

    Raises:
        InputError: nothing can be read.
    """
    frames = list(read(path, start, start + count))
    if not frames and start:
        frames = list(read(path, 0, start))[-count:]
    if not frames:
        raise InputError(f"{path}: contains no frames")
    return repeat_frames(np.stack(frames), count)


def frame_count(path: Path) -> int:
    """The number of frames that the container states, or else that are decoded."""
    stated = None if path.is_dir() else probe(path).num_frames
    return stated or measure_video(path)[0]


def repeat_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """The first `count` frames of a video that is played again and again."""
    if len(frames) == count:
        return frames
    return frames[np.arange(count) % len(frames)]


def square_crop(
    height: int, width: int, size: int, x: float = 0.5, y: float = 0.5
) -> ClipTransform:
    """A square out of frames, as if their shorter side were resized to 256 pixels, 224 of them
    cropped, and the crop resized to `size`.

    Args:
        height, width: of the frames.
        size: side of the clip in pixels.
        x, y: position of the crop, 0 at the left or top edge, 1 at the right or bottom.
    """
    side = max(1, round(_CROP_SHARE * min(height, width)))
    left, top = round(x * (width - side)), round(y * (height - side))
    return ClipTransform((left, top, left + side, top + side), (0, 0, size, size), (size, size))


def left_right_labels(labels: Iterable[str]) -> frozenset[int]:
    """The classes that mirroring turns into another class.

    Their name, with left and right exchanged, is another class's, as in Something-Something's
    "Pushing something from left to right".
    """
    exchange = {"left": "right", "right": "left"}
    names = [name.lower() for name in labels]
    known = set(names)

    def mirrored(name: str) -> str:
        return re.sub(r"\b(left|right)\b", lambda word: exchange[word.group()], name)

    return frozenset(i for i, name in enumerate(names) if name != mirrored(name) in known)
