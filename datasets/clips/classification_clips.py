"""Clips with one label each, to train and test classification on.

As in `clips`, everything about a sample follows from (seed, position): no global random state is
read or changed, and a resumed or shared run sees the very same samples.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, as_option
from ..flow.cache import read_frames_with_flow
from ..flow.estimate import STREAM_CHANNELS, FlowMethod
from ..video.media import measure_video, read_frames
from .augmentation import Augmentation, ClipTransform, sample_transform
from .classification_set import ClassificationSet

Reader = Callable[[Path, int, int], Iterator[np.ndarray]]
"""Of a video, a first frame and the one to stop before: (H, W, C) uint8 each."""

# The crop's share of the picture's shorter side: 224 of 256 (paper, section 3).
_SEEN = 224 / 256
# So many videos in a row that cannot be read are no accident.
_MOST_UNREADABLE = 10
# A whole video is held in memory for a test: at 224x224 this is 3 GB.
_LONGEST = 20_000


@dataclass(frozen=True, eq=False)
class ClassificationSample:
    """One clip of T frames.

    Attributes:
        clip: (T, H, W, C) uint8, RGB or flow.
        label: the class, from 0.
        name: tells where it is from, such as "<video>:<first frame>".
        seed: 0 to 2**31 - 1, for whatever is drawn at random later for this sample.
    """

    clip: Tensor
    label: int
    name: str
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ClassificationBatch:
    """N clips of one shape.

    Attributes:
        clips: (N, T, H, W, C) uint8, RGB or flow.
        labels: (N,) int64.
        names, seeds: N each.
    """

    clips: Tensor
    labels: Tensor
    names: list[str]
    seeds: list[int]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClassificationBatch:
        """The batch with all tensors on a device."""
        return replace(
            self,
            clips=self.clips.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> ClassificationBatch:
        """The batch with the clips in page-locked memory, as DataLoader asks for."""
        return replace(self, clips=self.clips.pin_memory())


def collate(samples: Sequence[ClassificationSample]) -> ClassificationBatch:
    """Samples as a batch; for DataLoader's `collate_fn`."""
    return ClassificationBatch(
        torch.stack([sample.clip for sample in samples]),
        torch.tensor([sample.label for sample in samples]),
        [sample.name for sample in samples],
        [sample.seed for sample in samples],
    )


@dataclass(frozen=True)
class CropConfig:
    """How clips are cut out of whole videos for training.

    Attributes:
        frames: in a row, from a random one on; shorter videos are repeated.
        size: pixels a side of the square that is cut at a random place, 7/8 of the picture's
            shorter side (224 of 256, as the paper).
        flip: share of the clips that are mirrored, but none of `left_right_labels`.
        colour: by which share brightness, contrast and saturation may be lower or higher.
    """

    frames: int = 64
    size: int = 224
    flip: float = 0.5
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frames", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"{as_option(name)} {getattr(self, name)}: must be 1 or more")
        self.augmentation()

    def augmentation(self) -> Augmentation:
        """What is drawn beside the square; an error where a share is none."""
        return Augmentation(self.flip, (1.0, 1.0), False, self.colour)


