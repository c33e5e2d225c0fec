"""The media of a data set: video files, or folders of numbered frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import InputError, some_of
from ..frame_numbers import find_frame_file, is_numbered_frame
from ..video_names import VIDEO_EXTENSIONS, VideoIndex, strip_extension
from .image import read_image

Item = TypeVar("Item")

_DEFAULT_FPS = 25.0


def locate_videos(
    folder: Path, names: Iterable[str], *, skip: Path | None = None
) -> dict[str, Path]:
    """Finds the files of videos.

    Args:
        folder: searched with all that is below it, links to folders included.
        names: such as "<class>/<video>".
        skip: a folder below it that is not searched.

    Returns:
        for each name the video file or folder of frames whose path is the name's by `VideoIndex`,
        or else the one whose last component is that of this name alone. Names without any are
        absent.

    Raises:
        InputError: no such folder, or several files fit one name. Where the name has an extension,
            the file with that extension is meant.
    """
    if not folder.is_dir():
        raise InputError(f"--media {folder}: folder not found")
    below = folder.absolute()
    skipped = skip.absolute() if skip is not None and below in skip.absolute().parents else None
    index = VideoIndex(names)
    by_path: dict[str, list[Path]] = {}
    by_last: dict[str, list[Path]] = {}
    for path in iter_videos(folder):
        if skipped in path.absolute().parents:
            continue
        codes, folders_fit = index.match_file(path)
        if len(codes) == 1:
            (by_path if folders_fit else by_last).setdefault(index.names[codes[0]], []).append(path)
    found: dict[str, Path] = {}
    for name, paths in (by_last | by_path).items():
        # A file that is reached through several links is one file.
        several = list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]
        has_extension = strip_extension(name) != name
        meant = [path for path in several if has_extension and name.endswith(path.name)] or several
        if len(meant) > 1:
            raise InputError(
                f"{folder}: video {name} could be "
                f"{some_of(path.relative_to(folder) for path in meant)}; keep one of them there, "
                "or give its folder with --media"
            )
        found[name] = meant[0]
    return found


def iter_videos(folder: Path) -> Iterator[Path]:
    """Video files and folders of numbered frames below a folder, in the order of their paths."""
    visited = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        here, real = Path(name), os.path.realpath(name)
        # A link may lead back up.
        folders[:] = sorted(folders) if real not in visited else []
        visited.add(real)
        if any(is_numbered_frame(Path(file)) for file in files):
            yield here
        yield from (
            here / file for file in sorted(files) if Path(file).suffix.lower() in VIDEO_EXTENSIONS
        )


def read_frame(path: Path, frame: int) -> np.ndarray | None:
    """Reads one frame of a video file, or of a folder of frames named from 00001.

    Args:
        path: from `locate_videos`.
        frame: from 0.

    Returns:
        (H, W, 3) uint8 RGB, or None if there is no such frame.
    """
    return next(iter(read_frames(path, frame, frame + 1)), None)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Reads frames of a video file, or of a folder of frames named from 00001.

    It ends before `stop` where there are no more frames.

    Args:
        path: from `locate_videos`.
        start: the first frame, from 0.
        stop: the frame after the last one; None reads to the end.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file is not a video or an image.
    """
    if not path.is_dir():
        from .reader import read_video

        # One thread: a training loader reads many clips at a time.
        yield from read_video(path, start, stop, threads=1)
        return
    for frame in count(start) if stop is None else range(start, stop):
        file = find_frame_file(path, frame)
        if file is None:
            return
        yield read_image(file)


def measure_video(path: Path) -> tuple[int, int, int]:
    """Counts the frames by decoding them all, and measures their width and height in pixels.

    Args:
        path: from `locate_videos`.

    Raises:
        InputError: nothing in it can be read.
    """
    if not path.is_dir():
        from .reader import count_frames, probe

        info = probe(path)
        return count_frames(path), info.width, info.height
    first, _ = require_first(read_frames(path), path)
    return sum(map(is_numbered_frame, path.iterdir())), first.shape[1], first.shape[0]


def probe_video(path: Path) -> tuple[int | None, int, int]:
    """Like `measure_video`, but without decoding more than the first frame.

    The number of frames is what the container says, which may be wrong, or None.
    """
    if path.is_dir():
        return measure_video(path)
    from .reader import probe

    info = probe(path)
    return info.num_frames, info.width, info.height


def require_first(frames: Iterator[Item], path: Path) -> tuple[Item, Iterator[Item]]:
    """The first of the frames that were read from `path`, and an iterator over all of them.

    Raises:
        InputError: there is none, which happens only with a folder of frames.
    """
    first = next(frames, None)
    if first is None:
        raise InputError(
            f"{path}: contains no 00001.png or 00001.jpg; frames must be named from 00001"
        )
    return first, chain([first], frames)


def frame_count_and_fps(path: Path) -> tuple[int | None, float]:
    """The number of frames, None where only reading them tells, and the frames per second.

    Where the rate is unknown, as in a folder of frames, it is 25.
    """
    if path.is_dir():
        return None, _DEFAULT_FPS
    from .reader import probe

    info = probe(path)
    return info.num_frames, info.fps if info.fps > 0 else _DEFAULT_FPS
