"""A parser from a function's signature and docstring."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from argparse import ArgumentError
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

from ..datasets.errors import error_line


def parse_arguments(function: Callable, command: str, arguments: list[str]) -> dict[str, Any]:
    """The function's keyword arguments, read from the command line and its YAML file."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentParser

    from ..datasets.errors import InputError, as_option

    text = parse_docstring(function.__doc__ or "")
    explained = {entry.arg_name: entry.description for entry in text.params}
    parser = ArgumentParser(
        prog=f"actiontubes {command}",
        description=f"{text.short_description}\n\n{text.long_description or ''}",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    hints = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        _add_argument(parser, parameter, hints[name], explained[name] or "")
    try:
        values = parser.parse_args(_with_recipes(arguments)).as_dict()
    except ArgumentError as error:
        # What jsonargparse says of a bare word in a YAML file where a list belongs.
        bare_word = "item assignment" in str(error)
        why = (
            "in a YAML file, write several values as a list: [a, b]"
            if bare_word
            else error_line(error)
        )
        why += _nearest_options(why, hints)
        if "parsing config" in why:
            files = [name for word, name in pairwise(arguments) if word == "--config"]
            why = f"{', '.join(files)}: {why}"
        raise InputError(f"{why} (see `actiontubes {command} --help`)") from error
    for name, kind in hints.items():
        if kind is bool and not isinstance(values[name], bool):
            raise InputError(f"{as_option(name)}: must be true or false, not {values[name]}")
    return {name: values[name] for name in hints if name != "return"}


def _with_recipes(arguments: list[str]) -> list[str]:
    """--config NAME as the path of the recipe that comes with the package."""
    from importlib.resources import files
    from pathlib import Path

    named: list[str] = []
    for word in arguments:
        named += word.split("=", 1) if word.startswith("--config=") else [word]
    for place, name in enumerate(named[1:], 1):
        recipe = files(__package__) / "recipes" / f"{name}.yaml"
        if named[place - 1] == "--config" and not Path(name).is_file() and recipe.is_file():
            named[place] = str(recipe)
    return named


def _add_argument(parser: Any, parameter: inspect.Parameter, kind: Any, explained: str) -> None:
    """Keyword-only, it becomes an option, required without a default; else a positional word.

    A bool is a flag, a list takes several words.
    """
    name, default = parameter.name, parameter.default
    optional = get_origin(kind) in (typing.Union, types.UnionType) and type(None) in get_args(kind)
    inner = next(arg for arg in get_args(kind) if arg is not type(None)) if optional else kind
    several = get_origin(inner) is list
    flag = f"--{name.replace('_', '-')}"
    if default is inspect.Parameter.empty and parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        parser.add_argument(flag, type=kind, required=True, help=explained)
    elif default is inspect.Parameter.empty:
        (element,) = get_args(inner) if several else (inner,)
        parser.add_argument(name, type=element, nargs="+" if several else None, help=explained)
    elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        parser.add_argument(name, type=inner, nargs="?", default=default, help=explained)
    elif kind is bool:
        parser.add_argument(flag, action="store_true", default=default, help=explained)
    elif several:
        (element,) = get_args(inner)
        parser.add_argument(flag, type=element, nargs="+", default=default, help=explained)
    else:
        parser.add_argument(flag, type=kind, default=default, help=explained)


def _nearest_options(why: str, names: Iterable[str]) -> str:
    """For the unknown options that an error names, the closest ones there are."""
    from ..datasets.errors import as_option

    if "nrecognized arguments" not in why:
        return ""
    options = [as_option(name) for name in names if name != "return"]
    words = [word.partition("=")[0] for word in why.split() if word.startswith("--")]
    near = [found for word in words for found in difflib.get_close_matches(word, options, 1)]
    return f"; did you mean {' and '.join(near)}?" if near else ""
