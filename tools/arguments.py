"""Command line and YAML file of a command, from its function's signature and docstrings.

A parameter is an option, or a positional word if it is not keyword-only; each field of a parameter
that is a dataclass is an option, too, with the help of the dataclass's docstring.
"""

from __future__ import annotations

import inspect
import re
import types
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..datasets.errors import InputError, as_option, error_line
from ..datasets.options import check_option, option_name, option_types, split_annotated
from ..datasets.storage.text_files import parse_yaml, read_text
from .command_words import join_repeated, protect_words, restore_words
from .output_paths import refuse_lost_inputs

# Other names of options that the command line and YAML files accept: words of version 0.1, and
# those that users of other tools try first.
OLD_NAMES = {
    "optimiser": "optimizer",
    "warm_up": "warmup",
    "colour": "color",
    "unbalanced": "no_balance",
    "examples": "rois_per_frame",
    "own_background": "separate_background",
    "smoothing": "label_smoothing",
    "choices": "set",
    "given": "external_proposals",
    "every": "key_frame_step",
    "scene": "scene_weight",
    "conf": "threshold",
}
_LONGEST_REASON = 600  # characters of the parser's words, which repeat the values


class Omit:
    """Fields that are no options of a command: `Annotated[Schedule, Omit("evaluate_every")]`."""

    def __init__(self, *names: str) -> None:
        self.names = names


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a command.

    Attributes:
        parameter: of the command's function.
        field: of the parameter, if it is a dataclass.
        name: on the command line and in YAML, with underscores.
        hint: the type, perhaps Annotated.
        default: MISSING if the option is required.
        help: one sentence.
        positional: whether it is a word without a name.
    """

    parameter: str
    field: str | None = None
    name: str
    hint: Any
    default: Any
    help: str
    positional: bool = False

    @property
    def kind(self) -> Any:
        """The type without its annotations."""
        return split_annotated(self.hint)[0]

    @property
    def elements(self) -> tuple[Any, ...]:
        """The types in a list or tuple, perhaps followed by Ellipsis; none of another type."""
        is_union = get_origin(self.kind) in (Union, types.UnionType)
        kinds = get_args(self.kind) if is_union else (self.kind,)
        return next((get_args(kind) for kind in kinds if get_origin(kind) in (list, tuple)), ())

    @property
    def switches_off(self) -> bool:
        """Whether it is a flag --no-NAME."""
        return self.kind is bool and self.default is True

    @property
    def key(self) -> str:
        return f"no_{self.name}" if self.switches_off else self.name

    def checked(self, value: Any) -> Any:
        """What the command gets for a value of the command line or the YAML file.

        Raises:
            InputError: another type, number of values or range.
        """
        option = as_option(self.key)
        if self.kind is bool:
            if not isinstance(value, bool):
                raise InputError(f"{option}: must be true or false, not {value}")
            return value != self.switches_off
        if isinstance(value, list):
            count = len(self.elements)
            if count > 1 and Ellipsis not in self.elements and len(value) != count:
                raise InputError(f"{option}: needs {count} numbers, not {len(value)}")
            value = tuple(value) if count > 1 else value
        check_option(self.name, value, self.hint)
        return value


def parse_arguments(function: Callable, command: str, arguments: list[str]) -> dict[str, Any]:
    """The function's keyword arguments, read from the command line and its YAML file.

    Raises:
        InputError: an unknown option, or a value that it must not have.
    """
    from jsonargparse import ArgumentParser

    from .help_format import HelpFormatter

    _, description = _explanations(function)
    options = list(options_of(function))
    parser = ArgumentParser(
        prog=f"actiontubes {command}",
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    for option in options:
        _add_argument(parser, option, with_old_names="--help" not in arguments)
    known = {"-h", "--help", "--config", *map(as_option, [*OLD_NAMES, *(o.key for o in options)])}
    lists = {as_option(o.key) for o in options if len(o.elements) == 1 and not o.positional}
    words = join_repeated(protect_words(_with_recipes(arguments), known), known, lists)
    try:
        values = restore_words(parser.parse_args(words).as_dict())
    # The parser fails in its own ways on keys and values that YAML may have.
    except (
        ArgumentError, ValueError, TypeError, LookupError, AttributeError, RuntimeError
    ) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        raise InputError(_reason(error, arguments, [option.key for option in options])
                         + f" (see `actiontubes {command} --help`)") from error  # fmt: skip
    result: dict[str, Any] = {}
    refuse_lost_inputs(values | {"config": [b for a, b in pairwise(words) if a == "--config"]})
    for option in options:
        value = option.checked(values[option.key])
        if option.field is None:
            result[option.parameter] = value
        else:
            result.setdefault(option.parameter, {})[option.field] = value
    hints = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            has_default = parameter.default is not inspect.Parameter.empty
            make = partial(replace, parameter.default) if has_default else hints[name]
            result[name] = make(**result[name])
    return result


def options_of(function: Callable) -> Iterator[Option]:
    """The options of a command, in the order of its parameters."""
    explained, _ = _explanations(function)
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, extras = split_annotated(hints[name])
        default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        if not (isinstance(kind, type) and is_dataclass(kind)):
            yield Option(
                parameter=name, name=option_name(name, hints[name]), hint=hints[name],
                default=default, help=explained[name],
                positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
            )  # fmt: skip
            continue
        omitted = {field for extra in extras if isinstance(extra, Omit) for field in extra.names}
        types_of, (help_of, _) = option_types(kind), _explanations(kind)
        for field in fields(kind):
            if field.name not in omitted:
                hint = types_of[field.name]
                yield Option(
                    parameter=name, field=field.name, name=option_name(field.name, hint),
                    hint=hint, help=help_of[field.name],
                    default=field.default if default is MISSING else getattr(default, field.name),
                )  # fmt: skip


def _explanations(documented: Any) -> tuple[dict[str, str], str]:
    """The help of each parameter or field in a docstring of Google's style, and the text before."""
    text = inspect.cleandoc(documented.__doc__ or "")
    description, *sections = re.split(r"\n+(?:Args|Attributes):\n", text)
    # An entry is "    name: text", and its further lines are indented farther.
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", "\n".join(sections), re.MULTILINE)
    return dict(entries), description


