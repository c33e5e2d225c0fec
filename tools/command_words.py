"""Words of a command line that the parser would not take as they are: names of files in any bytes.

The parser reads words as YAML, which has no character for a byte that is not UTF-8, and takes #
for a comment. Meanwhile other characters stand for them, of Unicode's private use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

# Python decodes the byte 0xE9 that is not UTF-8 as U+DCE9; U+10F7E9 stands for it, U+10F723 for #.
_PRIVATE, _ESCAPED = 0x10F700, 0xDC00
_UNREADABLE = re.compile("[\udc80-\udcff]|^#")
_STAND_INS = re.compile("[\U0010f780-\U0010f7ff\U0010f723]")


def protect_words(arguments: list[str], options: Collection[str]) -> list[str]:
    """The words as the parser takes them, see `restore_words`.

    A file whose name begins with - becomes ./-NAME, unless it is called like an option.
    """
    words = [
        f".{os.sep}{word}"
        if word.startswith("-") and word.partition("=")[0] not in options and os.path.lexists(word)
        else word
        for word in arguments
    ]
    return [_UNREADABLE.sub(lambda c: chr(ord(c[0]) % 256 + _PRIVATE), word) for word in words]


def join_repeated(words: list[str], options: Collection[str], lists: Collection[str]) -> list[str]:
    """The words with the values of each option in `lists` together, however often it is given.

    The parser would take the last ones alone.

    Args:
        words: of a command line.
        options: all that there are.
        lists: those of any number of values.
    """
    groups: list[list[str]] = [[]]
    of_option: dict[str, list[str]] = {}
    for word in words:
        if word in lists and word in of_option:
            groups.append(of_option[word])
        elif word in options:
            groups.append(of_option.setdefault(word, [word]) if word in lists else [word])
        else:
            groups[-1].append(word)
    once = {id(group): group for group in groups}
    return [word for group in once.values() for word in group]


def restore_words(value: Any) -> Any:
    """A value from the parser, of any containers, as it was before `protect_words`."""
    if isinstance(value, str):
        return _STAND_INS.sub(_restored, value)
    if isinstance(value, Path):
        return type(value)(restore_words(str(value)))
    if isinstance(value, dict):
        return {key: restore_words(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(restore_words, value))
    return value


def _restored(stand_in: re.Match[str]) -> str:
    byte = ord(stand_in[0]) - _PRIVATE
    return "#" if byte == ord("#") else chr(byte + _ESCAPED)
