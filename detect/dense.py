"""A trained detector on every frame of a video, in one pass and constant memory.

`shared`: long clips that overlap go through the trunk once, and every key frame pools its
neighbourhood from the shared feature map. `per_clip`: the published way, a clip of its own for
every key frame, which computes each frame as often as a clip has frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..backbones.inception import Trunk
from ..datasets.augmentation import resize
from ..datasets.flow import CHANNELS, ensure_flow
from ..datasets.read_ahead import read_ahead
from .detector import Detector
from .detector_settings import DetectorSettings
from .fusion import ScoreFusion
from .onnx_detector import OnnxDetector
from .proposals import Proposals

Array = np.ndarray
Item = TypeVar("Item")
Mode = Literal["shared", "per_clip"]
Detects = Detector | ScoreFusion | OnnxDetector
"""All that finds actions on the key frames of a piece."""

CORE = 64
"""Key frames of a shared clip. With its context it has 1.4 times as many frames."""
_STRIDE = 4  # the largest stride in time before Mixed_5
_MARGIN = 4  # frames beyond a key frame's own context that a shared clip sees
_KEYS_AT_ONCE = 32  # key frames whose proposals are scored at once
_CLIPS_AT_ONCE = 4  # of per_clip
_PEOPLE_AT_ONCE = 8  # frames that a source of proposals gets together
_FRAMES_AHEAD = 16  # decoded before they are needed


@dataclass(frozen=True)
class Piece:
    """Part of a video that is looked at in one go.

    Attributes:
        clips: (N, T, H, W, 3) uint8 of the trunk's size.
        clip_of: (K,) the clip of each key frame.
        key_frames: (K,) where it stands there, in frames of the clip; between two of them where the
            clip skips frames.
        frames: (K,) the key frames' numbers in the video.
        people: K times (P, 4) person boxes in pixels of the clip, or None where the detector
            proposes itself.
    """

    clips: Tensor
    clip_of: Tensor
    key_frames: Tensor
    frames: Array
    people: list[Tensor] | None


@dataclass(frozen=True)
class FrameBoxes:
    """What was found on some frames of one video, R rows.

    Attributes:
        frame: (R,) int32 number in the video.
        label: (R,) int32, index of the detector's labels.
        score: (R,) float64.
        boxes: (R, 4) float64, x1 y1 x2 y2 as a share of the picture's width and height.
    """

    frame: Array
    label: Array
    score: Array
    boxes: Array


def pieces(
    frames: Iterable[tuple[Array, Array | None]],
    context: int,
    *,
    frame_step: int = 1,
    mode: Mode = "shared",
    every: int = 1,
    core: int = CORE,
) -> Iterator[Piece]:
    """Cuts a video into what the trunk gets.

    Frames before the video's first and behind its last one repeat these.

    Args:
        frames: (H, W, 3) uint8 of the trunk's size, each with the (P, 4) boxes of its people or
            None, one after the other.
        context: frames of the trunk's input around a key frame; the key frame is number
            context // 2 of them.
        frame_step: frames of the video from one of the trunk's input to the next.
        mode: see above.
        every: frames from one key frame to the next.
        core: key frames of a shared clip, or fewer where the video ends.
    """
    unit = _STRIDE * frame_step
    before, after = context // 2 * frame_step, (context - context // 2) * frame_step
    if mode == "shared":
        before, after = _up_to(before + _MARGIN, unit), _up_to(after + _MARGIN, unit)
        run = _up_to(core, unit)
    else:
        run = every * _CLIPS_AT_ONCE
    buffer: list[Array] = []
    people: list[Array | None] = []
    start, count = 0, 0  # the run's first frame; frames that have come

    def has_keys(stop: int) -> bool:
        return -(-start // every) * every < stop

    def cut(stop: int) -> Piece:
        numbers = np.arange(-(-start // every) * every, stop, every)
        if mode == "shared":
            length = before + _up_to(stop - start, unit) + after
            padded = [*buffer, *[buffer[-1]] * (length - len(buffer))]
            clips = [np.stack(padded[:length:frame_step])]
            clip_of, key_frames = np.zeros_like(numbers), (numbers - start + before) / frame_step
        else:
            padded = [*buffer, *[buffer[-1]] * after]
            clips = [
                np.stack(padded[n - start : n - start + before + after : frame_step])
                for n in numbers
            ]
            clip_of, key_frames = np.arange(len(numbers)), np.full(len(numbers), context // 2)
        boxes = [people[n - start] for n in numbers]
        return Piece(
            torch.from_numpy(np.stack(clips)), torch.from_numpy(clip_of),
            torch.from_numpy(key_frames), numbers,
            None if boxes[0] is None else [torch.from_numpy(one).float() for one in boxes],
        )  # fmt: skip

    for frame, boxes in frames:
        if not buffer:
            buffer = [frame] * before
        buffer.append(frame)
        people.append(boxes)
        count += 1
        if count - start == run + after:
            if has_keys(start + run):
                yield cut(start + run)
            del buffer[:run], people[:run]
            start += run
    while start < count:
        stop = min(start + run, count)
        if has_keys(stop):
            yield cut(stop)
        del buffer[: stop - start], people[: stop - start]
        start = stop


def _up_to(frames: int, unit: int) -> int:
    """A multiple of the trunk's stride, so that all shared clips see time in the same phase."""
    return -(-frames // unit) * unit


def clip_length(settings: DetectorSettings, mode: Mode = "shared", core: int = CORE) -> int:
    """Frames of the clips that `pieces` cuts, but for the last one of a shared video."""
    if mode == "per_clip":
        return settings.frames
    step, before = settings.frame_step, settings.frames // 2
    unit = _STRIDE * step
    reach = (before, settings.frames - before)
    context = sum(_up_to(frames * step + _MARGIN, unit) for frames in reach)
    return (context + _up_to(core, unit)) // step


def compile_trunk(detector: Detector, mode: Mode = "shared") -> None:
    """Compiles the detector's trunks for clips of one length; others run as they did.

    So shapes are static, and the last piece of a video compiles nothing anew. Proposals and the
    head have shapes that follow from the data.
    """
    length = clip_length(detector.settings, mode)
    for trunk in (detector.trunk, detector.flow_trunk):
        if trunk is not None:
            trunk.endpoints = _compiled(trunk, length)  # type: ignore[method-assign, assignment]


def _compiled(trunk: Trunk, length: int) -> Callable[[Tensor, Collection[str]], dict[str, Tensor]]:
    plain = trunk.endpoints
    compiled = torch.compile(plain, dynamic=False)

    def endpoints(clips: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return (compiled if clips.shape[2] == length else plain)(clips, names)

    return endpoints


def look(
    detector: Detects,
    piece: Piece,
    *,
    device: str = "cpu",
    half: torch.dtype | None = None,
    threshold: float = 0.01,
) -> FrameBoxes:
    """What the detector finds on the key frames of a piece.

    Args:
        detector: in evaluation mode, on `device`.
        half: compute in torch.bfloat16 or float16 where that is safe.
        threshold: the lowest score kept.
    """
    found = []
    precision = torch.autocast(device.split(":")[0], half) if half else nullcontext()
    with torch.inference_mode(), precision:
        clips, clip_of = piece.clips.to(device), piece.clip_of.to(device)
        key_frames = piece.key_frames.to(device)
        maps = detector.maps(clips)
        for start in range(0, len(piece.frames), _KEYS_AT_ONCE):
            at = slice(start, start + _KEYS_AT_ONCE)
            if piece.people is None:
                proposals, _ = detector.propose(maps, clips, clip_of[at], key_frames[at])
            else:
                proposals = [boxes.to(device) for boxes in piece.people[at]]
            one = detector.find(
                maps, clips.shape[1], proposals, clip_of[at], key_frames[at], threshold
            )
            found.append((piece.frames[at][one.key.cpu().numpy()], one.label, one.score, one.boxes))
    settings = detector.settings
    size = np.tile([settings.width_pixels, settings.height], 2)

    def join(column: int) -> Array:
        return torch.cat([one[column] for one in found]).cpu().numpy()

    return FrameBoxes(
        np.concatenate([one[0] for one in found]).astype(np.int32),
        join(1).astype(np.int32),
        join(2).astype(np.float64),
        join(3).astype(np.float64) / size,
    )


def find_actions(
    detector: Detects,
    frames: Iterable[Array],
    *,
    people: Proposals | None = None,
    mode: Mode = "shared",
    every: int = 1,
    device: str = "cpu",
    half: torch.dtype | None = None,
    threshold: float = 0.01,
) -> Iterator[FrameBoxes]:
    """Runs a detector over a video, a piece after the other, while threads read and cut the next.

    Args:
        detector: in evaluation mode, on `device`.
        frames: (H, W, 3) uint8 RGB of any size, all of the video's, or (H, W, 5) with their flow;
            for a detector on flow it is computed where it is missing.
        people: where people are, for a detector whose proposals are given; of others it takes the
            place.
        mode, every: see `pieces`.
        device, half, threshold: see `look`.
    """
    with pieces_ahead(
        detector.settings, frames, people=people, mode=mode, every=every, device=device
    ) as ahead:
        for piece in ahead:
            yield look(detector, piece, device=device, half=half, threshold=threshold)


@contextmanager
def pieces_ahead(
    settings: DetectorSettings,
    frames: Iterable[Array],
    *,
    people: Proposals | None = None,
    mode: Mode = "shared",
    every: int = 1,
    device: str = "cpu",
    threads: bool = True,
) -> Iterator[Iterator[Piece]]:
    """The pieces of a video, read, looked at for people and cut in three threads.

    They begin with the block, end with it, and keep a few frames and one piece ready. Clips are on
    `device` or on the way there. Without `threads` all is done when a piece is asked for. See
    `find_actions`.
    """
    size = (settings.width_pixels, settings.height)
    channels = CHANNELS[settings.clip_streams]
    if settings.streams != "rgb":
        frames = ensure_flow(frames, settings.flow_method)
    with ExitStack() as stack:

        def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
            return stack.enter_context(read_ahead(items, depth)) if threads else iter(items)

        small: Iterable[tuple[Array, Array | None]]
        if people is None:
            small = ((resize(frame[..., channels], size[1], size[0]), None) for frame in frames)
        else:
            whole = ahead(frames, _FRAMES_AHEAD)
            small = _with_people(whole, size, channels, people, every)
        parts = pieces(
            ahead(small, _FRAMES_AHEAD), settings.frames, frame_step=settings.frame_step,
            mode=mode, every=every,
        )  # fmt: skip
        yield ahead((_sent(piece, device) for piece in parts), 1)


def _sent(piece: Piece, device: str) -> Piece:
    """The piece with its clips on the way to a GPU, from pinned memory: nobody waits for them."""
    if device == "cpu":
        return piece
    with torch.cuda.device(device):  # a thread's own is the first one
        clips = piece.clips.pin_memory().to(device, non_blocking=True)
    return replace(piece, clips=clips)


def _with_people(
    frames: Iterable[Array],
    size: tuple[int, int],
    channels: slice,
    people: Proposals,
    every: int,
) -> Iterator[tuple[Array, Array | None]]:
    """Frames resized, and on key frames the people, in pixels of the new size."""
    batch: list[Array] = []

    def looked_at(first: int) -> Iterator[tuple[Array, Array | None]]:
        found = people(np.stack([frame[..., :3] for frame in batch]), first)
        scale = np.tile(np.array(size) / batch[0].shape[1::-1], 2)
        for frame, boxes in zip(batch, found, strict=True):
            yield resize(frame[..., channels], size[1], size[0]), boxes[:, :4] * scale
        batch.clear()

    # Together only where each is a key frame: a source gets frames in a row.
    together = _PEOPLE_AT_ONCE if every == 1 else 1
    number = -1
    for number, frame in enumerate(frames):
        if number % every:
            yield resize(frame[..., channels], size[1], size[0]), None
            continue
        batch.append(frame)
        if len(batch) == together:
            yield from looked_at(number + 1 - together)
    if batch:
        yield from looked_at(number + 1 - len(batch))


def joined(parts: Sequence[FrameBoxes]) -> FrameBoxes:
    """The rows of several, one after the other."""
    columns = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frame", "label", "score", "boxes")
    ]
    return FrameBoxes(*columns)
