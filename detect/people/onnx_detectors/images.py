"""Frames as the input of a detector: resized, padded and normalized as in its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

PADDING = 114  # gray value of the borders of the YOLO family's training images
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in an image: a point of the frame times `scale` plus `offset`.

    Attributes:
        scale: (2,) along x and y.
        offset: (2,) x and y in pixels of the image.
    """

    scale: np.ndarray
    offset: np.ndarray

    def to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) x1 y1 x2 y2 of the image in pixels of the frame."""
        return (boxes - np.tile(self.offset, 2)) / np.tile(self.scale, 2)


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """How a family makes its input of a frame.

    Attributes:
        fit: "corner" and "center" keep the aspect ratio, with gray borders; "stretch" does not;
            "smooth" does neither, and averages pixels where it shrinks, as PIL does.
        bgr: the order of the colors.
        scale: that bytes are multiplied by, before `mean` and `std`.
        mean, std: (3,) of the normalization.
    """

    fit: Literal["corner", "center", "stretch", "smooth"]
    bgr: bool = False
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0, 0, 0)
    std: tuple[float, float, float] = (1, 1, 1)

    def prepare(self, frame: np.ndarray, size: Size) -> tuple[np.ndarray, Placement]:
        """The input of one frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            size: (height, width) of the input.

        Returns:
            (1, 3, height, width) float32, and where the frame lies in it.
        """
        if self.fit in ("stretch", "smooth"):
            image, placement = stretch(frame, size, smooth=self.fit == "smooth")
        else:
            image, placement = letterbox(frame, size, centered=self.fit == "center")
        image = image[:, :, ::-1] if self.bgr else image
        if self.scale != 1:
            image = image * np.float32(self.scale)
        if self.std != (1, 1, 1):
            image = (image - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32), placement


def letterbox(
    frame: np.ndarray, size: Size, *, centered: bool = False
) -> tuple[np.ndarray, Placement]:
    """The frame at the largest scale that fits, in a gray image.

    In the top left corner, as YOLOX does (data/data_augment.py `preproc`), or in the middle, as
    ultralytics does (data/augment.py `LetterBox`).

    Args:
        frame: (H, W, 3) uint8.
        size: (height, width) of the result.
        centered: in the middle.

    Returns:
        The (height, width, 3) float32 image, 0 to 255, and where the frame lies in it. The scales
        along x and y differ a little because the resized frame has whole pixels.
    """
    import cv2

    ratio = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    sides = (side * ratio for side in (frame.shape[1], frame.shape[0]))
    width, height = (max(1, round(side) if centered else int(side + 1e-9)) for side in sides)
    # ultralytics rounds half a pixel of border down.
    left, top = ((size[1] - width) // 2, (size[0] - height) // 2) if centered else (0, 0)
    image = np.full((*size, 3), PADDING, np.float32)
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    image[top : top + height, left : left + width] = resized
    scale = np.array([width / frame.shape[1], height / frame.shape[0]])
    return image, Placement(scale, np.array([left, top], np.float64))


def stretch(frame: np.ndarray, size: Size, *, smooth: bool = False) -> tuple[np.ndarray, Placement]:
    """The frame resized to `size` whatever its aspect ratio.

    Args:
        frame: (H, W, 3) uint8.
        size: (height, width) of the result.
        smooth: average the pixels where it shrinks.
    """
    if smooth:
        from PIL import Image

        image = Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR)
        resized = np.asarray(image)
    else:
        import cv2

        resized = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)
    scale = np.array([size[1] / frame.shape[1], size[0] / frame.shape[0]])
    return resized.astype(np.float32), Placement(scale, np.zeros(2))
