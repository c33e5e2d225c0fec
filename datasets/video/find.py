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
from ..storage.parquet_file import open_parquet, read_columns
from ..storage.remote import RemoteFile, as_address, find_remote_files
from ..storage.text_files import check_encoding
from ..video_names import FRAME_EXTENSIONS, VIDEO_EXTENSIONS
from .media import walk_folder

DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX = ".tubes.mp4", ".flow.mp4"
"""The last part of the names of drawn videos, which are skipped in folders."""

_OWN_SUFFIXES = (DRAWN_SUFFIX, DRAWN_FLOW_SUFFIX, ".flow")
_LISTS = (".txt", ".parquet")
_LIST_COLUMNS = ("path", "url", "uri", "video")


VideoSource = Path | RemoteFile
"""A video as a user named it: a file or a folder of frames, or a file at an address."""


def expand_video_sources(arguments: Sequence[Path]) -> list[VideoSource]:
    """The videos that command-line arguments name, in their order.

    Args:
        arguments: files, whatever their extension; folders, for all video files below them in the
            order of their paths, except hidden and drawn ones, or else all folders of numbered
            frames; patterns such as videos/*.avi or videos/**/*.mp4; lists, which are .txt files
            with one path or address a line, relative to the current folder or else to the list's
            (empty lines and those that begin with # are skipped, unless there is a file of that
            name), or .parquet files with a column path, url, uri or video; addresses
            (https://..., s3://...), also of a folder or a pattern where these can be listed.

    Returns:
        files that do not exist, and folders without videos, are returned as they are.

    Raises:
        InputError: a file is given twice, a list cannot be read or is empty, the brackets of a
            pattern may be part of a name, or an address cannot be listed.

    Warns:
        what a folder has besides videos, which is passed over.
    """
    videos = [video for path in arguments for video in _expand(path)]
    # Not resolve(), which would follow links to other names.
    keys = [
        video.address if isinstance(video, RemoteFile) else os.path.abspath(video)  # noqa: PTH100
        for video in videos
    ]
    counts = Counter(keys)
    for video, key in zip(videos, keys, strict=True):
        if counts[key] > 1:
            raise InputError(f"{source_text(video)}: is given twice; give each video once")
    return videos


def expand_video_paths(arguments: Sequence[Path]) -> list[Path]:
    """As `expand_video_sources`, for commands that take no addresses.

    Raises:
        InputError: also for an address.
    """
    paths = []
    for video in expand_video_sources(arguments):
        if isinstance(video, RemoteFile):
            raise InputError(
                f"{video.shown}: is an address; download it first (`actiontubes detect` takes "
                "addresses)"
            )
        paths.append(video)
    return paths


def source_text(video: VideoSource) -> str:
    """A source as messages and records show it."""
    return video.shown if isinstance(video, RemoteFile) else str(video)


def _expand(path: Path | str, list_file: Path | None = None) -> list[VideoSource]:
    if (address := as_address(path)) is not None:
        return [*find_remote_files(address, VIDEO_EXTENSIONS)]
    path = Path(path)
    # Functions of os, which say no to a name that is too long; Path raises an error.
    if path.suffix.lower() in _LISTS and os.path.isfile(path):  # noqa: PTH113
        if list_file is not None:
            raise InputError(f"{list_file}: {path} is a list, too; write its lines here")
        lines = _read_lines(path) if path.suffix.lower() == ".txt" else _read_column(path)
        return [video for line in lines for video in _expand(line, path)]
    if os.path.isdir(path):  # noqa: PTH112
        return [*_expand_folder(path)]
    if has_magic(str(path)) and not os.path.exists(path):  # noqa: PTH110
        return [*_expand_pattern(path)]
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


def _read_column(path: Path) -> list[Path | str]:
    """The paths or addresses in a Parquet file."""
    with open_parquet(path) as file:
        columns = [name for name in _LIST_COLUMNS if name in file.schema_arrow.names]
        if len(columns) != 1:
            found = " and ".join(columns) or "none of them"
            raise InputError(
                f"{path}: a list of videos has one of the columns {', '.join(_LIST_COLUMNS)}, and "
                f"this file has {found}; name or leave out columns"
            )
        values = read_columns(file, columns, path)[columns[0]].to_pylist()
    for row, value in enumerate(values, 1):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{path}: row {row}: {columns[0]} {value!r} is not a path or address")
    if not values:
        raise InputError(f"{path}: lists no videos; write one path or address a row")
    # Not as a line of a text file: no comments or quotes, and a file beside the list.
    return [
        value if as_address(value) or os.path.lexists(value) else _beside(path, value)
        for value in values
    ]


def _beside(list_file: Path, name: str) -> Path:
    beside = list_file.parent / name
    return beside if os.path.lexists(beside) else Path(name)


def _read_lines(path: Path) -> list[Path | str]:
    check_encoding(path)
    # Not as UTF-8 text: a line may be the name of a file in any bytes.
    content = os.fsdecode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    lines = content.replace("\r\n", "\n").split("\n")
    named = [video for line in lines if (video := _listed(line, path.parent))]
    if not named:
        raise InputError(f"{path}: lists no videos; write one path a line")
    return named


def _listed(line: str, folder: Path) -> Path | str | None:
    """The path of a line: from the current folder, or else from the list's; None of a comment.

    A list from Windows may have quotes around names, and backslashes.
    """
    stripped = line.strip()
    if not stripped:
        return None
    unquoted = stripped.strip('"')
    if as_address(unquoted):
        return unquoted
    texts = (line, stripped, unquoted, unquoted.replace("\\", "/"))
    candidates = [path for text in texts for path in (Path(text), folder / text)]
    existing = next((path for path in candidates if os.path.lexists(path)), None)
    return None if existing is None and stripped.startswith("#") else existing or Path(stripped)
