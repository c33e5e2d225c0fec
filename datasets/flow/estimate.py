"""Optical flow, stored as two more uint8 channels of a frame beside red, green and blue.

The flow of frame t points from frame t to frame t + 1: x to the right, y down, in pixels of the
size that it was computed at, see `flow_size`. The last frame repeats the flow of the frame before;
a single frame has zero flow. Frames with flow are (H, W, 5), RGB first.

As uint8 a component v is clipped at 20 pixels and stored as round(128 + v * 127 / 20): 128 is
exactly 0, 1 and 255 are -20 and 20, a step is 0.16 pixels, and 256 - v is exactly the opposite.
(Simonyan & Zisserman 2014, "Two-stream convolutional networks", section 5, and TSN, Wang et al.
2016, clip at 20 pixels, too; their 8 bits have no exact 0.) Resizing a frame with flow keeps the
values: they remain pixels of the size that the flow was computed at.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..errors import InputError
from . import FlowMethod, Streams

MAX_DISPLACEMENT = 20.0
"""Pixels per frame at which each component is clipped."""
FLOW_ZERO, FLOW_SCALE = 128, 127
STREAM_CHANNELS: dict[Streams, slice] = {
    "rgb": slice(0, 3),
    "flow": slice(3, 5),
    "both": slice(0, 5),
}
"""The channels of a frame with flow that each choice of streams uses."""
_MAX_SHORT_SIDE = 256


def flow_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that flow is computed at: the frame's own, with a short side of at most 256
    pixels (as in I3D and TSN)."""
    factor = min(1.0, _MAX_SHORT_SIDE / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def compute_flow(before: np.ndarray, after: np.ndarray, method: FlowMethod = "tvl1") -> np.ndarray:
    """Computes the flow from one frame to another.

    Args:
        before, after: (H, W, 3) uint8 RGB.
        method: "tvl1" (Zach et al. 2007, with OpenCV's defaults, as the two-stream papers) or "dis"
            (Kroeger et al. 2016, OpenCV's preset "medium"), which is much faster.

    Returns:
        (h, w, 2) float32, x and y in pixels, of the size `flow_size`; not clipped.

    Raises:
        InputError: an unknown method; OpenCV has no TV-L1; frames of different sizes, or too small.
    """
    return make_estimator(method)(_gray(before), _gray(after))


def make_estimator(method: FlowMethod) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Makes a function from two (h, w) uint8 gray frames to their (h, w, 2) float32 flow in pixels.

    Its results depend neither on earlier calls nor on OpenCV's number of threads.

    Raises:
        InputError: see `compute_flow`; the function raises it, too.
    """
    import cv2

    algorithm: Any  # OpenCV's stubs do not know that the third argument of `calc` may be None
    if method == "tvl1":
        if not hasattr(cv2, "optflow"):
            raise InputError(
                "--flow-method tvl1: this OpenCV has no TV-L1; uninstall all opencv packages "
                "and pip install opencv-contrib-python-headless, or use dis"
            )
        algorithm = cv2.optflow.createOptFlow_DualTVL1()
    elif method == "dis":
        algorithm = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    else:
        raise InputError(f"--flow-method {method}: must be tvl1 or dis")

    def estimate(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        if before.shape != after.shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (before, after))
            raise InputError(
                f"frames of {sizes} follow each other; optical flow needs frames of one size"
            )
        try:
            return algorithm.calc(before, after, None)
        except cv2.error as error:
            raise InputError(
                f"--flow-method {method}: fails on frames of "
                f"{before.shape[1]}x{before.shape[0]} ({error.err}); they may be too small"
            ) from error

    return estimate


def _gray(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB → (h, w) uint8 of the size that flow is computed at."""
    import cv2

    height, width = flow_size(*frame.shape[:2])
    if (height, width) != frame.shape[:2]:
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def encode_flow(flow: np.ndarray) -> np.ndarray:
    """Flow in pixels as uint8, see the module."""
    clipped = np.clip(flow, -MAX_DISPLACEMENT, MAX_DISPLACEMENT)
    return (np.rint(clipped * (FLOW_SCALE / MAX_DISPLACEMENT)) + FLOW_ZERO).astype(np.uint8)


def decode_flow(flow: np.ndarray) -> np.ndarray:
    """Flow as uint8 in pixels, float32."""
    return (flow.astype(np.float32) - FLOW_ZERO) * np.float32(MAX_DISPLACEMENT / FLOW_SCALE)


def iter_flow(
    frames: Iterable[np.ndarray], method: FlowMethod = "tvl1", threads: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Computes the flow of each frame of a video, in constant memory.

    Args:
        frames: (H, W, 3) uint8 RGB, consecutive.
        method: see `compute_flow`.
        threads: frames that are computed at the same time, and by which the results are delayed;
            0 is one for each core. (At 340x256, TV-L1 takes one second of a core for a frame in
            which everything moves, and a tenth of that where little does.)

    Yields:
        the frame, and (h, w, 2) uint8 of the size `flow_size`.

    Raises:
        InputError: see `compute_flow`.
    """
    threads = threads or os.cpu_count() or 1
    idle: SimpleQueue[Callable[[np.ndarray, np.ndarray], np.ndarray]] = SimpleQueue()
    for _ in range(threads):
        idle.put(make_estimator(method))

    def estimate_encoded(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        estimate = idle.get()
        try:
            return encode_flow(estimate(before, after))
        finally:
            idle.put(estimate)

    waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
    last: tuple[np.ndarray, np.ndarray] | None = None  # the frame in color and in gray
    flow: np.ndarray | None = None
    with ThreadPoolExecutor(threads) as pool:
        for frame in frames:
            gray = _gray(frame)
            if last is not None:
                waiting.append((last[0], pool.submit(estimate_encoded, last[1], gray)))
            last = frame, gray
            if len(waiting) == threads:
                before, result = waiting.popleft()
                yield before, (flow := result.result())
        for before, result in waiting:
            yield before, (flow := result.result())
    if last is not None:
        frame, gray = last
        yield frame, np.full((*gray.shape, 2), FLOW_ZERO, np.uint8) if flow is None else flow


def append_flow(
    frames: Iterable[np.ndarray], method: FlowMethod = "tvl1", threads: int = 1
) -> Iterator[np.ndarray]:
    """As `iter_flow`, with each frame and its flow as one (H, W, 5) uint8 array."""
    for frame, flow in iter_flow(frames, method, threads):
        yield stack_flow(frame, flow)


def append_missing_flow(
    frames: Iterable[np.ndarray], method: FlowMethod = "tvl1"
) -> Iterator[np.ndarray]:
    """As `append_flow`, but frames that already have flow, (H, W, 5), are left unchanged."""
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        return
    frames = chain([first], remaining)
    yield from frames if first.shape[2] == 5 else append_flow(frames, method, threads=0)


def stack_flow(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB and (h, w, 2) flow as one (H, W, 5), all uint8; the flow is resized."""
    import cv2

    height, width = frame.shape[:2]
    if flow.shape[:2] != (height, width):
        flow = cv2.resize(flow, (width, height))
    return np.concatenate([frame, flow], axis=2)
