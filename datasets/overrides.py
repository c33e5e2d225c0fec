"""Fields of a record of parameters, changed by their names."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError, choose_from

Record = TypeVar("Record")

_OLD_NAMES = {
    "merit": "priority", "pixels": "extent", "frame_pixels": "frame_extent",
    "tube_pixels": "tube_extent", "frame_area": "frame_ap_method", "tube_area": "tube_ap_method",
    "frame_second_hit": "frame_duplicates", "tube_second_hit": "tube_duplicates",
    "tube_above": "strict_tube_iou",
}  # fmt: skip
"""Names of fields in version 0.1, which are still accepted."""


def override_fields(record: Record, values: Mapping[str, Any]) -> Record:
    """The record with some of its fields changed.

    Args:
        record: a frozen dataclass. Fields whose types are numbers, flags, None or words out of a
            list can be changed, all but `name`.
        values: by field name; text is converted to the field's type.

    Raises:
        InputError: no such field, or not a value of it.
    """
    hints = get_type_hints(type(record))
    simple = [name for name in hints if name != "name" and _simple_types(hints[name])]
    converted = {}
    for name, value in values.items():
        text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
        field = name if name in hints else _OLD_NAMES.get(name, name)
        if field not in simple:
            raise InputError(f"{name}={text}: there is no rule {name}; {choose_from(name, simple)}")
        converted[field] = _convert(hints[field], text, f"{name}={text}")
    return replace(record, **converted) if converted else record  # type: ignore[type-var]


def _simple_types(hint: Any) -> tuple[Any, ...]:
    """The plain types that a field may have; none if it has another."""
    if get_origin(hint) is Literal:
        return (hint,)
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return parts if all(part in (int, float, bool, type(None)) for part in parts) else ()


def _convert(hint: Any, text: str, choice: str) -> Any:
    if get_origin(hint) is Literal:
        if text in get_args(hint):
            return text
        raise InputError(f"{choice}: {text} is not allowed; choose {', '.join(get_args(hint))}")
    allowed = _simple_types(hint)
    if bool in allowed:
        if text in ("true", "false"):
            return text == "true"
        raise InputError(f"{choice}: must be true or false")
    if text == "none" and type(None) in allowed:
        return None
    try:
        return int(text) if int in allowed else float(text)
    except ValueError:
        whole = "whole " if int in allowed else ""
        raise InputError(f"{choice}: must be a {whole}number") from None
