"""Optical flow as colors: the hue is the direction, the saturation is the speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..video.media import probe_video, read_timed_frames
from ..video.writer import open_video_writer
from . import FlowMethod
from .cache import append_cached_flow
from .estimate import MAX_DISPLACEMENT, decode_flow

_WHEEL_SIDE = 0.2  # of the frame's short side


def flow_to_rgb(flow: np.ndarray) -> np.ndarray:
    """A color for each flow vector.

    White is still; red points right and, clockwise, yellow-green down, cyan left, violet up. The
    saturation is the square root of the speed relative to `MAX_DISPLACEMENT`, so that slow motion
    is visible beside fast motion, and a color means the same in every frame.

    Args:
        flow: (h, w, 2) float, x and y in pixels.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    import cv2

    x, y = (np.ascontiguousarray(flow[..., axis], np.float32) for axis in (0, 1))
    speed, degrees = cv2.cartToPolar(x, y, angleInDegrees=True)
    saturation = np.sqrt(np.minimum(speed / np.float32(MAX_DISPLACEMENT), 1))
    hsv = cv2.merge([degrees, saturation, np.ones_like(speed)])
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def color_wheel(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A legend: the colors of all vectors up to `MAX_DISPLACEMENT`.

    Returns:
        (side, side, 3) uint8 RGB, and (side, side) bool, the disc of valid pixels.
    """
    position = (np.arange(side) + 0.5) / side * 2 - 1
    flow = np.stack(np.meshgrid(position, position), axis=2) * MAX_DISPLACEMENT
    return flow_to_rgb(flow), np.hypot(flow[..., 0], flow[..., 1]) <= MAX_DISPLACEMENT


def draw_flow(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Draws each frame beside its flow, with the color wheel in the corner.

    Args:
        frames: (H, W, 5) uint8, RGB and flow.

    Yields:
        (H, 2 · W, 3) uint8 RGB.
    """
    legend: tuple[np.ndarray, np.ndarray] | None = None
    for frame in frames:
        drawn = flow_to_rgb(decode_flow(frame[..., 3:]))
        if legend is None:
            legend = color_wheel(max(8, round(_WHEEL_SIDE * min(frame.shape[:2]))))
        wheel, disc = legend
        corner = drawn[-len(wheel) :, -len(wheel) :]
        height, width = corner.shape[:2]
        inside = disc[:height, :width]
        corner[inside] = wheel[:height, :width][inside]
        yield np.concatenate([frame[..., :3], drawn], axis=1)


def draw_flow_video(media: Path, cache: Path, path: Path, method: FlowMethod) -> None:
    """Writes `draw_flow` of a video as an MP4, whole or not at all; shows a progress bar.

    Args:
        media: a video file, or a folder of numbered frames.
        cache: its flow, as `write_cache` writes it.
        path: the file to write.
        method: the method of the cache.

    Raises:
        InputError: the video cannot be read, the cache does not fit, the MP4 cannot be written.
    """
    from tqdm import tqdm

    info = probe_video(media)
    times: deque[float] = deque()  # of the frames that were read and not yet drawn

    def frames() -> Iterator[np.ndarray]:
        for time, frame in read_timed_frames(media):
            times.append(time)
            yield frame

    drawn = draw_flow(append_cached_flow(frames(), media, method, cache))
    bar = tqdm(drawn, total=info.num_frames, desc=path.name, unit=" frames", delay=1, leave=False)
    with open_video_writer(path, info.shown_fps, pixel_aspect=info.pixel_aspect) as writer:
        for frame in bar:
            writer.write(frame, times.popleft())
