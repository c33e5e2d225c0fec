"""Which part of a split a word means."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .errors import InputError, choose_from, some_of

Part = Literal["train", "val", "test"]

_WORDS: dict[str, Part] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip


def part_of_word(word: str) -> Part | None:
    """The part of a data set that a word means, whatever its capitals; None for other words."""
    return _WORDS.get(word.strip().casefold())


def split_by_words(split: Mapping[str, str], source: str) -> dict[str, list[str]]:
    """The lists train1 and test1 of a column that says each video's part.

    Validation videos are the test videos where there are no others, and in no list where there are.

    Args:
        split: the word of each video.
        source: the file, for messages.

    Raises:
        InputError: a word that is not known.

    Warns:
        how many videos are in no list.
    """
    lists: dict[str, Any] = {}
    for video, word in split.items():
        part = part_of_word(word)
        if word.strip() and part is None:
            raise InputError(
                f"{source}: split {word!r} of video {video} is not a known part; "
                f"{choose_from(word, _WORDS, len(_WORDS))}"
            )
        lists.setdefault(part or "", []).append(video)
    lists = validation_as_test(lists)
    unused = [*lists.pop("val", ()), *lists.pop("", ())]
    if unused:
        warnings.warn(
            f"{source}: {len(unused)} videos are neither for training nor for testing "
            f"({some_of(unused)})",
            stacklevel=4,
        )
    return {f"{part}1": names for part, names in lists.items()}


def name_of_list(path: Path) -> str | None:
    """What a list of videos is called by its file: test1 for Test1.txt, testlist01.txt, test.txt.

    None where the name does not begin with the word of a part.
    """
    match = re.fullmatch(r"([a-z]+?)[-_ ]*(?:list|split)?[-_ ]*0*(\d*)", path.stem.casefold())
    part = part_of_word(match[1]) if match else None
    return None if match is None or part is None else f"{part}{match[2] or 1}"


def validation_as_test(lists: dict[str, Any]) -> dict[str, Any]:
    """The lists, where validation videos are the test videos if there are no others."""
    if any(name.startswith("test") for name in lists):
        return lists
    return {re.sub("^val", "test", name): names for name, names in lists.items()}
