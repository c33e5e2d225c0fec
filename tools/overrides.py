"""Parameters that the command line spells as name=value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ..datasets.errors import InputError
from ..datasets.overrides import override_fields
from ..detect.evaluation.protocols import Protocol

Record = TypeVar("Record")


def parse_overrides(choices: Sequence[str] | None) -> dict[str, str]:
    """Text by name, from words such as "gap=3".

    Raises:
        InputError: a name stands there twice.
    """
    values: dict[str, str] = {}
    for name, _, text in (choice.partition("=") for choice in choices or ()):
        if name in values:
            raise InputError(f"--set {name}={text}: {name} is already {values[name]}; set it once")
        values[name] = text
    return values


def override_protocol(protocol: Protocol, choices: Sequence[str] | None) -> Protocol:
    """The protocol with some rules changed, which its name then says.

    Raises:
        InputError: no such rule, or not a value of it.
    """
    if not choices:
        return protocol
    changed = override_fields(protocol, parse_overrides(choices))
    return replace(changed, name=f"{protocol.name} with {', '.join(choices)}")
