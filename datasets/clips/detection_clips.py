"""Training clips: a few key frames with their boxes, drawn anew at every position of a run.

Everything about a sample follows from (seed, position), so that a run which is resumed, or spread
over several processes, sees the very same samples; no global random state is read or changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, as_option
from ..flow.estimate import FlowMethod, Streams
from ..tables import Detections
from ..video.resize import shrink
from .augmentation import Augmentation, sample_transform
from .detection_set import DetectionSet, read_of_set

# Cached pictures are at most so many times as large as a clip's, on each side.
_CACHED = 1.5


@dataclass(frozen=True)
class ClipConfig:
    """The shape of a clip.

    Attributes:
        frames: the context of one key frame, which is at `frames // 2` in it.
        height, width: pixels; the whole picture is stretched to them.
        key_frames: how many key frames share a clip.
        key_frame_step: frames of the clip from one to the next.
        margin: frames of the clip before the first key frame's context and after the last one's.
            A network that looks further than the context then sees no end of the clip there, as in
            detection on long clips.
        frame_step: frames of the video from one frame of the clip to the next.
        streams: RGB pictures (C = 3), their flow (C = 2), or both (C = 5); flow is always that to
            the video's next frame.
        flow_method: how flow is computed where no cache lies beside the video.
    """

    frames: int = 20
    height: int = 320
    width: int = 400
    key_frames: int = 1
    key_frame_step: int = 4
    margin: int = 0
    frame_step: int = 1
    streams: Streams = "rgb"
    flow_method: FlowMethod = "tvl1"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "margin" else 1
            if isinstance(value, int) and value < least:
                raise InputError(f"{as_option(name)} {value}: must be {least} or more")

    @property
    def length(self) -> int:
        """Frames of a clip: each key frame has its whole context."""
        return self.frames + (self.key_frames - 1) * self.key_frame_step + 2 * self.margin

    @property
    def places(self) -> list[int]:
        """Where the key frames stand in the clip."""
        first = self.margin + self.frames // 2
        return [first + i * self.key_frame_step for i in range(self.key_frames)]


@dataclass(frozen=True, eq=False)
class DetectionSample:
    """One clip of T frames with K key frames.

    Attributes:
        clip: (T, H, W, C) uint8, RGB or flow or both; see `ClipConfig`.
        key_frames: (K,) int64, positions in the clip.
        boxes: K tensors (G, 4) float32, x1 y1 x2 y2 in the clip's pixels, counted from the
            picture's edge. G differs, and may be 0.
        labels: K tensors (G, classes) float32, 1 for each class of the box.
        name: "<video>:<first frame>", negative where the clip begins before the video.
        seed: 0 to 2**31 - 1, for whatever is drawn at random later for this sample.
        given: K tensors (P, 4) float32, proposals from elsewhere, or None.
    """

    clip: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    name: str
    seed: int
    given: list[Tensor] | None = None


@dataclass(frozen=True, eq=False)
class DetectionBatch:
    """N samples of one shape, with N * K key frames, those of a clip in a row.

    Attributes:
        clips: (N, T, H, W, C) uint8.
        clip_of: (N * K,) int64, the clip of each key frame.
        key_frames: (N * K,) int64, positions in the clip.
        boxes: N * K tensors (G, 4), as of `DetectionSample`.
        labels: N * K tensors (G, classes).
        names: N names, "<video>:<first frame>".
        seeds: N numbers.
        given: N * K tensors (P, 4) of proposals, or None.
    """

    clips: Tensor
    clip_of: Tensor
    key_frames: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    names: list[str]
    seeds: list[int]
    given: list[Tensor] | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DetectionBatch:
        """The batch with all tensors on a device."""
        return replace(
            self,
            clips=self.clips.to(device, non_blocking=non_blocking),
            clip_of=self.clip_of.to(device, non_blocking=non_blocking),
            key_frames=self.key_frames.to(device, non_blocking=non_blocking),
            boxes=[boxes.to(device, non_blocking=non_blocking) for boxes in self.boxes],
            labels=[labels.to(device, non_blocking=non_blocking) for labels in self.labels],
            given=self.given and [one.to(device, non_blocking=non_blocking) for one in self.given],
        )

    def pin_memory(self) -> DetectionBatch:
        """The batch with the clips in page-locked memory, as DataLoader asks for.

        The small tensors stay where they are: locking each costs more than copying it.
        """
        return replace(self, clips=self.clips.pin_memory())


def collate(samples: Sequence[DetectionSample]) -> DetectionBatch:
    """Samples as a batch; for DataLoader's `collate_fn`."""
    counts = torch.tensor([len(sample.key_frames) for sample in samples])
    return DetectionBatch(
        clips=torch.stack([sample.clip for sample in samples]),
        clip_of=torch.arange(len(samples)).repeat_interleave(counts),
        key_frames=torch.cat([sample.key_frames for sample in samples]),
        boxes=[boxes for sample in samples for boxes in sample.boxes],
        labels=[labels for sample in samples for labels in sample.labels],
        names=[sample.name for sample in samples],
        seeds=[sample.seed for sample in samples],
        given=[boxes for sample in samples for boxes in sample.given or ()] or None,
    )


