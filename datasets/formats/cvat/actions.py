"""Which actions a box of CVAT shows: by its label, or by its attributes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, choose_from, some_of
from .content import Attributes, CvatContent

_NO_ACTION = ("", "__undefined__")
"""Values that say that nothing was chosen; CVAT writes the second."""
_TRUTHS = ("true", "false")
LABEL = "label"
"""The word by which the labels themselves are chosen, if no attribute is called so."""


@dataclass(frozen=True)
class ActionRule:
    """What the classes are.

    Attributes:
        by_label: whether a track's label is its action.
        by_value: attributes whose value is an action.
        by_truth: checkbox attributes: each that is true is an action of its own, by its name.
        order: the classes that the file declares, in its order.
    """

    by_label: bool
    by_value: tuple[str, ...]
    by_truth: tuple[str, ...]
    order: tuple[str, ...]

    def actions(self, label: str, attributes: Attributes) -> tuple[str, ...]:
        """The actions of a box, each once."""
        found = [label] if self.by_label else []
        for name, value in attributes:
            if name in self.by_value:
                found.append(value)
            elif name in self.by_truth and value.lower() == "true":
                found.append(name)
        return tuple(dict.fromkeys(each for each in found if each not in _NO_ACTION))


def label_rule(contents: Iterable[CvatContent]) -> ActionRule:
    """The rule by which each track has its label, whatever its attributes say."""
    return ActionRule(True, (), (), tuple(_labels(list(contents))))


def choose_rule(contents: Iterable[CvatContent], chosen: str | None, path: Path) -> ActionRule:
    """How actions are read from the files of one export.

    Args:
        contents: the files.
        chosen: what the user says: names of attributes between commas, or "label". A single one
            whose value is the action is joined by the checkbox attributes. None: labels where no
            attribute is declared; where there is one label, its only attribute with values (or the
            one called action), and its checkbox attributes.
        path: for messages.

    Raises:
        InputError: the file leaves it open, or has no such attribute.

    Warns:
        what was chosen where the user does not say.
    """
    contents = list(contents)
    kinds, labels = _attribute_kinds(contents), _labels(contents)
    checkboxes = tuple(name for name, kind in kinds.items() if kind == "checkbox")
    valued = tuple(name for name in kinds if name not in checkboxes)
    option = "--label-attribute"
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        for name in names:
            if name not in kinds and name != LABEL:
                raise InputError(
                    f"{option} {name}: {path} has no such attribute; "
                    f"{choose_from(name, [*kinds, LABEL])}"
                )
        by_value = tuple(name for name in names if name in valued)
        by_label = LABEL in names and LABEL not in kinds
        by_truth = tuple(name for name in names if name in checkboxes)
        if len(names) == 1 and by_value:
            by_truth = checkboxes
    elif not kinds:
        by_value, by_truth, by_label = (), (), True
    elif len(labels) > 1:
        raise InputError(
            f"{path}: has the labels {some_of(labels)} and the attributes {some_of(kinds)}; choose "
            f"what the actions are with {option} {LABEL} or {option} {next(iter(kinds))}"
        )
    else:
        by_value = tuple(name for name in valued if name.lower() == "action") or valued
        by_truth, by_label = checkboxes, False
        if len(by_value) > 1:
            raise InputError(
                f"{path}: has the attributes {some_of(valued)}; choose which of them is the action "
                f"with {option} {valued[0]}"
            )
        warnings.warn(
            f"{path}: the actions are {_words(by_value, by_truth)}; choose others with {option} "
            f"(label: the label {some_of(labels)})",
            stacklevel=4,
        )
    declared = [
        value for each in contents for name in by_value for value in each.values.get(name, ())
    ]
    order = (*(labels if by_label else ()), *declared, *by_truth)
    order = tuple(dict.fromkeys(name for name in order if name not in _NO_ACTION))
    return ActionRule(by_label, by_value, by_truth, order)


def _words(by_value: tuple[str, ...], by_truth: tuple[str, ...]) -> str:
    words = [f"the values of the attribute {name}" for name in by_value]
    if by_truth:
        words.append(f"the checkbox attributes {some_of(by_truth)}")
    return " and ".join(words)


def _attribute_kinds(contents: list[CvatContent]) -> dict[str, str]:
    """The kind of each attribute that is declared, or that a box has."""
    kinds: dict[str, str] = {}
    for content in contents:
        kinds |= content.attributes
    undeclared: dict[str, bool] = {}
    for track in (track for content in contents for track in content.tracks):
        for name, value in (pair for attributes in set(track.attributes) for pair in attributes):
            if name not in kinds:
                undeclared[name] = undeclared.get(name, True) and value.lower() in _TRUTHS
    return kinds | {name: "checkbox" if truth else "text" for name, truth in undeclared.items()}


def _labels(contents: list[CvatContent]) -> list[str]:
    """The labels that tracks have, in the order in which they are declared."""
    used = {track.label: None for content in contents for track in content.tracks}
    declared = [label for content in contents for label in content.labels if label in used]
    return list(dict.fromkeys([*declared, *used]))
