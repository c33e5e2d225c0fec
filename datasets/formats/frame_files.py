"""Which video and frame a file of one frame belongs to, by its path.

Programs write alpha/00001.jpg, alpha/img_00001.jpg, frames/alpha/00001.jpg, alpha_00001.jpg or, for
a video Run/alpha, Run_alpha_00001.txt. The last number is the frame's.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError, more_rows, some_of
from ..frame_numbers import from_first_frame
from ..tables import Tubes
from ..video_names import VideoIndex, strip_extension

_NAME = re.compile(r"(.*?)(?<![0-9])([0-9]{1,9})(?:\.[A-Za-z]\w*)?")
_FRAME_WORD = re.compile(r"(^|[-_. ]+)(frame|img|image|f)$", re.IGNORECASE)
_FRAME_FOLDER = re.compile(r"(^|/)(img1?|frames?|images?|rgb)$", re.IGNORECASE)
_SEPARATORS = "-_. "
_SHOWN = 200  # characters of a path in a message


@dataclass(frozen=True, eq=False)
class FrameFiles:
    """The video and number of F files.

    Attributes:
        videos: F names of videos: known ones, or what the path itself says.
        numbers: (F,) int64, as in the names of the files.
    """

    videos: list[str]
    numbers: np.ndarray


class _Series(NamedTuple):
    """What the paths of a video's files have in common: folder "frames/alpha" and before "img_"."""

    folder: str
    before: str

    @property
    def stems(self) -> list[str]:
        """What stands before the number, with and without a word for frame; [] for "img_"."""
        stem = self.before.rstrip(_SEPARATORS)
        return [each for each in (stem, _FRAME_WORD.sub("", stem)) if each]

    @property
    def paths(self) -> list[str]:
        """What may be a video's name: the folder, and the folder with what is before the number."""
        folders = [self.folder, _FRAME_FOLDER.sub("", self.folder)]
        paths = folders + [f"{self.folder}/{stem}".lstrip("/") for stem in self.stems]
        return [path for path in paths if path]

    @property
    def own_name(self) -> str:
        """The name of a video that nobody knows."""
        stem = self.before.rstrip(_SEPARATORS)
        return "/".join(filter(None, (self.folder, stem if _FRAME_WORD.sub("", stem) else "")))


def match_frame_files(
    paths: Sequence[str], known: Iterable[str], place: str, layout: str
) -> FrameFiles:
    """The videos and numbers that paths of files mean.

    A path means the known video that its folder, or its folder and name, mean by `VideoIndex`, or
    whose name, with _ for /, stands before the number. Where it means none, it means the one whose
    name is the end of what stands before the number, or the last part of which is the folder's,
    unless another file means that video.

    Args:
        paths: F, with / or \\ between folders.
        known: the names of videos.
        place: what stands before a path in messages.
        layout: how files must be named, for messages.

    Raises:
        InputError: a name has no number, a path may mean several known videos, or files of two
            names mean the same video.

    Warns:
        how many videos were matched by the ends of names.
    """
    series: dict[_Series, str] = {}  # and the first file of each, for messages
    of_path: list[_Series] = []
    numbers: list[int] = []
    for path in paths:
        folder, _, file = path.replace("\\", "/").rpartition("/")
        match = _NAME.fullmatch(file)
        if match is None or not (folder or match[1]):
            raise InputError(f"{place}{path[:_SHOWN]}: must be named {layout}")
        of_path.append(_Series(folder, match[1]))
        series.setdefault(of_path[-1], f"{place}{path[:_SHOWN]}")
        numbers.append(int(match[2]))
    names = _KnownNames(known)
    videos = _match(series, names.find)
    rest = {each: file for each, file in series.items() if each not in videos}
    by_end = _match(rest, names.find_by_end, frozenset(videos.values()))
    if by_end:
        first, video = next(iter(by_end.items()))
        warnings.warn(
            f"{series[first]}: is taken for a frame of {video}, whose name ends so"
            f"{more_rows(len(by_end)).replace('row', 'video')}",
            stacklevel=5,
        )
    videos |= by_end
    return FrameFiles([videos.get(each, each.own_name) for each in of_path], np.array(numbers, int))


