"""The pictures of a data set: video files, or folders of numbered frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .files import InputError

VIDEO_ENDINGS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".m4v")
FRAME_ENDINGS = (".png", ".jpg", ".jpeg")


def find_media(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where the videos are.

    Args:
        folder: searched with all that is below it.
        names: such as "<class>/<video>".

    Returns:
        by name the video file or folder of frames whose path ends in that name, or else in its
        last part; names without any are absent.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    wanted = set(names)
    by_last = {name.rpartition("/")[2]: name for name in wanted}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        stem = path.stem if path.suffix.lower() in VIDEO_ENDINGS else path.name
        if stem not in by_last or not (path.is_dir() or path.suffix.lower() in VIDEO_ENDINGS):
            continue
        whole = f"{path.parent.name}/{stem}"
        if whole in wanted:
            found[whole] = path
        else:
            found.setdefault(by_last[stem], path)
    return found


def read_picture(path: Path, frame: int) -> np.ndarray | None:
    """One frame of a video file or of a folder of frames named from 00001.

    Args:
        path: from `find_media`.
        frame: from 0.

    Returns:
        (H, W, 3) uint8 RGB, or None if there is no such frame.
    """
    if not path.is_dir():
        from .video import read_frames

        return next(iter(read_frames(path, frame, frame + 1)), None)
    import cv2

    for ending in FRAME_ENDINGS:
        file = path / f"{frame + 1:05d}{ending}"
        if file.is_file():
            image = cv2.imread(str(file))
            return None if image is None else image[..., ::-1]
    return None
