"""Optical flow as two more uint8 channels of a picture, beside red, green and blue.

The flow of frame t points from frame t to frame t + 1: x to the right, y down, in pixels of the
size that it was computed at, see `flow_size`. The last frame repeats the one before; a single frame
has none, that is 0. Pictures with flow are (H, W, 5), RGB first.

In uint8 a component is cut at 20 pixels and stored as 128 + 127 / 20 of it, rounded: 128 is exactly
0, 1 and 255 are -20 and 20, 0 does not occur, a step is 0.16 pixels, and 256 - v is exactly the
opposite. (Simonyan & Zisserman 2014, "Two-stream convolutional networks", section 5, and TSN, Wang
et al. 2016, cut at 20 pixels, too; their 8 bits have no exact 0.) Flow has these values whether it
was computed now or comes from a file, and keeps them when the field is resized.
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
"""Pixels a frame at which each component is cut."""
FLOW_ZERO, FLOW_SCALE = 128, 127
STREAM_CHANNELS: dict[Streams, slice] = {
    "rgb": slice(0, 3),
    "flow": slice(3, 5),
    "both": slice(0, 5),
}
"""Of a picture with flow, the channels that each choice of streams takes."""
_SHORT_SIDE = 256


def flow_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that flow is computed at: the video's own, or short side 256 at most, as of
    I3D's and TSN's videos."""
    factor = min(1.0, _SHORT_SIDE / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def compute_flow(before: np.ndarray, after: np.ndarray, method: FlowMethod = "tvl1") -> np.ndarray:
    """The flow from one picture to another.

    Args:
        before, after: (H, W, 3) uint8 RGB.
        method: "tvl1" (Zach et al. 2007, with OpenCV's defaults, as the two-stream papers) or "dis"
            (Kroeger et al. 2016, OpenCV's preset "medium"), far faster.

    Returns:
        (h, w, 2) float32, x and y in pixels, of the size `flow_size`; not cut.

    Raises:
        InputError: an unknown method; OpenCV has no TV-L1; pictures of two sizes, or too small.
    """
    return make_estimator(method)(_grey(before), _grey(after))


def make_estimator(method: FlowMethod) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from two (h, w) uint8 grey pictures to their (h, w, 2) float32 flow in pixels.

    What it returns does not depend on earlier calls, nor on OpenCV's number of threads.

    Raises:
        InputError: see `flow`; so does the function.
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


def _grey(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB → (h, w) uint8 of the size that flow is computed at."""
    import cv2

    height, width = flow_size(*picture.shape[:2])
    if (height, width) != picture.shape[:2]:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def encode_flow(field: np.ndarray) -> np.ndarray:
    """Flow in pixels, float, as uint8; see above."""
    return (
        np.rint(
            np.clip(field, -MAX_DISPLACEMENT, MAX_DISPLACEMENT) * (FLOW_SCALE / MAX_DISPLACEMENT)
        )
        + FLOW_ZERO
    ).astype(np.uint8)


def decode_flow(field: np.ndarray) -> np.ndarray:
    """Flow in uint8 as pixels, float32."""
    return (field.astype(np.float32) - FLOW_ZERO) * np.float32(MAX_DISPLACEMENT / FLOW_SCALE)


def mirror(field: np.ndarray) -> np.ndarray:
    """(..., W, 2) uint8 flow of the mirrored pictures: places and x-components change sides."""
    mirrored = field[..., ::-1, :].copy()
    np.negative(mirrored[..., 0], out=mirrored[..., 0])  # modulo 256
    return mirrored


def iter_flow(
    pictures: Iterable[np.ndarray], method: FlowMethod = "tvl1", threads: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each of a video's pictures with its flow, in constant memory.

    Args:
        pictures: (H, W, 3) uint8 RGB, in a row.
        method: see `flow`.
        threads: so many pictures are looked at side by side, and come so much later; 0 takes one
            for each core. (On 340x256, TV-L1 takes a second of one core for a picture in which all
            moves, a tenth of one in which little does.)

    Yields:
        the picture, and (h, w, 2) uint8 of the size `flow_size`.

    Raises:
        InputError: see `flow`.
    """
    threads = threads or os.cpu_count() or 1
    idle: SimpleQueue[Callable[[np.ndarray, np.ndarray], np.ndarray]] = SimpleQueue()
    for _ in range(threads):
        idle.put(make_estimator(method))

    def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        estimate = idle.get()
        try:
            return encode_flow(estimate(before, after))
        finally:
            idle.put(estimate)

    waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()
    last: tuple[np.ndarray, np.ndarray] | None = None  # in colour and in grey
    field: np.ndarray | None = None
    with ThreadPoolExecutor(threads) as pool:
        for picture in pictures:
            grey = _grey(picture)
            if last is not None:
                waiting.append((last[0], pool.submit(between, last[1], grey)))
            last = picture, grey
            if len(waiting) == threads:
                before, result = waiting.popleft()
                yield before, (field := result.result())
        for before, result in waiting:
            yield before, (field := result.result())
    if last is not None:
        picture, grey = last
        yield picture, np.full((*grey.shape, 2), FLOW_ZERO, np.uint8) if field is None else field


def append_flow(
    pictures: Iterable[np.ndarray], method: FlowMethod = "tvl1", threads: int = 1
) -> Iterator[np.ndarray]:
    """As `iter_flow`, each picture and its flow as one (H, W, 5) uint8."""
    for picture, field in iter_flow(pictures, method, threads):
        yield stack_flow(picture, field)


def append_missing_flow(
    pictures: Iterable[np.ndarray], method: FlowMethod = "tvl1"
) -> Iterator[np.ndarray]:
    """As `append_flow`, but pictures that have flow already, (H, W, 5), stay as they are."""
    remaining = iter(pictures)
    first = next(remaining, None)
    if first is None:
        return
    pictures = chain([first], remaining)
    yield from pictures if first.shape[2] == 5 else append_flow(pictures, method, threads=0)


def stack_flow(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB and (h, w, 2) flow as one (H, W, 5), all uint8; the field is stretched."""
    import cv2

    height, width = picture.shape[:2]
    if field.shape[:2] != (height, width):
        field = cv2.resize(field, (width, height))
    return np.concatenate([picture, field], axis=2)
