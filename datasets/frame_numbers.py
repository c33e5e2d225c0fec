"""Frame numbers: from 0 in memory and in tables, from 1 in the files of other programs.

Names of frame files (00001.jpg) and the files of ACT, COCO and YOWO count frames from 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np

from .video_names import FRAME_EXTENSIONS

Numbers = TypeVar("Numbers", int, np.ndarray)


def from_one_based(number: Numbers) -> Numbers:
    """The frame, counted from 0, that files call `number`."""
    return number - 1


def to_one_based(frame: Numbers) -> Numbers:
    """What files call a frame that is counted from 0."""
    return frame + 1


def from_first_frame(number: Numbers, first_frame: int) -> Numbers:
    """The frame, counted from 0, of a file that calls a video's first frame `first_frame`."""
    return number - first_frame


def frame_name(frame: int) -> str:
    """The name of a frame's file without its extension: 00001 for frame 0."""
    return f"{to_one_based(frame):05d}"


def frame_of_file(path: Path) -> int:
    """The frame, from 0, that a file named 00001.jpg or 00001.pkl belongs to.

    Raises:
        ValueError: the name is not a number.
    """
    return from_one_based(int(path.stem))


def is_numbered_frame(path: Path) -> bool:
    """Whether a file is named as an image of a frame: 00001.png, 00001.jpg or 00001.jpeg."""
    return path.suffix in FRAME_EXTENSIONS and path.stem.isdigit()


def find_frame_file(folder: Path, frame: int) -> Path | None:
    """The image of a frame, counted from 0, in a folder of numbered frames; None if missing."""
    files = (folder / f"{frame_name(frame)}{extension}" for extension in FRAME_EXTENSIONS)
    return next((file for file in files if file.is_file()), None)
