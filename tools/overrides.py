"""Fields of a parameter record, spelled out on the command line as name=value."""

from __future__ import annotations

import types
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..datasets.errors import InputError, choose_from

Record = TypeVar("Record")


def with_overrides(record: Record, choices: list[str] | None) -> Record:
    """The record with some fields changed; its name, if it has one, then says which.

    Args:
        record: a frozen dataclass of numbers, flags and words.
        choices: such as "gap=3" or "tube_suppression=none".

    Raises:
        InputError: no such field, or not a value of it.
    """
    if not choices:
        return record
    hints = get_type_hints(type(record))
    simple = [name for name in hints if name != "name" and _kinds(hints[name])]
    values: dict[str, Any] = {}
    for choice in choices:
        name, _, text = choice.partition("=")
        if name not in simple:
            raise InputError(f"{choice}: there is no rule {name}; {choose_from(name, simple)}")
        values[name] = _value(hints[name], text, choice)
    if any(field.name == "name" for field in fields(record)):  # type: ignore[arg-type]
        values["name"] = f"{record.name} with {', '.join(choices)}"  # type: ignore[attr-defined]
    return replace(record, **values)  # type: ignore[type-var]


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The plain types that a field may have; none if it is no plain field."""
    if get_origin(hint) is Literal:
        return (hint,)
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return parts if all(part in (int, float, bool, type(None)) for part in parts) else ()


def _value(hint: Any, text: str, choice: str) -> Any:
    if get_origin(hint) is Literal:
        if text in get_args(hint):
            return text
        raise InputError(f"{choice}: {text} is not allowed; choose {', '.join(get_args(hint))}")
    kinds = _kinds(hint)
    if bool in kinds:
        if text in ("true", "false"):
            return text == "true"
        raise InputError(f"{choice}: must be true or false")
    if text == "none" and type(None) in kinds:
        return None
    try:
        return int(text) if int in kinds else float(text)
    except ValueError:
        raise InputError(f"{choice}: must be a {'whole ' if int in kinds else ''}number") from None
