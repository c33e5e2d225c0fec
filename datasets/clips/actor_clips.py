"""Clips cut out around the actors of a detection set, to train and test classification on.

Everything about a sample follows from (seed, position), as in `clips`.

The window of a clip stands still, so that an actor's movement is in its pixels. It is centred on
the actor's box in the clip's middle frame, and as large as the largest box of the tube asks for.
Since all windows of a tube have one scale, they are cut, by whole pixels, out of one strip: the
part of the video that they all see together, resized once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import InputError, as_option
from ..flow.estimate import FlowMethod
from .augmentation import Augmentation, ClipTransform
from .classification_clips import ClassificationSample, left_right_labels
from .detection_set import DetectionSet, read_of_set

TEST_POSITIONS = (0.25, 0.5, 0.75)
"""Where in a tube, from its first box to its last, the clips to test on stand."""


@dataclass(frozen=True)
class ActorClipConfig:
    """How clips are cut out around actors.

    Attributes:
        frames: of a clip; the middle one is `frames // 2`. With an odd number a clip played
            backwards looks at the very same frames, also where a network takes every other one.
        frame_step: frames of the video from one frame of the clip to the next.
        height, width: pixels of the clip.
        context: how many times as wide and as high as the tube's largest box the window is, at
            least; the wider or the higher of the two decides.
        jitter: by which share of the clip's size its window is moved at most, in training.
        flip: share of the clips that are mirrored in training, but none of `left_right_labels`.
        stream: RGB pictures (C = 3) or their flow (C = 2).
        flow_method: how flow is computed where no cache lies beside a video.
    """

    frames: int = 9
    frame_step: int = 2
    height: int = 80
    width: int = 64
    context: float = 1.25
    jitter: float = 0.08
    flip: float = 0.5
    stream: Literal["rgb", "flow"] = "rgb"
    flow_method: FlowMethod = "tvl1"

    def __post_init__(self) -> None:
        for name in ("frames", "frame_step", "height", "width"):
            if getattr(self, name) < 1:
                option = "--size" if name in ("height", "width") else as_option(name)
                raise InputError(f"{option} {getattr(self, name)}: must be 1 or more")
        if not self.context >= 1:
            raise InputError(
                f"context {self.context}: must be 1 or more, or actors would be cut off"
            )
        if not 0 <= self.jitter <= 1:
            raise InputError(f"jitter {self.jitter}: must be between 0 and 1")
        Augmentation(flip=self.flip)  # an error where it is no share


@dataclass(frozen=True, eq=False)
class _Strip:
    """What all windows of a tube see together.

    Attributes:
        frames: (R,) of the tube's boxes, rising.
        corners: (R, 2) x and y of the window around each box, pixels of the strip.
        size: height and width of the strip.
        seen: x1, y1, x2, y2 in pixels of the boxes; it may reach over the picture's edge.
    """

    frames: np.ndarray
    corners: np.ndarray
    size: tuple[int, int]
    seen: np.ndarray


class ActorTubes:
    """The tubes of a video set, from which windows are cut.

    Strips are kept once they are read, until they fill `memory`; of others what a clip needs is
    read each time.

    Args:
        video_set: with T tubes.
        settings: see there.
        memory: bytes.

    Attributes:
        label: (T,) int64, of each tube.
    """

    def __init__(
        self, video_set: DetectionSet, settings: ActorClipConfig, *, memory: int = 2 << 30
    ) -> None:
        tubes = video_set.tubes
        if not len(tubes):
            raise InputError(
                f"none of the {len(video_set)} videos has a ground truth box; choose other videos"
            )
        self.labels, self.settings = video_set.labels, settings
        self._set, self._left = video_set, memory
        order = np.lexsort((tubes.frame, tubes.tube))
        starts = np.flatnonzero(np.diff(tubes.tube[order], prepend=tubes.tube[order[0]] - 1))
        self._rows = np.split(order, starts[1:])
        first = order[starts]
        self.video = tubes.video[first].astype(np.int64)
        self.label = tubes.label[first].astype(np.int64)
        margin = (np.array([settings.width, settings.height]) * settings.jitter).round()
        self._margin = margin.astype(np.int64)
        self._strips = [self._strip(tube) for tube in range(len(first))]
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._strips)

    def boxes(self, tube: int) -> int:
        """How many boxes a tube has."""
        return len(self._strips[tube].frames)

    def clip(self, tube: int, box: int, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """The clip whose middle frame is that of a tube's box.

        Frames before the video's start or after its end repeat the first or last one; where the
        window reaches over the picture's edge it is grey, and flow 0.

        Args:
            tube: from 0.
            box: of the tube, from 0.
            shift: -1 to 1, right and down, of the jitter.

        Returns:
            (frames, height, width, C) uint8.

        Raises:
            InputError: the video cannot be read.
        """
        settings, strip = self.settings, self._strips[tube]
        places = np.arange(settings.frames) - settings.frames // 2
        numbers = strip.frames[box] + settings.frame_step * places
        numbers = np.clip(numbers, 0, self._set.num_frames[self.video[tube]] - 1)
        pictures = self._pictures(tube, int(numbers[0]), int(numbers[-1]) + 1)
        x, y = strip.corners[box] + np.round(np.array(shift) * self._margin).astype(np.int64)
        window = pictures[:, y : y + settings.height, x : x + settings.width]
        return window[numbers - numbers[0]]

    def name(self, tube: int, box: int) -> str:
        """ "<video>:<middle frame>"."""
        return f"{self._set.names[self.video[tube]]}:{self._strips[tube].frames[box]}"

    def _strip(self, tube: int) -> _Strip:
        settings, rows = self.settings, self._rows[tube]
        video = self.video[tube]
        picture = np.array([self._set.width[video], self._set.height[video]])
        boxes = np.clip(self._set.tubes.boxes[rows], 0, np.tile(picture, 2)).reshape(-1, 2, 2)
        size = np.array([settings.width, settings.height])
        # A box may be a single pixel, or none that is in the picture.
        largest = np.maximum((boxes[:, 1] - boxes[:, 0]).max(axis=0), 1)
        scale = (size / (settings.context * largest)).min()
        corners = np.round(scale * boxes.mean(axis=1) - size / 2).astype(np.int64)
        origin = corners.min(axis=0) - self._margin
        whole = corners.max(axis=0) + size + self._margin - origin
        seen = np.concatenate([origin, origin + whole]) / scale
        frames = self._set.tubes.frame[rows].astype(np.int64)
        return _Strip(frames, corners - origin, (int(whole[1]), int(whole[0])), seen)

    def _pictures(self, tube: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, h, w, C) uint8 of the tube's strip."""
        settings, strip, video = self.settings, self._strips[tube], self.video[tube]
        before = settings.frames // 2 * settings.frame_step
        after = (settings.frames - 1) * settings.frame_step - before
        first = max(0, int(strip.frames[0]) - before)
        last = min(int(self._set.num_frames[video]) - 1, int(strip.frames[-1]) + after)
        if tube not in self._kept:
            channels = 3 if settings.stream == "rgb" else 2
            needed = (last + 1 - first) * strip.size[0] * strip.size[1] * channels
            if needed > self._left:
                return self._read(tube, start, stop)
            self._kept[tube] = self._read(tube, first, last + 1)
            self._left -= needed
        return self._kept[tube][start - first : stop - first]

    def _read(self, tube: int, start: int, stop: int) -> np.ndarray:
        video, strip = int(self.video[tube]), self._strips[tube]
        stream, method = self.settings.stream, self.settings.flow_method
        pictures = read_of_set(self._set, video, start, stop, stream, method)
        # The media, or their flow, may be smaller or larger than the pixels that boxes mean.
        scale = np.array(pictures.shape[2:0:-1]) / (self._set.width[video], self._set.height[video])
        change = window_change(strip.seen * np.tile(scale, 2), pictures.shape[1:3], strip.size)
        return change.pictures(pictures)


