"""Parameters that the command line spells as name=value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ..datasets.overrides import override_fields
from ..detect.evaluation.protocols import Protocol

Record = TypeVar("Record")


def parse_overrides(choices: Sequence[str] | None) -> dict[str, str]:
    """Text by name, from words such as "gap=3"."""
    return {name: text for name, _, text in (choice.partition("=") for choice in choices or ())}


def override_protocol(protocol: Protocol, choices: Sequence[str] | None) -> Protocol:
    """The protocol with some rules changed, which its name then says.

    Raises:
        InputError: no such rule, or not a value of it.
    """
    if not choices:
        return protocol
    changed = override_fields(protocol, parse_overrides(choices))
    return replace(changed, name=f"{protocol.name} with {', '.join(choices)}")
