"""Which of a detector's classes is a person."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from ....datasets.errors import InputError, choose_from
from ....datasets.formats.exchange.people import PERSON_WORDS

_UNNAMED = {1: 0, 80: 0, 91: 1}
"""The number of person by the count of classes: alone, of COCO's 80, and by COCO's own numbers."""
_LONGEST = 100_000  # characters of a list of names


def read_class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """The class names by number under "names", a Python or JSON list or dict, as ultralytics'.

    Returns:
        empty where there are none, or they are not to be understood.
    """
    text = metadata.get("names", "")
    if not text or len(text) > _LONGEST:
        return {}
    try:
        names = ast.literal_eval(text)
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in pairs}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}


def find_person_class(
    path: Path, names: Mapping[int, str], count: int | None, choice: str | None
) -> int:
    """The number of the class that is a person.

    Args:
        path: of the model, for messages.
        names: by number, may be empty.
        count: of the classes; None where it is not known.
        choice: what the user says of it: a name or a number.

    Raises:
        InputError: there is no such class, or nothing tells which it is.
    """
    by_word = {name.strip().lower(): number for number, name in names.items()}
    if choice is not None:
        number = by_word.get(choice.strip().lower())
        if number is None and choice.isdecimal() and len(choice) < 9:
            number = int(choice)
        known = range(count) if count is not None else names or None
        if number is None or (known is not None and number not in known):
            there = choose_from(choice, names.values()) if names else "give the class's number"
            if count is not None and not names:
                there += f", 0 to {count - 1}"
            raise InputError(f"--person-class {choice}: {path} has no such class; {there}")
        return number
    if not all(name.isdecimal() for name in names.values()):  # else they say nothing
        found = [by_word[word] for word in PERSON_WORDS if word in by_word]
        if len(found) == 1 or "person" in by_word:
            return found[0]
        what = "several classes of people" if found else "no class person"
        raise InputError(
            f"{path}: has {what}; give the one to detect as --person-class: "
            f"{choose_from('person', names.values())}"
        )
    if count in _UNNAMED:
        return _UNNAMED[count]
    classes = "class numbers" if count is None else f"{count} classes"
    raise InputError(
        f"{path}: has {classes} without names; give the number of person as --person-class (0 in "
        "COCO's order)"
    )
