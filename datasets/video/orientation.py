"""How a video's frames are turned and mirrored when they are shown."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# A matrix that turns by about a multiple of 90 degrees is meant so; others leave frames as stored.
_TOLERANCE = math.sin(math.radians(0.5))


@dataclass(frozen=True)
class Orientation:
    """What makes a shown frame of a stored one: first the transpose, then the mirroring.

    Attributes:
        transpose: whether rows become columns.
        mirror_x, mirror_y: whether left and right, top and bottom are exchanged.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H, W, C) as stored → (H, W, C), or (W, H, C), as shown."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


_AS_STORED = Orientation()


def frame_orientation(frame: VideoFrame) -> Orientation:
    """The orientation by the display matrix of a decoded frame, as players show it."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return _AS_STORED if data is None else matrix_orientation(struct.unpack("=9i", bytes(data)))


def matrix_orientation(matrix: tuple[int, ...]) -> Orientation:
    """The orientation by a display matrix, ISO/IEC 14496-12: a b u, c d v, x y w.

    A pixel at column p and row q is shown at column a p + c q + x and row b p + d q + y.
    """
    a, b, _, c, d, *_ = matrix
    along, across = math.hypot(a, b), math.hypot(c, d)  # of a step to the right, and down
    if not along or not across:
        return _AS_STORED
    if abs(b) <= _TOLERANCE * along and abs(c) <= _TOLERANCE * across:
        return Orientation(False, a < 0, d < 0)
    if abs(a) <= _TOLERANCE * along and abs(d) <= _TOLERANCE * across:
        return Orientation(True, c < 0, b < 0)
    return _AS_STORED
