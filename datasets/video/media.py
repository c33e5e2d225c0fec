"""The media of a data set: video files, or folders of numbered frames."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import InputError, some_of
from ..frame_numbers import frame_files, is_frame_folder
from ..video_names import VIDEO_EXTENSIONS, VideoIndex, strip_extension
from .container import DEFAULT_FPS
from .image import read_image

if TYPE_CHECKING:
    from .reader import VideoInfo

Item = TypeVar("Item")


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
    for here, files in walk_folder(folder):
        if is_frame_folder(files):
            yield here
        yield from (file for file in files if file.suffix.lower() in VIDEO_EXTENSIONS)


def walk_folder(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and those below it, each with its files, in the order of their paths.

    Links to folders are followed, except those that lead back up.

    Warns:
        a folder cannot be read.
    """
    visited = set()
    for name, folders, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        here, real = Path(name), os.path.realpath(name)
        folders[:] = sorted(folders) if real not in visited else []
        visited.add(real)
        yield here, [here / file for file in sorted(files)]


def _warn_unreadable(error: OSError) -> None:
    warnings.warn(f"{error.filename}: cannot be read ({error.strerror})", stacklevel=2)


def read_frame(path: Path, frame: int) -> np.ndarray | None:
    """Reads one frame of a video file, or of a folder of numbered frames.

    Args:
        path: from `locate_videos`.
        frame: from 0.

    Returns:
        (H, W, 3) uint8 RGB, or None if there is no such frame.
    """
    return next(iter(read_frames(path, frame, frame + 1)), None)


def read_frames(path: Path, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Reads frames of a video file, or of a folder of numbered frames.

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
    shape: tuple[int, ...] | None = None
    for file in frame_files(path)[start:stop]:
        image = read_image(file)
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"{file}: is {image.shape[1]}x{image.shape[0]}, and frames before it are "
                f"{shape[1]}x{shape[0]}; all frames of a video must have one size"
            )
        yield image


def read_timed_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Like `read_frames`, with each frame's presentation time in seconds.

    Frame k of a folder of frames is at k / 25. It decodes with a thread for each core.
    """
    if not path.is_dir():
        from .reader import read_timed_video

        return read_timed_video(path)
    return ((number / DEFAULT_FPS, frame) for number, frame in enumerate(read_frames(path)))


def probe_video(path: Path) -> VideoInfo:
    """The properties of a video file, or of a folder of numbered frames, whose rate is unknown.

    Raises:
        InputError: nothing in it can be read.
    """
    from .reader import VideoInfo, probe

    if not path.is_dir():
        return probe(path)
    first, _ = require_first(read_frames(path, 0, 1), path)
    return VideoInfo(path, first.shape[1], first.shape[0], math.nan, len(frame_files(path)))


def measure_video(path: Path) -> tuple[int, int, int]:
    """Counts the frames by decoding them all, and measures their width and height in pixels.

    Args:
        path: from `locate_videos`.

    Raises:
        InputError: nothing in it can be read.
    """
    info = probe_video(path)
    if path.is_dir():
        return len(frame_files(path)), info.width, info.height
    from .reader import count_frames

    return count_frames(path), info.width, info.height


def count_frames_to(video: VideoInfo, last: int) -> int:
    """The number of frames of a video that should have a frame `last`.

    Where the container says that it has none, all frames are counted. Without a file and a number,
    it is taken to be long enough.
    """
    if video.num_frames is not None and last < video.num_frames:
        return video.num_frames
    if last >= 0 and video.path.exists():
        return measure_video(video.path)[0]
    return last + 1 if video.num_frames is None else video.num_frames


def require_first(frames: Iterator[Item], path: Path) -> tuple[Item, Iterator[Item]]:
    """The first of the frames that were read from `path`, and an iterator over all of them.

    Raises:
        InputError: there is none, which happens only with a folder of frames.
    """
    first = next(frames, None)
    if first is None:
        raise InputError(
            f"{path}: contains no video file and no frames named 00001.jpg, 00002.jpg, ..."
        )
    return first, chain([first], frames)
