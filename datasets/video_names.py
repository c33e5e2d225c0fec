"""What a video is called: the rule by which a name that a user wrote means a video that is known.

Data sets, tables, lists and files write the same video as Biking/v_1, v_1, v_1.avi or
UCF-101/Biking/v_1.avi. `VideoIndex` says which of the known names one of these means; nothing else
compares names of videos.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import InputError, some_of
from .storage.text_files import read_lines

VIDEO_EXTENSIONS = (
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".m4v", ".mpeg", ".wmv", ".flv", ".f4v",
    ".ts", ".mts", ".m2ts", ".m2t", ".3gp", ".3g2", ".asf", ".ogv", ".ogm", ".vob", ".divx", ".qt",
    ".mxf", ".dv", ".rm", ".rmvb", ".wtv", ".nut", ".y4m", ".ivf", ".m2v", ".m1v", ".mpv", ".mjpg",
    ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".obu", ".amv", ".gif", ".m2p", ".mpe",
    ".tp", ".trp", ".tod", ".mk3d", 
)  # fmt: skip
"""Those of the containers and raw streams that FFmpeg opens; files in folders need one of them."""

FRAME_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

_MAX_BYTES = 240  # of a part of a path; file systems take 255


class VideoIndex:
    """The known names of videos, to look up what other names mean.

    A name means the known name that is equal to it. Otherwise both lose the extension of a video
    file, take the composed Unicode form and slashes for backslashes, and it means the known name
    whose path is the end of its own, or of whose path its own is the end; of several, the one with
    the most path components in common, then the one of the same length, then the one with the same
    extension. Only where none fits, capitals make no difference.

    Args:
        names: the known names; a repeated one counts where it stands first.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._exact: dict[str, int] = {}
        self._by_last: dict[str, list[tuple[int, list[str]]]] = {}
        for code, name in enumerate(self.names):
            if name not in self._exact:
                self._exact[name] = code
                parts = _parts(name)
                self._by_last.setdefault(parts[-1].casefold(), []).append((code, parts))

    def find(self, name: str, place: str = "") -> int | None:
        """The index into `names` of the video that `name` means, or None.

        Args:
            name: as somebody wrote it.
            place: how an error message begins: the file and line with ": ", or nothing.

        Raises:
            InputError: it may mean several of the known names.
        """
        if name in self._exact:
            return self._exact[name]
        codes = self._best_matches(name)
        if len(codes) > 1:
            raise InputError(
                f"{place}video {name} could be "
                f"{some_of(self.names[code] for code in codes)}; write the full name"
            )
        return codes[0] if codes else None

    def find_file(self, path: Path) -> int | None:
        """The index into `names` of the video that a file, or a folder of frames, shows, or None.

        Raises:
            InputError: it may show several of the known videos, see `match_file`.
        """
        codes, _ = self.match_file(path)
        if len(codes) > 1:
            raise InputError(
                f"{path}: could be {some_of(self.names[code] for code in codes)}; put the file "
                "into a folder whose name tells which"
            )
        return codes[0] if codes else None

    def match_file(self, path: Path) -> tuple[list[int], bool]:
        """The videos that a file, or a folder of frames, may show, and whether its folders fit too.

        The whole path is compared as by `find`; where no known name fits, the last component alone
        decides, without any extension.
        """
        # Not resolve(), which would follow links to other names.
        whole = os.path.abspath(path)  # noqa: PTH100
        if codes := self._best_matches(whole) or self._best_matches(os.path.splitext(whole)[0]):  # noqa: PTH122
            return codes, True
        for last in (_parts(path.name)[-1], _normalized(path.stem)):
            same_last = self._by_last.get(last.casefold(), [])
            exact = [code for code, parts in same_last if parts[-1] == last]
            if same_last:
                return exact or [code for code, _ in same_last], False
        return [], False

    def _best_matches(self, name: str) -> list[int]:
        """The codes of the known names that fit best."""
        parts, last = _parts(name), _last_part(name)
        ranked: dict[int, tuple[bool, int, bool, bool]] = {}
        for code, other in self._by_last.get(parts[-1].casefold(), ()):
            common = min(len(parts), len(other))
            ends = parts[-common:], other[-common:]
            if _folded(ends[0]) == _folded(ends[1]):
                same_last = _last_part(self.names[code]) == last
                ranked[code] = (ends[0] == ends[1], common, len(other) == len(parts), same_last)
        best = max(ranked.values(), default=None)
        return [code for code, rank in ranked.items() if rank == best]


def _parts(name: str) -> list[str]:
    """The folders and the last component, without the extension of a video file."""
    return strip_extension(_normalized(name)).split("/")


def _normalized(name: str) -> str:
    """The name in the composed Unicode form (NFC), its folders behind slashes, no blanks around."""
    if not name.isascii():  # of most names there is nothing to change, and tables have thousands
        name = unicodedata.normalize("NFC", utf8_name(name))
    return name.replace("\\", "/").strip().strip("/")


def _folded(parts: list[str]) -> list[str]:
    return [part.casefold() for part in parts]


