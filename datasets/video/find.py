"""Which video files a user means, and what each is called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from ..errors import InputError
from .media import iter_videos

DRAWN, DRAWN_FLOW = ".tubes.mp4", ".flow.mp4"
"""How files of drawn videos end; they are passed over in folders."""


def expand_video_paths(given: Sequence[Path]) -> list[Path]:
    """The video files that a user's words stand for, in their order.

    Args:
        given: files; folders, for all video files below them in the order of `iter_videos`, but for
            hidden and drawn ones; patterns such as videos/*.avi or videos/**/*.mp4; lists, text
            files that end in .txt, with a path a line, from the current folder or else from the
            list's (empty lines and those that begin with # do not count).

    Returns:
        paths; of files that do not exist, and folders without videos, the path as it was given.

    Raises:
        InputError: a file is meant twice, a list cannot be read or is empty.
    """
    found = [video for path in given for video in _meant(path)]
    # Not resolve(), which would follow links to other names.
    twice = [path for path, count in Counter(map(os.path.abspath, found)).items() if count > 1]
    if twice:
        video = next(video for video in found if os.path.abspath(video) == twice[0])  # noqa: PTH100
        raise InputError(f"{video}: is given twice; give each video once")
    return found


def _meant(path: Path) -> list[Path]:
    if path.suffix.lower() == ".txt" and path.is_file():
        return [video for line in _lines(path) for video in _meant(line)]
    if path.is_dir():
        below = [
            video
            for video in iter_videos(path)
            if video.is_file()
            and not video.name.endswith((DRAWN, DRAWN_FLOW))
            and not any(part.startswith(".") for part in video.relative_to(path).parts)
        ]
        return below or [path]
    if has_magic(str(path)) and not path.exists():
        # pathlib's own starts at a folder, a user's pattern may be absolute or relative.
        return [Path(name) for name in sorted(glob(str(path), recursive=True))] or [path]  # noqa: PTH207
    return [path]


def _lines(path: Path) -> list[Path]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not a UTF-8 text file; a .txt file must list one video path a line"
        ) from error
    named = [Path(line) for line in lines if line and not line.startswith("#")]
    if not named:
        raise InputError(f"{path}: lists no videos; write one path a line")
    return [
        path.parent / video if not video.exists() and (path.parent / video).exists() else video
        for video in named
    ]
