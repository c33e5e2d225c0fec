"""How --help shows an option: what kind of word it takes, and its default if it has one."""

from __future__ import annotations

from argparse import SUPPRESS, Action
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

_WORDS = {Path: "PATH", int: "N", float: "X", str: "TEXT"}


class HelpFormatter(DefaultHelpFormatter):
    """Without Python's types: the word behind an option's name says what it takes."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if action.required:
            return f"{text} (required)"
        has_default = action.default not in (None, SUPPRESS) and action.nargs != 0
        return f"{text} (default: %(default)s)" if has_default and "Default" not in text else text


def placeholder(kind: Any) -> str | None:
    """What --help writes for a value of a type: PATH, N, X, TEXT or {a,b}; None for others."""
    kinds = [each for each in get_args(kind) or (kind,) if each is not type(None)]
    if get_origin(kind) is Literal or (kinds and get_origin(kinds[0]) is Literal):
        choices = get_args(kind) if get_origin(kind) is Literal else get_args(kinds[0])
        return "{" + ",".join(map(str, choices)) + "}"
    return _WORDS.get(kinds[0]) if len(kinds) == 1 else None
