"""Which of a data set's videos a list, or the words of a command, mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .files import InputError, some_of
from .video_lists import stem


class Listed(NamedTuple):
    """A video as a user wrote it.

    Attributes:
        text: a line of a list, or a word.
        place: how a message about it begins, "list.txt: line 3: "; "" for a word.
    """

    text: str
    place: str = ""


def read_video_list(path: Path) -> list[Listed]:
    """Reads testlist01.txt or another list: one video a line, as `videos_meant` takes it.

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
        Listed(line.strip(), f"{path}: line {number}: ")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not listed:
        raise InputError(f"{path}: is empty; it should list one video a line")
    return listed


def videos_meant(listed: Sequence[Listed], known: Iterable[str]) -> list[str]:
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


def _meant(video: Listed, by_last: dict[str, list[str]]) -> str:
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
    return stem(name.rstrip() if label.isdigit() and name else video.text)


def _with_less_behind(text: str) -> Iterator[str]:
    """The text, then without its last word, and so on: names may hold spaces, labels follow."""
    for behind in range(len(text.split())):
        yield text.rsplit(maxsplit=behind)[0]


def _parts(name: str) -> list[str]:
    return stem(name).split("/")


def _one_ends_in_the_other(one: list[str], other: list[str]) -> bool:
    common = min(len(one), len(other))
    return one[-common:] == other[-common:]