def window_change(
    seen: np.ndarray, picture: tuple[int, ...], size: tuple[int, int]
) -> ClipTransform:
    """What makes a window of a picture a clip, with grey where it reaches over the edge.

    Args:
        seen: (4,) x1, y1, x2, y2 of the window in pixels of the picture; they share some.
        picture: its height and width.
        size: of the clip, height and width.
    """
    start, stop = seen.reshape(2, 2)
    limits, scale = np.array(picture[1::-1]), np.array(size[::-1]) / (stop - start)
    cut = np.clip(np.round([start, stop]), 0, limits).astype(int)
    cut[1] = np.maximum(cut[1], np.minimum(cut[0] + 1, limits))
    cut[0] = np.minimum(cut[0], cut[1] - 1)
    place = np.clip(np.round((cut - start) * scale), 0, size[::-1]).astype(int)
    place[1] = np.maximum(place[1], np.minimum(place[0] + 1, size[::-1]))
    place[0] = np.minimum(place[0], place[1] - 1)
    return ClipTransform(tuple(cut.ravel().tolist()), tuple(place.ravel().tolist()), size)


class ActorClips(Dataset[ClassificationSample]):
    """Training clips at any position from 0 on: a random box of a random tube.

    Args:
        tubes: to draw from.
        seed: not negative; another one gives other samples.
    """

    def __init__(self, tubes: ActorTubes, *, seed: int) -> None:
        if seed < 0:
            raise InputError(f"--seed {seed}: must be 0 or more")
        self._tubes, self._seed = tubes, seed
        self._sided = left_right_labels(tubes.labels)

    def __getitem__(self, position: int) -> ClassificationSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        tubes, settings = self._tubes, self._tubes.settings
        rng = np.random.default_rng((self._seed, position))
        tube = int(rng.integers(len(tubes)))
        box = int(rng.integers(tubes.boxes(tube)))
        right, down = rng.uniform(-1, 1, 2)
        clip, label = tubes.clip(tube, box, (right, down)), int(tubes.label[tube])
        flip = bool(rng.random() < settings.flip) and label not in self._sided
        size = settings.height, settings.width
        if flip:
            everything = (0, 0, settings.width, settings.height)
            clip = ClipTransform(everything, everything, size, flip=True).pictures(clip)
        clip = np.ascontiguousarray(clip)
        seed = int(rng.integers(2**31))
        return ClassificationSample(torch.from_numpy(clip), label, tubes.name(tube, box), seed)


class ActorTestClips(Dataset[ClassificationSample]):
    """Clips to test on: of each tube those at `STAGES` of its boxes, neither moved nor mirrored."""

    def __init__(self, tubes: ActorTubes) -> None:
        self._tubes = tubes

    def __len__(self) -> int:
        return len(TEST_POSITIONS) * len(self._tubes)

    def __getitem__(self, position: int) -> ClassificationSample:
        if not 0 <= position < len(self):
            raise IndexError(position)
        tube, stage = divmod(position, len(TEST_POSITIONS))
        box = int(TEST_POSITIONS[stage] * (self._tubes.boxes(tube) - 1))
        clip = np.ascontiguousarray(self._tubes.clip(tube, box))
        label = int(self._tubes.label[tube])
        return ClassificationSample(torch.from_numpy(clip), label, self._tubes.name(tube, box))
