"""Frame numbers: from 0 in memory and in tables, from 1 in the files of other programs.

Names of frame files (00001.jpg) and the files of ACT, COCO and YOWO count frames from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from .errors import InputError
from .video_names import FRAME_EXTENSIONS, VIDEO_EXTENSIONS

Numbers = TypeVar("Numbers", int, np.ndarray)

_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)
_Kind = tuple[str, str]  # the text before a number and behind it
_PLAIN: _Kind = ("", "")


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


def is_frame_folder(files: Iterable[Path]) -> bool:
    """Whether a folder with these files is one of numbered frames, see `frame_files`.

    Where a text is before or behind the numbers, there must be several, and no video beside them: a
    single poster1.jpg is no frame.
    """
    files = list(files)
    images = _numbered_images(files)
    has_videos = any(file.suffix.lower() in VIDEO_EXTENSIONS for file in files)
    return _PLAIN in images or (not has_videos and any(len(kind) > 1 for kind in images.values()))


def frame_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder of frames in their order; empty where none has a number.

    They are named by numbers, padded or not, perhaps with a text before or behind that all share:
    00001.jpg, 1.png, img_00001.jpg or "img (1).jpg". Frame 0 is the first, number 0 or 1.

    Raises:
        InputError: which frame is which is not certain: a number is missing or there twice, the
            first is another, or several texts stand beside the numbers.
    """
    return _cached_frame_files(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _cached_frame_files(folder: Path, modified: int) -> tuple[Path, ...]:
    images = _numbered_images(folder.iterdir())
    # Plain numbers are the frames, whatever else is beside them.
    kinds = [images[_PLAIN]] if _PLAIN in images else [images[kind] for kind in sorted(images)]
    if len(kinds) > 1:
        first, second = (min(files)[1] for files in kinds[:2])
        raise InputError(f"{folder}: has {first} and {second}; keep the frames of one kind there")
    files = sorted(kinds[0]) if kinds else []
    if files and files[0][0] > 1:
        raise InputError(
            f"{folder}: its first frame is {files[0][1]}; rename the frames so that they count "
            "from 00001"
        )
    for (number, name), (following, other) in pairwise(files):
        if following == number:
            raise InputError(f"{folder}: has {name} and {other}; keep one file of each frame")
        if following != number + 1:
            raise InputError(
                f"{folder}: frame {number + 1} is missing between {name} and {other}; frames are "
                "named 00001.jpg, 00002.jpg, ... without gaps"
            )
    return tuple(folder / name for _, name in files)


def _numbered_images(files: Iterable[Path]) -> dict[_Kind, list[tuple[int, str]]]:
    """Numbers and names of images with a number, by the text around it; not hidden ones."""
    images: dict[_Kind, list[tuple[int, str]]] = {}
    for file in files:
        numbered = _NUMBERED.fullmatch(file.stem)
        is_image = file.suffix.lower() in FRAME_EXTENSIONS and not file.name.startswith(".")
        if numbered and is_image:
            images.setdefault((numbered[1], numbered[3]), []).append((int(numbered[2]), file.name))
    return images
