"""Clips around the actors of a detection set, to train and test classification on.

A sample depends only on (seed, position), as in `detection_clips`.

The window of a clip does not move, so that the actor's movement is visible. It is centered on the
actor's box in the clip's middle frame, and as large as the largest box of the tube requires. All
windows of a tube have one scale, so they are crops, at whole pixels, of one strip: the part of the
video that contains them all, resized once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import InputError
from ..options import at_least, check_option
from .augmentation import ClipTransform
from .classification_clips import ClassificationSample, left_right_labels
from .detection_set import DetectionSet
from .options import ActorClipConfig

TEST_POSITIONS = (0.25, 0.5, 0.75)
"""Positions of the test clips in a tube, from its first box (0) to its last (1)."""


@dataclass(frozen=True, eq=False)
class _Strip:
    """The part of a video that contains all windows of a tube.

    Attributes:
        frames: (R,) of the tube's boxes, ascending.
        corners: (R, 2) x and y of the window around each box, in pixels of the strip.
        size: height and width of the strip.
        box: x1, y1, x2, y2 in the pixels of the boxes; it may extend beyond the frame.
    """

    frames: np.ndarray
    corners: np.ndarray
    size: tuple[int, int]
    box: np.ndarray


class ActorTubes:
    """The tubes of a detection set, from which windows are cut.

    Strips are cached once they are read, up to `memory`; of other tubes, every clip is read anew.

    Args:
        video_set: with T tubes.
        config: how clips are cut.
        memory: for strips, in bytes.

    Attributes:
        labels: the classes.
        video: (T,) int64, of each tube.
        label: (T,) int64, of each tube.
    """

    def __init__(
        self, video_set: DetectionSet, config: ActorClipConfig, *, memory: int = 2 << 30
    ) -> None:
        tubes = video_set.tubes
        if not len(tubes):
            raise InputError(
                f"none of the {len(video_set)} videos has a ground truth box; choose other videos"
            )
        self.labels, self.config = video_set.labels, config
        self._set, self._free_memory = video_set, memory
        order = np.lexsort((tubes.frame, tubes.tube))
        starts = np.flatnonzero(np.diff(tubes.tube[order], prepend=tubes.tube[order[0]] - 1))
        self._rows = np.split(order, starts[1:])
        first = order[starts]
        self.video = tubes.video[first].astype(np.int64)
        self.label = tubes.label[first].astype(np.int64)
        self._size = np.array(config.size[::-1])  # width, height
        self._margin = (self._size * config.jitter).round().astype(np.int64)
        self._strips = [self._strip(tube) for tube in range(len(first))]
        self._cache: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._strips)

    def num_boxes(self, tube: int) -> int:
        """The number of boxes of a tube."""
        return len(self._strips[tube].frames)

    def clip(self, tube: int, box: int, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """The clip whose middle frame is that of a tube's box.

        Frames before the video's start or after its end repeat the first or last one; beyond the
        frame's edge the window is gray, and its flow 0.

        Args:
            tube: from 0.
            box: of the tube, from 0.
            shift: of the window to the right and down, each from -1 to 1, in units of the jitter.

        Returns:
            (frames, height, width, C) uint8.

        Raises:
            InputError: the video cannot be read.
        """
        config, strip = self.config, self._strips[tube]
        offsets = np.arange(config.frames) - config.frames // 2
        numbers = strip.frames[box] + config.frame_step * offsets
        numbers = np.clip(numbers, 0, self._set.num_frames[self.video[tube]] - 1)
        frames = self._strip_frames(tube, int(numbers[0]), int(numbers[-1]) + 1)
        x, y = strip.corners[box] + np.round(np.array(shift) * self._margin).astype(np.int64)
        height, width = config.size
        return frames[numbers - numbers[0], y : y + height, x : x + width]

    def name(self, tube: int, box: int) -> str:
        """ "<video>:<middle frame>"."""
        return f"{self._set.names[self.video[tube]]}:{self._strips[tube].frames[box]}"

    def _strip(self, tube: int) -> _Strip:
        rows, video = self._rows[tube], self.video[tube]
        frame_size = np.array([self._set.width[video], self._set.height[video]])
        boxes = np.clip(self._set.tubes.boxes[rows], 0, np.tile(frame_size, 2)).reshape(-1, 2, 2)
        # A box may have a single pixel, or none inside the frame.
        largest = np.maximum((boxes[:, 1] - boxes[:, 0]).max(axis=0), 1)
        scale = (self._size / (self.config.context * largest)).min()
        corners = np.round(scale * boxes.mean(axis=1) - self._size / 2).astype(np.int64)
        origin = corners.min(axis=0) - self._margin
        size = corners.max(axis=0) + self._size + self._margin - origin
        return _Strip(
            frames=self._set.tubes.frame[rows].astype(np.int64), corners=corners - origin,
            size=(int(size[1]), int(size[0])), box=np.concatenate([origin, origin + size]) / scale,
        )  # fmt: skip

    def _strip_frames(self, tube: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, h, w, C) uint8 of the tube's strip."""
        config, strip, video = self.config, self._strips[tube], self.video[tube]
        before = config.frames // 2 * config.frame_step
        after = (config.frames - 1) * config.frame_step - before
        first = max(0, int(strip.frames[0]) - before)
        last = min(int(self._set.num_frames[video]) - 1, int(strip.frames[-1]) + after)
        if tube not in self._cache:
            channels = 3 if config.stream == "rgb" else 2
            needed = (last + 1 - first) * strip.size[0] * strip.size[1] * channels
            if needed > self._free_memory:
                return self._read(tube, start, stop)
            self._cache[tube] = self._read(tube, first, last + 1)
            self._free_memory -= needed
        return self._cache[tube][start - first : stop - first]

    def _read(self, tube: int, start: int, stop: int) -> np.ndarray:
        video, strip = int(self.video[tube]), self._strips[tube]
        stream, method = self.config.stream, self.config.flow_method
        frames = self._set.read_frames(video, start, stop, stream, method)
        # The media, or their flow, may have another size than the boxes refer to.
        scale = np.array(frames.shape[2:0:-1]) / (self._set.width[video], self._set.height[video])
        box = strip.box * np.tile(scale, 2)
        return window_transform(box, frames.shape[1:3], strip.size).apply_to_frames(frames)


