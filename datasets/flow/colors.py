"""Optical flow as colours: the hue is the direction, the saturation the speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..video.media import read_frames
from ..video.writer import open_video_writer
from . import FlowMethod
from .cache import NO_END, append_cached_flow, frame_count_and_fps
from .estimate import MAX_DISPLACEMENT, decode_flow

_WHEEL = 0.2  # of the picture's shorter side


def flow_to_rgb(field: np.ndarray, largest: float = MAX_DISPLACEMENT) -> np.ndarray:
    """A colour for each vector, on the colour wheel.

    White is still; red points right, and, clockwise, yellow-green down, cyan left, violet up. The
    saturation is the square root of the speed's share of `largest`, so that slow motion is seen
    beside fast one, and a colour means the same in every frame.

    Args:
        field: (h, w, 2) float, x and y in pixels.
        largest: the speed in pixels that has full saturation.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    import cv2

    x, y = (np.ascontiguousarray(field[..., axis], np.float32) for axis in (0, 1))
    speed, degrees = cv2.cartToPolar(x, y, angleInDegrees=True)
    saturation = np.sqrt(np.minimum(speed / np.float32(largest), 1))
    hsv = cv2.merge([degrees, saturation, np.ones_like(speed)])
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def color_wheel(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The colours of all vectors up to the limit, and where they are to be drawn.

    Returns:
        (side, side, 3) uint8 RGB, and (side, side) bool, a disc.
    """
    places = (np.arange(side) + 0.5) / side * 2 - 1
    field = np.stack(np.meshgrid(places, places), axis=2) * MAX_DISPLACEMENT
    return flow_to_rgb(field), np.hypot(field[..., 0], field[..., 1]) <= MAX_DISPLACEMENT


def draw_flow(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Each picture beside its flow, with the colour wheel in the corner.

    Args:
        pictures: (H, W, 5) uint8, RGB and flow.

    Yields:
        (H, 2 · W, 3) uint8 RGB.
    """
    legend: tuple[np.ndarray, np.ndarray] | None = None
    for picture in pictures:
        drawn = flow_to_rgb(decode_flow(picture[..., 3:]))
        if legend is None:
            legend = color_wheel(max(8, round(_WHEEL * min(picture.shape[:2]))))
        disc, shown = legend
        corner = drawn[-len(disc) :, -len(disc) :]
        height, width = corner.shape[:2]
        corner[shown[:height, :width]] = disc[:height, :width][shown[:height, :width]]
        yield np.concatenate([picture[..., :3], drawn], axis=1)


def draw_flow_video(media: Path, cache: Path, path: Path, method: FlowMethod) -> None:
    """Writes `draw_flow` of a whole video as an MP4, whole or not at all; shows a bar meanwhile.

    Args:
        media: a video file, or a folder of frames named from 00001.
        cache: its flow, of `flow_cache.write_cache`.
        path: the file to write.

    Raises:
        InputError: the video cannot be read, the cache does not fit, the MP4 cannot be written.
    """
    from tqdm import tqdm

    length, rate = frame_count_and_fps(media)
    pictures = append_cached_flow(read_frames(media, 0, NO_END), media, method, cache)
    bar = tqdm(
        draw_flow(pictures), total=length, desc=path.name, unit=" frames", delay=1, leave=False
    )
    with open_video_writer(path, rate) as writer:
        for picture in bar:
            writer.write(picture)