def _match(
    series: Mapping[_Series, str],
    find: Callable[[_Series, str], set[str]],
    taken: frozenset[str] = frozenset(),
) -> dict[_Series, str]:
    """The known video of each series that means one which is not taken."""
    found: dict[_Series, str] = {}
    file_of: dict[str, str] = {}
    for each, file in series.items():
        videos = find(each, file) - taken
        if len(videos) > 1:
            raise InputError(f"{file}: could be a frame of {some_of(sorted(videos))}")
        for video in videos:
            if video in file_of:
                raise InputError(
                    f"{file}: could be a frame of {video}, and so could {file_of[video]}; name the "
                    "files of each video in one way"
                )
            found[each], file_of[video] = video, file
    return found


class _KnownNames:
    """The names of videos, to look up what stands in paths."""

    def __init__(self, names: Iterable[str]) -> None:
        self._index = VideoIndex(names)
        self._flat: dict[str, set[str]] = {}
        self._last: dict[str, set[str]] = {}
        for name in self._index.names:
            self._flat.setdefault(_flat(name), set()).add(name)
            self._last.setdefault(_last(name), set()).add(name)

    def find(self, series: _Series, file: str) -> set[str]:
        codes = {self._index.find(path, f"{file}: ") for path in series.paths}
        found = {self._index.names[code] for code in codes if code is not None}
        return found.union(*(self._flat.get(_flat(stem), ()) for stem in series.stems))

    def find_by_end(self, series: _Series, _: str) -> set[str]:
        ends = [self._flat.get(end, set()) for stem in series.stems for end in _ends(stem)]
        return set().union(*ends, *(self._last.get(_last(path), ()) for path in series.paths))


def first_frame_of(files: FrameFiles, truth: Tubes | None, source: object) -> int:
    """The number of a video's first frame in the names of files, 0 or 1.

    It is the one that is there. Without either, it is the one with which the files are all frames
    of the ground truth, or the ground truth's frames are all files.

    Args:
        files: all files of a program's output.
        truth: the ground truth, if there is any.
        source: the file or folder, for messages.

    Raises:
        InputError: both numbers are possible.
    """
    firsts = [first for first in (0, 1) if (files.numbers == first).any()]
    if not firsts and truth is not None:
        present = set(files.videos)
        annotated = {
            (truth.video_names[video], frame)
            for video, frame in zip(truth.video.tolist(), truth.frame.tolist())
            if truth.video_names[video] in present
        }
        videos = {video for video, _ in annotated}
        for first in (0, 1):
            frames = from_first_frame(files.numbers, first).tolist()
            listed = {pair for pair in zip(files.videos, frames) if pair[0] in videos}
            if listed and (listed <= annotated or annotated <= listed):
                firsts.append(first)
        firsts = firsts if len(firsts) == 1 else []
    if not firsts:
        raise InputError(
            f"{source}: the numbers of the frames begin with {files.numbers.min()}, so that they "
            "may count from 0 or from 1; give --first-frame, or write `video` and `frame` (from 0) "
            "into its images"
        )
    return firsts[0]


def _flat(name: str) -> str:
    """A video's name as a part of a file's name."""
    return strip_extension(name).replace("\\", "/").replace("/", "_").casefold()


def _last(name: str) -> str:
    """The last part of a video's name."""
    return strip_extension(name).replace("\\", "/").rpartition("/")[2].casefold()


def _ends(stem: str) -> Iterator[str]:
    """The flat name without its first words: "alpha" for "run_alpha"."""
    words = _flat(stem).split("_")
    yield from ("_".join(words[i:]) for i in range(1, len(words)))