class ClassificationClips(Dataset[ClassificationSample]):
    """Training clips of labelled videos, at any position from 0 on.

    Each video comes once in as many positions as there are videos, in an order drawn anew. In place
    of a video that cannot be read comes the next one of that order, with a warning.

    Args:
        videos: to draw from.
        settings: see there.
        seed: not negative; another one gives other samples.
        read: `read_frames`, or for flow `flow_reader`.
    """

    def __init__(
        self,
        videos: ClassificationSet,
        settings: CropConfig,
        *,
        seed: int,
        read: Reader = read_frames,
    ) -> None:
        if seed < 0:
            raise InputError(f"--seed {seed}: must be 0 or more")
        if not len(videos):
            raise InputError("there is no training video; check --data and --split")
        self._videos, self._settings, self._seed, self._read = videos, settings, seed, read
        self._sided = left_right_labels(videos.labels)
        self._counts: dict[int, int] = {}
        self._unreadable: set[int] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """The number of videos: a measure of one pass, no limit to positions."""
        return len(self._videos)

    def __getitem__(self, position: int) -> ClassificationSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: ten videos in a row cannot be read.
        """
        for place in range(position, position + _MOST_UNREADABLE):
            video = self._video(place)
            try:
                return self._clip(video, np.random.default_rng((self._seed, position)))
            except (InputError, OSError) as error:
                if video not in self._unreadable:
                    self._unreadable.add(video)
                    warnings.warn(f"{error}; using another video instead", stacklevel=2)
                last = error
        raise InputError(
            f"{last}; the {_MOST_UNREADABLE - 1} videos tried before it could not be read either"
        )

    def _video(self, position: int) -> int:
        turn, place = divmod(position, len(self._videos))
        if self._order[0] != turn:
            rng = np.random.default_rng((self._seed, turn, 1))
            self._order = turn, rng.permutation(len(self._videos))
        return int(self._order[1][place])

    def _clip(self, video: int, rng: np.random.Generator) -> ClassificationSample:
        settings, path = self._settings, self._videos.media[video]
        if video not in self._counts:
            self._counts[video] = frame_count(path)
        label = int(self._videos.label[video])
        where, x, y = rng.random(3)
        start = int(where * (max(self._counts[video] - settings.frames, 0) + 1))
        pictures = read_looped(path, start, settings.frames, self._read)
        drawn = sample_transform(
            settings.augmentation(), rng, pictures, settings.size, settings.size
        )
        _, height, width, _ = pictures.shape
        change = replace(
            square_crop(height, width, settings.size, x, y),
            flip=drawn.flip and label not in self._sided,
            colour=drawn.colour,
        )
        return ClassificationSample(
            torch.from_numpy(change.pictures(pictures)), label,
            f"{self._videos.names[video]}:{start}", int(rng.integers(2**31)),
        )  # fmt: skip


class FullVideos(Dataset[ClassificationSample]):
    """All frames of each video, the middle square of 7/8 of the shorter side.

    Of a video that cannot be read it warns, and has no frames.

    Args:
        videos: V of them.
        size: pixels a side of the square.
        frames: a shorter video is repeated up to so many frames.
        read: as of `ClassificationClips`.
    """

    def __init__(
        self,
        videos: ClassificationSet,
        size: int = 224,
        frames: int = 64,
        read: Reader = read_frames,
    ) -> None:
        self._videos, self._size, self._frames, self._read = videos, size, frames, read

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, video: int) -> ClassificationSample:
        name, label = self._videos.names[video], int(self._videos.label[video])
        try:
            pictures = np.concatenate(list(self._squares(self._videos.media[video])))
        except (InputError, OSError) as error:
            warnings.warn(f"{error}; skipping this video", stacklevel=2)
            return ClassificationSample(torch.empty(0, self._size, self._size, 3), label, name)
        count = max(len(pictures), self._frames)
        return ClassificationSample(torch.from_numpy(repeat_frames(pictures, count)), label, name)

    def _squares(self, path: Path) -> Iterator[np.ndarray]:
        """(1, size, size, C) for each frame: of the large ones only one is held."""
        count = 0
        for picture in self._read(path, 0, _LONGEST + 1):
            height, width, _ = picture.shape
            yield square_crop(height, width, self._size).pictures(picture[None])
            count += 1
        if count > _LONGEST:
            raise InputError(
                f"{path}: has more than {_LONGEST} frames, too long for classification; cut "
                "it into clips"
            )
        if not count:
            raise InputError(f"{path}: contains no frames")


def flow_reader(method: FlowMethod) -> Reader:
    """Reads the flow of videos, from the cache beside them or computed now."""
    return partial(_read_flow, method=method)  # which a loader's processes can be given


def _read_flow(path: Path, start: int, stop: int, method: FlowMethod) -> Iterator[np.ndarray]:
    for picture in read_frames_with_flow(path, start, stop, method):
        yield picture[..., STREAM_CHANNELS["flow"]]


def read_looped(path: Path, start: int, count: int, read: Reader = read_frames) -> np.ndarray:
    """`count` frames from `start` on, (count, H, W, C) uint8; repeated where there are fewer.

    Where nothing is left at `start`, which a container that counts wrongly may say, from the
    video's end back.

    Raises:
        InputError: nothing can be read.
    """
    pictures = list(read(path, start, start + count))
    if not pictures and start:
        pictures = list(read(path, 0, start))[-count:]
    if not pictures:
        raise InputError(f"{path}: contains no frames")
    return repeat_frames(np.stack(pictures), count)


def frame_count(path: Path) -> int:
    """The number of frames as the container says, or else by decoding them all."""
    if not path.is_dir():
        from ..video.reader import probe

        info = probe(path)
        if info.num_frames:
            return info.num_frames
    return measure_video(path)[0]


def repeat_frames(pictures: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of the pictures, which are repeated from the first one on."""
    if len(pictures) == count:
        return pictures
    return pictures[np.arange(count) % len(pictures)]


def square_crop(
    height: int, width: int, size: int, x: float = 0.5, y: float = 0.5
) -> ClipTransform:
    """A square out of pictures (height, width), as if their shorter side were resized to 256
    pixels and 224 of them cut out, or as many to `size`.

    Args:
        size: of the clip, pixels a side.
        x, y: where it lies, 0 at the left or top edge, 1 at the right or bottom.
    """
    side = max(1, round(_SEEN * min(height, width)))
    left, top = round(x * (width - side)), round(y * (height - side))
    return ClipTransform((left, top, left + side, top + side), (0, 0, size, size), (size, size))


def left_right_labels(labels: Iterable[str]) -> frozenset[int]:
    """The classes that a mirror makes another class of.

    Those whose name, with left and right exchanged, is another one's, such as Something-Something's
    "Pushing something from left to right".
    """
    exchange = {"left": "right", "right": "left"}
    names = [name.lower() for name in labels]
    known = set(names)

    def other(name: str) -> str:
        return re.sub(r"\b(left|right)\b", lambda word: exchange[word.group()], name)

    return frozenset(i for i, name in enumerate(names) if name != other(name) in known)
