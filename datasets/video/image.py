"""Image files, and how large an image or a video's frame may be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np

from ..errors import InputError

MAX_PIXELS = 40_000_000
"""Of a frame: more than 8K video has. A file of some kilobytes may say that it has thousands of
millions, all of which would be taken from memory."""


def read_image(path: Path) -> np.ndarray:
    """Reads an image file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: it is damaged, no image, or has more than `MAX_PIXELS`.
        OSError: the file cannot be opened.
    """
    import cv2
    from PIL import Image

    content = path.read_bytes()
    image = None
    try:
        with Image.open(io.BytesIO(content)) as header:  # reads no pixels
            check_size(*header.size, path)
            header.verify()  # a part of a PNG may say that it has 4 GB, which OpenCV would take
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: has more than {MAX_PIXELS} pixels; scale it down") from error
    except (OSError, ValueError, SyntaxError, LookupError, struct.error, cv2.error) as error:
        if isinstance(error, InputError):
            raise
    if image is None:
        raise InputError(f"{path}: cannot be read as an image; it may be damaged")
    return np.ascontiguousarray(image[..., ::-1])


def check_size(width: int, height: int, path: Path) -> None:
    """Refuses frames of more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: its frames are {width}x{height}, more than {MAX_PIXELS} pixels; scale them "
            "down"
        )