def _last_part(name: str) -> str:
    return _normalized(name).rpartition("/")[2]


class ListedName(NamedTuple):
    """A video as a user wrote it.

    Attributes:
        text: a line of a list, or a word.
        place: how an error message about it begins: "list.txt: line 3: "; "" for a word.
    """

    text: str
    place: str = ""


def read_video_list(path: Path) -> list[ListedName]:
    """Reads testlist01.txt or another list: one video a line, as `match_videos` takes it.

    Raises:
        InputError: the file is missing, is not text, or is empty.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found; it should list one video a line")
    listed = [
        ListedName(line.strip(), f"{path}: line {number}: ")
        for number, line in enumerate(read_lines(path), 1)
        if line.strip()
    ]
    if not listed:
        raise InputError(f"{path}: is empty; it should list one video a line")
    return listed


def match_videos(listed: Iterable[ListedName], known: Iterable[str]) -> list[str]:
    """The names of listed videos, each of which may be followed by a label.

    "v_Biking_g01_c01.avi 3" means Biking/v_Biking_g01_c01. Names may contain spaces, so the whole
    line is looked up first, then the line without its last word, and so on.

    Args:
        listed: in any order, perhaps repeated.
        known: the names of the data set's videos.

    Returns:
        a name for each: the known one that it means, else the text without extension and label.

    Raises:
        InputError: a line may mean several of the known videos.
    """
    index = VideoIndex(known)
    names = []
    for text, place in listed:
        for label_words in range(len(text.split())):
            code = index.find(text.rsplit(maxsplit=label_words)[0], place)
            if code is not None:
                names.append(index.names[code])
                break
        else:
            name, _, label = text.rpartition(" ")
            names.append(strip_extension(name.rstrip() if label.isdigit() and name else text))
    return names


def refuse_same_names(names: Sequence[str], source: object) -> None:
    """Refuses two names in one file that seem to mean one video.

    They do where they differ in capitals, slashes or the form of Unicode, or where one of them has
    the extension of a video file and the other has none.

    Raises:
        InputError: names both.
    """
    seen: dict[tuple[str, ...], str] = {}
    for name in names:
        key = tuple(_folded(_parts(name)))
        other = seen.setdefault(key, name)
        if other == name:
            continue
        both_have_extensions = all(strip_extension(each) != each for each in (name, other))
        if both_have_extensions and _parts(name) == _parts(other):
            continue
        raise InputError(
            f"{source}: videos {other!r} and {name!r} seem to be one; give each video one name"
        )


def unique_names(videos: Sequence[Path]) -> list[str]:
    """What the tables call each file: its stem, or as much of its path as no other file shares.

    Raises:
        InputError: `utf8_name` makes two paths equal.

    Warns:
        a file's name is not UTF-8.
    """
    renamed = [video for video in videos if utf8_name(video.name) != video.name]
    if renamed:
        warnings.warn(
            f"{some_of(renamed)}: not UTF-8; the tables have {utf8_name(renamed[0].stem)} for "
            f"{renamed[0].stem}",
            stacklevel=2,
        )
    # Without the root, and not by resolve(), which would follow links to other names.
    parts = [Path(utf8_name(os.path.abspath(video))).parts[1:] for video in videos]  # noqa: PTH100
    names = [utf8_name(video.name if video.is_dir() else video.stem) for video in videos]
    length = 1
    while max((counts := Counter(names)).values(), default=1) > 1:
        if length > max(map(len, parts)):
            same = [video for video, name in zip(videos, names, strict=True) if counts[name] > 1]
            raise InputError(f"{same[0]}: has the name of {same[1]} in the tables; rename one")
        length += 1
        names = [
            "/".join(path[-length:]) if counts[name] > 1 else name
            for name, path in zip(names, parts, strict=True)
        ]
    return names


def strip_extension(name: str) -> str:
    """The name without the extension of a video file; other dots are part of the name."""
    stem, _, extension = name.rpartition(".")
    if not stem or f".{extension.lower()}" not in VIDEO_EXTENSIONS:
        return name
    return strip_extension(stem)  # walk.mp4.mp4


def utf8_name(name: str) -> str:
    """The name as tables can have it: a byte of a file's name that is not UTF-8 becomes %E9."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)


def strip_timestamps(name: str) -> str:
    """Kinetics' ID_000010_000020 as ID."""
    return re.sub(r"_\d{6}_\d{6}$", "", name)


def folder_name(name: str) -> str:
    """The name as that of a single folder: different for different names, and never hidden."""
    flat = name.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C")
    return shorten_path(f"%2E{flat[1:]}" if flat.startswith(".") else flat)


def shorten_path(name: str) -> str:
    """The name as a path to which an extension can be added: long parts end in a digest instead."""
    return "/".join(map(_shorten, name.split("/")))


def _shorten(part: str) -> str:
    encoded = part.encode()
    if len(encoded) <= _MAX_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: _MAX_BYTES - 17].decode(errors='ignore')}~{digest}"
