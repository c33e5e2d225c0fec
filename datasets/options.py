"""Ranges of options: a dataclass states them beside its fields, and one function checks them all.

A field `steps: Annotated[int, at_least(1)] = 100` of a dataclass that inherits `Options` is an
option with type, default and range, and the dataclass's docstring is its help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from math import inf
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from .errors import InputError, as_option, choose_from


@dataclass(frozen=True, eq=False)
class Range:
    """Values that an option may have, and the words for them in an error message."""

    contains: Callable[[Any], bool]
    words: str


@dataclass(frozen=True, eq=False)
class OptionName:
    """The name of an option on the command line and in YAML, where the field has another name."""

    name: str


def at_least(low: float) -> Range:
    return Range(lambda value: value >= low, f"{low} or more")


def greater_than(low: float, *, up_to: float = inf) -> Range:
    limit = f" and at most {up_to}" if up_to < inf else ""
    return Range(lambda value: low < value <= up_to and value < inf, f"greater than {low}{limit}")


def between(low: float, high: float) -> Range:
    return Range(lambda value: low <= value <= high, f"between {low} and {high}")


def at_least_below(low: float, high: float) -> Range:
    return Range(lambda value: low <= value < high, f"at least {low} and less than {high}")


class Options:
    """A dataclass that checks its fields against their `Range` and `Literal` types.

    Raises:
        InputError: a value that its field must not have, by the name that the user types.
    """

    def __post_init__(self) -> None:
        record: Any = type(self)
        for name, hint in option_types(record).items():
            check_option(name, getattr(self, name), hint)


def check_option(name: str, value: Any, hint: Any) -> None:
    """Checks one value; None is always allowed, and of a sequence each element is checked.

    Args:
        name: of the field or parameter.
        value: what the user gave.
        hint: its type, perhaps Annotated with a `Range` and an `OptionName`.

    Raises:
        InputError: the value is out of range, or not one of a Literal's words.
    """
    if value is None:
        return
    kind, extras = split_annotated(hint)
    option = as_option(option_name(name, hint))
    if get_origin(kind) is Literal and value not in get_args(kind):
        known = get_args(kind)
        raise InputError(f"{option} {value}: unknown; {choose_from(value, known)}")
    several = isinstance(value, (list, tuple))
    for limits in extras:
        if not isinstance(limits, Range):
            continue
        if several and not (value and all(map(limits.contains, value))):
            shown = " ".join(map(str, value))
            raise InputError(f"{option} {shown}: every number must be {limits.words}")
        if not several and not limits.contains(value):
            raise InputError(f"{option} {value}: must be {limits.words}")


def option_name(field: str, hint: Any) -> str:
    """The name of a field's option."""
    _, extras = split_annotated(hint)
    return next((extra.name for extra in extras if isinstance(extra, OptionName)), field)


def split_annotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type, and what it is Annotated with."""
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


@cache
def option_types(record: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, with what they are Annotated with."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in fields(record)}
