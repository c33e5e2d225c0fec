"""What `evaluate --against` compares with: detections, tubes, or a folder with both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..datasets.errors import InputError
from ..datasets.formats.registry import FORMATS, find_format
from ..datasets.table_io import table_columns
from ..datasets.table_writer import OUTPUT_FILES

_FILES = {"detections": OUTPUT_FILES.detections, "tubes": OUTPUT_FILES.tubes}


def against_paths(words: Sequence[str] | None, kinds: Sequence[str]) -> dict[str, Path]:
    """The other method's files by kind.

    Args:
        words: of --against: paths, or KIND=PATH.
        kinds: "detections", "tubes" or both: those that are evaluated.

    Returns:
        detections, tubes or both, each one of `kinds`; nothing without words.

    Raises:
        InputError: it is unclear what a file is, there are two of a kind, or none of `kinds`.
    """
    found: dict[str, Path] = {}
    for word in words or ():
        for kind, path in _paths_of(word, kinds).items():
            if kind in found:
                raise InputError(f"--against: {found[kind]} and {path} are both {kind}; give one")
            found[kind] = path
    chosen = {kind: path for kind, path in found.items() if kind in kinds}
    if found and not chosen:
        kind, path = next(iter(found.items()))
        raise InputError(f"--against {path}: are {kind}; give --{kind} to compare them with")
    return chosen


def _paths_of(word: str, kinds: Sequence[str]) -> dict[str, Path]:
    kind, equals, name = word.partition("=")
    if equals and kind in _FILES:
        return {kind: Path(name)}
    path = Path(word)
    file = find_format(path)
    inside = {kind: path / name for kind, name in _FILES.items() if (path / name).is_file()}
    if inside:
        return inside
    if file is FORMATS["table"]:
        return {"tubes" if "tube_score" in table_columns(path) else "detections": path}
    if len(kinds) == 1:
        return {kinds[0]: path}
    raise InputError(
        f"--against {path}: may be detections or tubes; write detections={path} or tubes={path}"
    )
