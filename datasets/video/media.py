"""The pictures of a data set: video files, or folders of numbered frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..video_names import FRAME_EXTENSIONS, VIDEO_EXTENSIONS


def locate_videos(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where the videos are.

    Args:
        folder: searched with all that is below it, links to folders included.
        names: such as "<class>/<video>".

    Returns:
        by name the first video file or folder of frames whose path ends in that name, or else in
        its last part where only one of the names has it; names without any are absent.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--media {folder}: folder not found")
    by_last: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_last.setdefault(name.rpartition("/")[2], []).append(name)
    whole: dict[str, Path] = {}
    in_part: dict[str, Path] = {}
    for path, stem in iter_videos(folder):
        candidates = by_last.get(stem.name, [])
        for name in candidates:
            if f"/{stem.as_posix()}".endswith(f"/{name}"):
                whole.setdefault(name, path)
        if len(candidates) == 1:
            in_part.setdefault(candidates[0], path)
    return in_part | whole


def iter_videos(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Video files and folders of frames in the order of their paths, each with its path less the
    ending."""
    visited = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        here, real = Path(name), os.path.realpath(name)
        # A link may lead back up.
        folders[:] = sorted(folders) if real not in visited else []
        visited.add(real)
        if any(
            Path(file).suffix in FRAME_EXTENSIONS and Path(file).stem.isdigit() for file in files
        ):
            yield here, here
        for file in sorted(files):
            path = here / file
            if path.suffix.lower() in VIDEO_EXTENSIONS:
                yield path, path.with_name(path.stem)


def read_frame(path: Path, frame: int) -> np.ndarray | None:
    """One frame of a video file or of a folder of frames named from 00001.

    Args:
        path: from `locate_videos`.
        frame: from 0.

    Returns:
        (H, W, 3) uint8 RGB, or None if there is no such frame.
    """
    return next(iter(read_frames(path, frame, frame + 1)), None)


def read_frames(path: Path, start: int, stop: int) -> Iterator[np.ndarray]:
    """The frames start, start + 1, ... before stop, of a video file or of a folder of frames named
    from 00001; it ends early where there are no more.

    Args:
        path: from `locate_videos`.
        start, stop: from 0.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file is no video or picture.
    """
    if not path.is_dir():
        from .reader import read_video

        # One thread: a training loader reads many clips at a time.
        yield from read_video(path, start, stop, threads=1)
        return
    import cv2

    for frame in range(start, stop):
        files = (path / f"{frame + 1:05d}{ending}" for ending in FRAME_EXTENSIONS)
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            return
        image = cv2.imread(str(file))
        if image is None:
            raise InputError(f"{file}: cannot be read as an image; it may be damaged")
        yield np.ascontiguousarray(image[..., ::-1])


def measure_video(path: Path) -> tuple[int, int, int]:
    """The number of frames, by decoding them all, and the width and height in pixels.

    Args:
        path: from `locate_videos`.

    Raises:
        InputError: nothing in it can be read.
    """
    if not path.is_dir():
        from .reader import count_frames, probe

        info = probe(path)
        return count_frames(path), info.width, info.height
    first = read_frame(path, 0)
    if first is None:
        raise InputError(
            f"{path}: contains no 00001.png or 00001.jpg; frames must be named from 00001"
        )
    count = sum(file.suffix in FRAME_EXTENSIONS and file.stem.isdigit() for file in path.iterdir())
    return count, first.shape[1], first.shape[0]
