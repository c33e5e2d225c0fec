"""The console command `actiontubes`: a function of the tools folder becomes a sub-command."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
import types
import typing
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

# One line each, so that `actiontubes --help` imports none of them.
COMMANDS = {
    "demo": "no download, no data: make a small data set, train, evaluate and draw",
    "detect": "find action tubes in videos; writes tables and drawn videos",
    "live": "detect actions in a camera or stream, shown in a browser or written to files",
    "train": "train a detector on JHMDB, UCF101-24 or your own videos",
    "classify": "train or test a video classifier",
    "study": "the paper's study: accuracy against cost, over networks, seeds and streams",
    "visualize": "draw tubes into a video",
    "evaluate": "frame-mAP and video-mAP of detections and tubes",
    "link": "link detections into tubes",
    "flow": "compute videos' optical flow once, and draw it",
    "prepare": "convert the official downloads of a data set into tables",
    "models": "list the backbones with their parameters and multiply-adds",
    "benchmark": "measure the speed of the backbones, the detector or the evaluation",
    "export": "write a trained detector as ONNX or for torch.export",
    "weights": "list, download or locate pretrained weights",
}
_LONG = ("demo", "train", "classify", "study")  # they share a machine for minutes and hours


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code: 0, or 2 after an error the user can mend."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    command = arguments[0]
    if command not in COMMANDS:
        from ..datasets.files import choose_from

        instead = choose_from(command, COMMANDS, len(COMMANDS))
        print(f"actiontubes: unknown command {command}; {instead}", file=sys.stderr)
        return 2
    from ..datasets.files import InputError

    warnings.showwarning = _one_line_warning
    if command in _LONG:
        # Threads that spin while they wait make a step beside another busy process take five times
        # as long, and a tenth less alone; torch's OpenMP reads this once, when it is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        function = getattr(import_module(f".{command}", __package__), command)
        return function(**_parse(function, command, arguments[1:])) or 0
    except KeyboardInterrupt:
        _say("actiontubes: stopped by Ctrl-C")
        return 130
    except BrokenPipeError:
        return 0
    except (InputError, OSError) as error:
        if debug:
            raise
        _say(f"actiontubes {command}: {one_line(error)}")
        return 2


def _say(line: str) -> None:
    """Writes a last line to stderr, not behind a progress bar that an error left there."""
    for bar in _bars():
        bar.close()
    print(line, file=sys.stderr)


def _bars() -> list[Any]:
    """The progress bars that stand on the screen, or soon will."""
    return list(sys.modules["tqdm"].tqdm._instances) if "tqdm" in sys.modules else []


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: actiontubes COMMAND ...",
            "",
            "Who does what, where and when in video: spatio-temporal action detection.",
            "",
            *lines,
            "",
            "`actiontubes COMMAND --help` explains a command. Every option can also stand in a",
            "YAML file given with --config; --debug shows the traceback of an error.",
        ]
    )


def one_line(error: Exception) -> str:
    """An error's message without line breaks; of a system error, the file and what is wrong."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _one_line_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    for bar in _bars():
        bar.clear()  # it comes back with its next step
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _parse(function: Callable, command: str, arguments: list[str]) -> dict[str, Any]:
    """The function's keyword arguments, read from the command line and its YAML file."""
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentParser

    from ..datasets.files import InputError, as_option

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
            else one_line(error)
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


def _nearest_options(why: str, names: Iterable[str]) -> str:
    """For the unknown options that an error names, the closest ones there are."""
    from ..datasets.files import as_option

    if "nrecognized arguments" not in why:
        return ""
    options = [as_option(name) for name in names if name != "return"]
    words = [word.partition("=")[0] for word in why.split() if word.startswith("--")]
    near = [found for word in words for found in difflib.get_close_matches(word, options, 1)]
    return f"; did you mean {' and '.join(near)}?" if near else ""


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


if __name__ == "__main__":
    sys.exit(main())
