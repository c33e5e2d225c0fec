"""The video files that a user's arguments name."""

from __future__ import annotations

import codecs
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path

from ..errors import InputError
from ..frame_numbers import is_frame_folder
from ..storage.text_files import check_encoding
from ..video_names import FRAME_EXTENSIONS, VIDEO_EXTENSIONS
from .media import walk_folder

DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX = ".tubes.mp4", ".flow.mp4"
"""The last part of the names of drawn videos, which are skipped in folders."""

_OWN_SUFFIXES = (DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX, ".flow")


def expand_video_paths(arguments: Sequence[Path]) -> list[Path]:
    """The video files that command-line arguments name, in their order.

    Args:
        arguments: files, whatever their extension; folders, for all video files below them in the
            order of their paths, except hidden and drawn ones, or else all folders of numbered
            frames; patterns such as videos/*.avi or videos/**/*.mp4; lists, which are .txt files
            with one path a line, relative to the current folder or else to the list's (empty lines
            and those that begin with # are skipped, unless there is a file of that name).

    Returns:
        paths; files that do not exist, and folders without videos, are returned as they are.

    Raises:
        InputError: a file is given twice, a list cannot be read or is empty, or the brackets of a
            pattern may be part of a name.

    Warns:
        what a folder has besides videos, which is passed over.
    """
    videos = [video for path in arguments for video in _expand(path)]
    # Not resolve(), which would follow links to other names.
    twice = [path for path, count in Counter(map(os.path.abspath, videos)).items() if count > 1]
    if twice:
        video = next(video for video in videos if os.path.abspath(video) == twice[0])  # noqa: PTH100
        raise InputError(f"{video}: is given twice; give each video once")
    return videos


def _expand(path: Path, list_file: Path | None = None) -> list[Path]:
    # Functions of os, which say no to a name that is too long; Path raises an error.
    if path.suffix.lower() == ".txt" and os.path.isfile(path):  # noqa: PTH113
        if list_file is not None:
            raise InputError(f"{list_file}: {path} is a list, too; write its lines here")
        return [video for line in _read_lines(path) for video in _expand(line, path)]
    if os.path.isdir(path):  # noqa: PTH112
        return _expand_folder(path)
    if has_magic(str(path)) and not os.path.exists(path):  # noqa: PTH110
        return _expand_pattern(path)
    return [path]


def _expand_folder(folder: Path) -> list[Path]:
    videos: list[Path] = []
    frame_folders: list[Path] = []
    others: list[Path] = []
    for here, files in walk_folder(folder):
        has_frames = is_frame_folder(files)
        frame_folders += [here] * (has_frames and not _is_hidden(here, folder))
        frames = FRAME_EXTENSIONS if has_frames else ()
        videos += [file for file in files if _is_video(file)]
        others += [
            file for file in files
            if not _is_video(file) and not file.name.endswith(_OWN_SUFFIXES)
            and file.suffix.lower() not in frames
        ]  # fmt: skip
    passed_over = {
        "files without a video's extension": [
            file for file in others if not _is_hidden(file, folder)
        ],
        "hidden files": [file for file in videos if _is_hidden(file, folder)],
        "links to files that do not exist": [
            file for file in videos if not (file.exists() or _is_hidden(file, folder))
        ],
    }
    videos = [file for file in videos if file.is_file() and not _is_hidden(file, folder)]
    if videos:
        passed_over["folders of frames, because there are videos"] = frame_folders
    _warn_passed_over(folder, passed_over)
    return videos or frame_folders or [folder]


def _is_video(file: Path) -> bool:
    """Whether a file in a folder is taken for a video by its name."""
    return file.suffix.lower() in VIDEO_EXTENSIONS and not file.name.endswith(_OWN_SUFFIXES)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _warn_passed_over(folder: Path, passed_over: dict[str, list[Path]]) -> None:
    kinds = [
        f"{kind} ({len(paths)}, such as {paths[0].relative_to(folder)})"
        for kind, paths in passed_over.items()
        if paths
    ]
    if kinds:
        warnings.warn(f"{folder}: passed over {'; '.join(kinds)}", stacklevel=2)


def _expand_pattern(path: Path) -> list[Path]:
    """The files that fit a pattern, or whose names have its brackets as they stand."""
    pattern = str(path)
    fitting, literal = _glob(pattern), _glob(pattern.replace("[", "[[]"))
    if fitting and literal and fitting != literal:
        raise InputError(
            f"{pattern}: its brackets fit {literal[0]} as they stand, and {fitting[0]} as a "
            "pattern; write [[] for a bracket in a name"
        )
    found = [video for each in fitting or literal for video in _expand_found(each)]
    return found or [path]


def _glob(pattern: str) -> list[Path]:
    # pathlib's glob starts at a folder, but the pattern may be absolute or relative.
    return [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207


def _expand_found(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return _expand_folder(path)
    return [] if path.name.endswith(_OWN_SUFFIXES) else [path]


def _read_lines(path: Path) -> list[Path]:
    check_encoding(path)
    # Not as UTF-8 text: a line may be the name of a file in any bytes.
    content = os.fsdecode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    lines = content.replace("\r\n", "\n").split("\n")
    named = [video for line in lines if (video := _listed(line, path.parent))]
    if not named:
        raise InputError(f"{path}: lists no videos; write one path a line")
    return named


def _listed(line: str, folder: Path) -> Path | None:
    """The path of a line: from the current folder, or else from the list's; None of a comment.

    A list from Windows may have quotes around names, and backslashes.
    """
    stripped = line.strip()
    if not stripped:
        return None
    unquoted = stripped.strip('"')
    texts = (line, stripped, unquoted, unquoted.replace("\\", "/"))
    candidates = [path for text in texts for path in (Path(text), folder / text)]
    existing = next((path for path in candidates if os.path.lexists(path)), None)
    return None if existing is None and stripped.startswith("#") else existing or Path(stripped)