def window_transform(
    window: np.ndarray, frame_size: tuple[int, ...], size: tuple[int, int]
) -> ClipTransform:
    """The transform that crops a window out of frames, gray beyond their edge.

    Args:
        window: (4,) x1, y1, x2, y2 in pixels of the frame, which it overlaps.
        frame_size: height and width.
        size: of the clip, height and width.
    """
    start, stop = window.reshape(2, 2)
    limits, scale = np.array(frame_size[1::-1]), np.array(size[::-1]) / (stop - start)
    crop = np.clip(np.round([start, stop]), 0, limits).astype(int)
    crop[1] = np.maximum(crop[1], np.minimum(crop[0] + 1, limits))
    crop[0] = np.minimum(crop[0], crop[1] - 1)
    place = np.clip(np.round((crop - start) * scale), 0, size[::-1]).astype(int)
    place[1] = np.maximum(place[1], np.minimum(place[0] + 1, size[::-1]))
    place[0] = np.minimum(place[0], place[1] - 1)
    return ClipTransform(tuple(crop.ravel().tolist()), tuple(place.ravel().tolist()), size)


class ActorClips(Dataset[ClassificationSample]):
    """Training clips at any position from 0 on: a random box of a random tube.

    Args:
        tubes: to draw from.
        seed: at least 0; another one gives other samples.
    """

    def __init__(self, tubes: ActorTubes, *, seed: int) -> None:
        check_option("seed", seed, Annotated[int, at_least(0)])
        self._tubes, self._seed = tubes, seed
        self._left_right = left_right_labels(tubes.labels)

    def __getitem__(self, position: int) -> ClassificationSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        tubes, config = self._tubes, self._tubes.config
        rng = np.random.default_rng((self._seed, position))
        tube = int(rng.integers(len(tubes)))
        box = int(rng.integers(tubes.num_boxes(tube)))
        right, down = rng.uniform(-1, 1, 2)
        clip, label = tubes.clip(tube, box, (right, down)), int(tubes.label[tube])
        if rng.random() < config.flip and label not in self._left_right:
            full = (0, 0, config.size[1], config.size[0])
            clip = ClipTransform(full, full, config.size, flip=True).apply_to_frames(clip)
        clip = np.ascontiguousarray(clip)
        seed = int(rng.integers(2**31))
        return ClassificationSample(torch.from_numpy(clip), label, tubes.name(tube, box), seed)


class ActorTestClips(Dataset[ClassificationSample]):
    """Test clips: of each tube those at `TEST_POSITIONS`, neither shifted nor mirrored."""

    def __init__(self, tubes: ActorTubes) -> None:
        self._tubes = tubes

    def __len__(self) -> int:
        return len(TEST_POSITIONS) * len(self._tubes)

    def __getitem__(self, index: int) -> ClassificationSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        tube, position = divmod(index, len(TEST_POSITIONS))
        box = int(TEST_POSITIONS[position] * (self._tubes.num_boxes(tube) - 1))
        clip = np.ascontiguousarray(self._tubes.clip(tube, box))
        label = int(self._tubes.label[tube])
        return ClassificationSample(torch.from_numpy(clip), label, self._tubes.name(tube, box))