class DetectionClips(Dataset[DetectionSample]):
    """Clips of a video set, at any position from 0 on.

    With `balance` a class is drawn first, as often as the square root of its number of tubes, as a
    compromise between all classes alike and all tubes alike (as Mahajan et al. 2018, "Exploring
    the limits of weakly supervised pretraining", section 2.2); then a tube of it, then a frame of
    that; without it any frame that has boxes. That frame comes at one of the clip's key frames,
    at random. Frames before the video's start or after its end repeat the first or last one.

    Boxes that coincide on a frame are one box of several classes. Boxes are cut at the picture's
    edge, and have at least one pixel of the original video on each side.
    """

    def __init__(
        self,
        video_set: DetectionSet,
        settings: ClipConfig,
        *,
        augmentation: Augmentation | None,
        seed: int,
        balance: bool = True,
        background: float = 0.1,
        cache: bool = False,
        proposals: Detections | None = None,
    ) -> None:
        """
        Args:
            video_set: the videos.
            settings: the shape of the clips.
            augmentation: how clips vary; None stretches each picture to the clip, no more.
            seed: not negative; another one gives other samples.
            balance: whether rare classes are drawn more often than they occur.
            background: the share of clips around any frame of any video, with boxes or without.
            cache: keep every video in memory once decoded, at most 1.5 times as large as the clips
                (each process of a loader for itself).
            proposals: person boxes of these videos in the pixels of the set's boxes, by name; they
                go through the same changes as the ground truth.
        """
        if not 0 <= background <= 1:
            raise InputError(f"--background {background}: must be between 0 and 1")
        if seed < 0:
            raise InputError(f"--seed {seed}: must be 0 or more")
        self._set = video_set
        self._settings = settings
        self._augmentation = augmentation
        self._seed = seed
        self._balance = balance
        self._background = background
        self._given = _by_video(proposals, video_set) if proposals is not None else None
        self._cache: dict[int, np.ndarray] | None = {} if cache else None
        tubes = video_set.tubes
        # A frame of a video as one number; rows in that order.
        self._starts = np.concatenate([[0], np.cumsum(video_set.num_frames)])
        keys = self._starts[tubes.video] + tubes.frame
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._annotated = np.unique(keys)
        self._by_tube = np.argsort(tubes.tube, kind="stable")
        _, first, self._tube_sizes = np.unique(
            tubes.tube[self._by_tube], return_index=True, return_counts=True
        )
        self._tube_starts = first
        label = tubes.label[self._by_tube][first]
        self._tubes_of_label = [np.flatnonzero(label == code) for code in np.unique(label)]
        share = np.sqrt([len(members) for members in self._tubes_of_label])
        self._label_share = share / share.sum()

    def __len__(self) -> int:
        """The number of frames with boxes: a measure of one pass, no limit to positions."""
        return len(self._annotated)

    def __getitem__(self, position: int) -> DetectionSample:
        """The sample at any position from 0 on.

        Raises:
            InputError: the video cannot be read.
        """
        rng = np.random.default_rng((self._seed, position))
        settings, places = self._settings, self._settings.places
        video, frame = self._draw_frame(rng)
        step = settings.frame_step
        first = frame - step * places[rng.integers(len(places))]
        last_frame = int(self._set.num_frames[video]) - 1
        numbers = np.clip(first + step * np.arange(settings.length), 0, last_frame)
        # Each picture is changed once, however often the clip repeats it.
        distinct, place_of = np.unique(numbers, return_inverse=True)
        pictures = self._pictures(video, int(distinct[0]), int(distinct[-1]) + 1)
        pictures = pictures[distinct - distinct[0]]
        change = sample_transform(
            self._augmentation, rng, pictures, settings.height, settings.width
        )
        clip = torch.from_numpy(change.pictures(pictures))[torch.from_numpy(place_of)]
        scale = np.array(pictures.shape[2:0:-1]) / (self._set.width[video], self._set.height[video])
        boxes, labels, given = [], [], []
        for place in places:
            found, classes = self._boxes(video, int(numbers[place]))
            changed, kept = change.boxes(found * np.tile(scale, 2))
            boxes.append(torch.from_numpy(changed[kept].astype(np.float32)))
            labels.append(torch.from_numpy(classes[kept]))
            if self._given is not None:
                frames, people = self._given[video]
                start, stop = np.searchsorted(frames, [numbers[place], numbers[place] + 1])
                changed, kept = change.boxes(people[start:stop] * np.tile(scale, 2))
                given.append(torch.from_numpy(changed[kept].astype(np.float32)))
        return DetectionSample(
            clip=clip,
            key_frames=torch.tensor(places),
            boxes=boxes,
            labels=labels,
            name=f"{self._set.names[video]}:{first}",
            seed=int(rng.integers(2**31)),
            given=given if self._given is not None else None,
        )

    def _draw_frame(self, rng: np.random.Generator) -> tuple[int, int]:
        """Video and frame."""
        if not len(self._keys) or rng.random() < self._background:
            video = int(rng.integers(len(self._set)))
            return video, int(rng.integers(self._set.num_frames[video]))
        if not self._balance:
            key = self._annotated[rng.integers(len(self._annotated))]
            video = int(np.searchsorted(self._starts, key, side="right")) - 1
            return video, int(key - self._starts[video])
        members = self._tubes_of_label[rng.choice(len(self._label_share), p=self._label_share)]
        tube = members[rng.integers(len(members))]
        row = self._by_tube[self._tube_starts[tube] + rng.integers(self._tube_sizes[tube])]
        return int(self._set.tubes.video[row]), int(self._set.tubes.frame[row])

    def _boxes(self, video: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """(G, 4) float64 in the pixels that the set's boxes mean, (G, classes) float32."""
        key = self._starts[video] + frame
        start, stop = np.searchsorted(self._keys, [key, key + 1])
        rows = self._order[start:stop]
        boxes, which = np.unique(self._set.tubes.boxes[rows], axis=0, return_inverse=True)
        labels = np.zeros((len(boxes), len(self._set.labels)), np.float32)
        labels[which.reshape(-1), self._set.tubes.label[rows]] = 1
        size = np.tile([self._set.width[video], self._set.height[video]], 2)
        boxes = np.clip(boxes, 0, size)
        low = np.minimum(boxes[:, :2], size[:2] - 1)
        return np.concatenate([low, np.maximum(boxes[:, 2:], low + 1)], axis=1), labels

    def _pictures(self, video: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, h, w, C) uint8; the last frame again where the file ends too early."""
        if self._cache is None:
            return self._read(video, start, stop)
        if video not in self._cache:
            whole = self._read(video, 0, int(self._set.num_frames[video]))
            limit = [
                round(_CACHED * side) for side in (self._settings.height, self._settings.width)
            ]
            self._cache[video] = _shrunk(whole, *limit)
        return self._cache[video][start:stop]

    def _read(self, video: int, start: int, stop: int) -> np.ndarray:
        streams, method = self._settings.streams, self._settings.flow_method
        return read_of_set(self._set, video, start, stop, streams, method)


def _by_video(table: Detections, video_set: DetectionSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every video of the set the frames, in rising order, and boxes of its proposals."""
    code = {name: number for number, name in enumerate(table.video_names)}
    rows = []
    for name in video_set.names:
        if name not in code:
            raise InputError(
                f"--proposals: the table has no boxes for the video {name} (it has {len(code)} "
                "videos)"
            )
        mine = np.flatnonzero(table.video == code[name])
        mine = mine[np.argsort(table.frame[mine], kind="stable")]
        rows.append((table.frame[mine], table.boxes[mine]))
    return rows


def _shrunk(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pictures no larger than that on either side."""
    size = min(height, pictures.shape[1]), min(width, pictures.shape[2])
    if size == pictures.shape[1:3]:
        return pictures
    return np.stack([shrink(each, *size) for each in pictures])
