"""Which video and frame a file of one frame belongs to, by its path.

Programs write alpha/00001.jpg, alpha/img_00001.jpg, frames/alpha/00001.jpg, alpha_00001.jpg or, for
a video Run/alpha, Run_alpha_00001.txt. The last number is the frame's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import InputError, some_of
from ..video_names import VideoIndex, strip_extension

_NAME = re.compile(r"(.*?)(?<![0-9])([0-9]{1,9})(?:\.[A-Za-z]\w*)?")
_FRAME_WORD = re.compile(r"(^|[-_. ]+)(frame|img|image|f)$", re.IGNORECASE)
_SEPARATORS = "-_. "
_SHOWN = 200  # characters of a path in a message


class FrameFiles:
    """The videos that files of single frames may belong to.

    Args:
        known: the names of videos.
        place: what stands before a path in messages.
        layout: how the files must be named, for messages.
    """

    def __init__(self, known: Iterable[str], place: str, layout: str) -> None:
        self._index, self._place, self._layout = VideoIndex(known), place, layout
        self._flat: dict[str, set[str]] = {}
        for name in self._index.names:
            self._flat.setdefault(_flat(name), set()).add(name)
        self._videos: dict[tuple[str, str], str] = {}

    def find(self, path: str) -> tuple[str, int]:
        """The video and the number of a frame's file.

        Args:
            path: with / or \\ between folders.

        Returns:
            the known video that the path means, or, where it means none, the name that the path
            itself gives; and the number in the file's name.

        Raises:
            InputError: the name has no number, or the path may mean several of the known videos.
        """
        folder, _, file = path.replace("\\", "/").rpartition("/")
        match = _NAME.fullmatch(file)
        if match is None:
            raise InputError(f"{self._place}{path[:_SHOWN]}: must be named {self._layout}")
        key = folder, match[1]
        if key not in self._videos:
            self._videos[key] = self._find_video(folder, match[1], path)
        return self._videos[key], int(match[2])

    def _find_video(self, folder: str, before: str, path: str) -> str:
        """The video of the files in a folder whose names begin with `before`."""
        place = f"{self._place}{path[:_SHOWN]}: "
        stem = before.rstrip(_SEPARATORS)
        stems = [each for each in (stem, _FRAME_WORD.sub("", stem)) if each]
        paths = [each for each in (folder, *(f"{folder}/{each}" for each in stems)) if each]
        codes = {self._index.find(each.lstrip("/"), place) for each in paths}
        videos = {self._index.names[code] for code in codes if code is not None}
        videos.update(*(self._flat.get(_flat(each), ()) for each in stems))
        if not videos:
            videos.update(*(self._flat.get(end, ()) for each in stems for end in _ends(each)))
        if len(videos) > 1:
            raise InputError(
                f"{place}could be a frame of {some_of(sorted(videos))}; name it {self._layout}"
            )
        is_bare = not stems or _FRAME_WORD.fullmatch(stem) is not None
        own = folder if folder and is_bare else "/".join(filter(None, (folder, stem)))
        return videos.pop() if videos else own


def first_frame_of(numbers: np.ndarray, source: object) -> int:
    """The number of a video's first frame in the names of files: 0 or 1, whichever is there.

    Args:
        numbers: (F,) of all files.
        source: the file or folder, for messages.

    Raises:
        InputError: neither is there.
    """
    for first in (0, 1):
        if not len(numbers) or (numbers == first).any():
            return first
    raise InputError(
        f"{source}: the numbers of the frames begin with {numbers.min()}, so that they may count "
        "from 0 or from 1; give --first-frame 0 or --first-frame 1"
    )


def _flat(name: str) -> str:
    """A video's name as a part of a file's name."""
    return strip_extension(name).replace("\\", "/").replace("/", "_").casefold()


def _ends(stem: str) -> Iterator[str]:
    """The flat name without its first words: "alpha" for "run_alpha"."""
    words = _flat(stem).split("_")
    yield from ("_".join(words[i:]) for i in range(1, len(words)))
