"""The video files that a user's arguments name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from ..errors import InputError
from ..text_files import read_lines
from .media import iter_videos

DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX = ".tubes.mp4", ".flow.mp4"
"""The last part of the names of drawn videos, which are skipped in folders."""


def expand_video_paths(arguments: Sequence[Path]) -> list[Path]:
    """The video files that command-line arguments name, in their order.

    Args:
        arguments: files; folders, for all video files below them in the order of `iter_videos`,
            except hidden and drawn ones; patterns such as videos/*.avi or videos/**/*.mp4; lists,
            which are .txt files with one path a line, relative to the current folder or else to the
            list's (empty lines and those that begin with # are skipped).

    Returns:
        paths; files that do not exist, and folders without videos, are returned as they are.

    Raises:
        InputError: a file is given twice, or a list cannot be read or is empty.
    """
    videos = [video for path in arguments for video in _expand(path)]
    # Not resolve(), which would follow links to other names.
    twice = [path for path, count in Counter(map(os.path.abspath, videos)).items() if count > 1]
    if twice:
        video = next(video for video in videos if os.path.abspath(video) == twice[0])  # noqa: PTH100
        raise InputError(f"{video}: is given twice; give each video once")
    return videos


def _expand(path: Path) -> list[Path]:
    if path.suffix.lower() == ".txt" and path.is_file():
        return [video for line in _read_lines(path) for video in _expand(line)]
    if path.is_dir():
        below = [
            video
            for video in iter_videos(path)
            if video.is_file()
            and not video.name.endswith((DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX))
            and not any(part.startswith(".") for part in video.relative_to(path).parts)
        ]
        return below or [path]
    if has_magic(str(path)) and not path.exists():
        # pathlib's glob starts at a folder, but the pattern may be absolute or relative.
        return [Path(name) for name in sorted(glob(str(path), recursive=True))] or [path]  # noqa: PTH207
    return [path]


def _read_lines(path: Path) -> list[Path]:
    lines = [line.strip() for line in read_lines(path)]
    named = [Path(line) for line in lines if line and not line.startswith("#")]
    if not named:
        raise InputError(f"{path}: lists no videos; write one path a line")
    return [
        path.parent / video if not video.exists() and (path.parent / video).exists() else video
        for video in named
    ]
