"""The one rule for what a video is called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import InputError, some_of


class ListedName(NamedTuple):
    """A video as a user wrote it.

    Attributes:
        text: a line of a list, or a word.
        place: how a message about it begins, "list.txt: line 3: "; "" for a word.
    """

    text: str
    place: str = ""


def read_video_list(path: Path) -> list[ListedName]:
    """Reads testlist01.txt or another list: one video a line, as `match_videos` takes it.

    Raises:
        InputError: no such file, not a text file, or nothing in it.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found; it should list one video a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not a UTF-8 text file; it should list one video a line"
        ) from error
    listed = [
        ListedName(line.strip(), f"{path}: line {number}: ")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not listed:
        raise InputError(f"{path}: is empty; it should list one video a line")
    return listed


def match_videos(listed: Sequence[ListedName], known: Iterable[str]) -> list[str]:
    """The names of listed videos: the known ones that they mean, and others as they are written.

    Folders before the name and a video file's ending may be there or not, on either side, and a
    label may follow: "v_Biking_g01_c01.avi 3" means Biking/v_Biking_g01_c01.

    Args:
        listed: in any order, perhaps repeated.
        known: the names of the data set's videos.

    Returns:
        a name for each; of one that is not known, without ending and label number.

    Raises:
        InputError: one may mean several of the known.
    """
    by_last: dict[str, list[str]] = {}
    for name in dict.fromkeys(known):
        by_last.setdefault(_parts(name)[-1], []).append(name)
    return [_meant(each, by_last) for each in listed]


def _meant(video: ListedName, by_last: dict[str, list[str]]) -> str:
    for written in _with_less_behind(video.text):
        parts = _parts(written)
        alike = by_last.get(parts[-1], [])
        found = (
            [name for name in alike if name == written]
            or [name for name in alike if _parts(name) == parts]
            or [name for name in alike if _one_ends_in_the_other(_parts(name), parts)]
        )
        if len(found) > 1:
            raise InputError(
                f"{video.place}video {written} could be {some_of(found)}; write the full name"
            )
        if found:
            return found[0]
    name, _, label = video.text.rpartition(" ")
    return strip_extension(name.rstrip() if label.isdigit() and name else video.text)


def _with_less_behind(text: str) -> Iterator[str]:
    """The text, then without its last word, and so on: names may hold spaces, labels follow."""
    for behind in range(len(text.split())):
        yield text.rsplit(maxsplit=behind)[0]


def _parts(name: str) -> list[str]:
    return strip_extension(name).split("/")


def _one_ends_in_the_other(one: list[str], other: list[str]) -> bool:
    common = min(len(one), len(other))
    return one[-common:] == other[-common:]


VIDEO_EXTENSIONS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".m4v")
FRAME_EXTENSIONS = (".png", ".jpg", ".jpeg")


def unique_names(videos: Sequence[Path]) -> list[str]:
    """What the tables call each video: its stem, or the end of its path that no other shares."""
    # Without the root, and not by resolve(), which would follow links to other names.
    parts = [Path(os.path.abspath(video)).parts[1:] for video in videos]  # noqa: PTH100
    names, length = [video.stem for video in videos], 1
    while max((counts := Counter(names)).values(), default=1) > 1:
        length += 1
        names = [
            "/".join(path[-length:]) if counts[name] > 1 else name
            for name, path in zip(names, parts, strict=True)
        ]
    return names


def strip_extension(name: str) -> str:
    """A name without a video file's ending."""
    ending = Path(name).suffix
    return name[: -len(ending)] if ending.lower() in VIDEO_EXTENSIONS else name


def strip_timestamps(name: str) -> str:
    """Kinetics' ID_000010_000020 as ID."""
    return re.sub(r"_\d{6}_\d{6}$", "", name)


def find_video_of_path(names: Sequence[str], video: Path) -> int:
    """The index of the video's name, or -1 where there are no names."""
    if not names:
        return -1
    codes = {PurePosixPath(name).parts: code for code, name in enumerate(names)}
    # Not resolve(), which would follow links to other names.
    parts = Path(os.path.abspath(video)).parts  # noqa: PTH100
    for begin in range(len(parts)):
        for last in (video.name, video.stem):
            code = codes.get((*parts[begin:-1], last))
            if code is not None:
                return code
    alike = [code for code, name in enumerate(names) if PurePosixPath(name).name == video.stem]
    if len(alike) == 1:
        return alike[0]
    shown = some_of(names[code] for code in alike or range(len(names)))
    if alike:
        raise InputError(
            f"{video}: matches several videos of the table ({shown}); put the file into a "
            "folder whose name tells which"
        )
    raise InputError(
        f"{video}: the table has no video of this name; it has {shown}. Rename the file, or "
        "give the table of this video"
    )


def whole_names(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names; one that is not known, but the last part of just one that is, becomes that."""
    ending: dict[str, list[str]] = {}
    for whole in known:
        ending.setdefault(whole.rpartition("/")[2], []).append(whole)
    given, exact = set(names), set(known)
    whole_of = {
        last: wholes[0]
        for last, wholes in ending.items()
        if len(wholes) == 1 and wholes[0] not in given
    }
    return tuple(name if name in exact else whole_of.get(name, name) for name in names)


def folder_name(name: str) -> str:
    """The name as that of one folder, no two the same and none hidden."""
    flat = name.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C")
    return f"%2E{flat[1:]}" if flat.startswith(".") else flat


def last_part(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]
