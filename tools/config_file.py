"""YAML files of --config: checked before anything goes through what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..datasets.errors import InputError, error_line
from ..datasets.text_files import read_text

_MAX_BYTES = 1 << 20
_MAX_VALUES = 10_000  # with each value as often as the file repeats it by its name


def check_config(path: Path) -> None:
    """Refuses a file that is no YAML, or that could mean something else than it says.

    A few lines of YAML can repeat a list in a list until it has thousands of millions of values.

    Raises:
        InputError: another encoding, no YAML, more values than options can have, lists that are too
            deep in each other, or a key that is there twice.
        OSError: the file cannot be opened.
    """
    import yaml

    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: is too large to be a file of options")
    text = read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _count(root, {}) > _MAX_VALUES:
            raise InputError(f"{path}: repeats its values too often; write them out")
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not valid YAML ({error_line(error)[:200]})") from error
    except RecursionError:
        raise InputError(f"{path}: its lists are too deep in each other to be read") from None
    keys: dict[str, int] = {}
    for key, _ in root.value if isinstance(root, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if key.value in keys:
            raise InputError(
                f"{path}: line {line}: {key.value} stands in line {keys[key.value]}, too; keep one"
            )
        keys[str(key.value)] = line


def _count(node: Any, known: dict[int, int]) -> int:
    """The values in a node of YAML, also those that it repeats."""
    if id(node) not in known:
        members = node.value if isinstance(node.value, list) else []
        flat = [each for pair in members for each in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(each, known) for each in flat)
    return known[id(node)]