def _add_argument(parser: Any, option: Option, *, with_old_names: bool) -> None:
    """A bool becomes a flag; a list or tuple takes several words."""
    from .help_format import placeholder

    settings: dict[str, Any] = {"help": option.help, "type": option.kind}
    if option.elements:
        settings |= {"type": option.elements[0], "nargs": "+"}
    if not option.positional:
        settings["metavar"] = placeholder(settings["type"])
    if option.positional:
        names = [option.name]
        if option.default is not MISSING:
            settings |= {"nargs": "*" if option.elements else "?", "default": option.default}
    else:
        key = option.key
        old = [old for old, new in OLD_NAMES.items() if new == key] if with_old_names else []
        # In a YAML file an old name has underscores, too.
        names = [as_option(key), *map(as_option, old), *(f"--{name}" for name in old)]
        if option.default is MISSING:
            settings["required"] = True
        else:
            is_tuple = isinstance(option.default, tuple)
            settings["default"] = list(option.default) if is_tuple else option.default
    if option.kind is bool:
        del settings["type"], settings["metavar"]
        settings |= {"action": "store_true", "default": option.default and not option.switches_off}
    parser.add_argument(*dict.fromkeys(names), **settings)


def _reason(error: Exception, arguments: list[str], options: list[str]) -> str:
    """An error of the parser in words for the user."""
    reason = restore_words(error_line(error))
    reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
    if "item assignment" in reason:  # jsonargparse on a bare word where a list belongs
        reason = "in a YAML file, write several values as a list: [a, b]"
    reason += _nearest_options(reason, options)
    files = [name for word, name in pairwise(arguments) if word == "--config"]
    given = [word.partition("=")[0][2:] for word in arguments if word.startswith("--")]
    on_command_line = any(re.search(rf"\b{re.escape(word)}\b", reason) for word in
                          (name.replace("-", "_") for name in given))  # fmt: skip
    if "parsing config" in reason or not on_command_line:
        reason = ": ".join([*files, reason])
    return reason


def _with_recipes(arguments: list[str]) -> list[str]:
    """The words, with --config NAME as the path of the recipe that comes with the package.

    Raises:
        InputError: the file of --config is not UTF-8, or as `parse_yaml`.
    """
    from importlib.resources import files
    from pathlib import Path

    words: list[str] = []
    for word in arguments:
        words += word.split("=", 1) if word.startswith("--config=") else [word]
    for i, (option, name) in enumerate(pairwise(words), 1):
        recipe = files(__package__) / "recipes" / f"{name.removesuffix('.yaml')}.yaml"
        if option == "--config" and not Path(name).is_file() and recipe.is_file():
            words[i] = str(recipe)
        elif option == "--config" and Path(name).is_file():
            content = parse_yaml(read_text(Path(name)), name)
            if not isinstance(content, dict):
                raise InputError(
                    f"{name}: must hold options, one a line (name: value), not "
                    f"{'nothing' if content is None else repr(content)[:60]}"
                )
    return words


def _nearest_options(reason: str, names: Iterable[str]) -> str:
    """For the unknown options that an error names, the closest ones there are."""
    if "nrecognized arguments" not in reason:
        return ""
    import difflib

    options = [as_option(name) for name in names]
    words = [word.partition("=")[0] for word in reason.split() if word.startswith("--")]
    near = [match for word in words for match in difflib.get_close_matches(word, options, 1)]
    return f"; did you mean {' and '.join(near)}?" if near else ""
