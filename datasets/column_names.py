"""Which column of a file is which of a table, by our names or those of other programs."""

from __future__ import annotations

import warnings
from pathlib import Path

from .errors import InputError, some_of
from .tables import file_columns

OTHER_NAMES = {
    "video": ("filename", "file_name", "video_name", "video_id", "clip"),
    "frame": ("frame_id", "frame_number", "frame_index", "frame_num"),
    "label": ("class", "class_name", "action", "category"),
    "score": ("confidence", "conf"),
    "x1": ("xmin", "x_min", "left"),
    "y1": ("ymin", "y_min", "top"),
    "x2": ("xmax", "x_max", "right"),
    "y2": ("ymax", "y_max", "bottom"),
    "tube": ("track_id", "tube_id", "track", "person_id"),
    "person": ("person_id",),
}
"""What other programs call the columns."""


def match_columns(present: list[str], kind: type, path: Path) -> dict[str, str]:
    """The file's name of each column of a kind that it has.

    Raises:
        InputError: a column is missing, or there twice.
    """
    wanted: dict[str, str] = {}
    required = file_columns(kind, optional=False)
    for name in file_columns(kind):
        # Optional columns keep to their names, but for the scores: others may mean another thing.
        same = columns_called(name, present, name in required or name == "score")
        if len(same) > 1:
            named = f" ({', '.join(same)})" if set(same) != {name} else ""
            raise InputError(
                f"{path}: has {len(same)} columns named {name}{named}; keep one of them"
            )
        if same:
            wanted[name] = same[0]
    missing = [name for name in required if name not in wanted]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing; the file has "
            f"{some_of(present, 20) or 'no columns'}{_spellings(missing)}"
        )
    others = [
        f"{given} as {name}" for name, given in wanted.items() if given.strip().lower() != name
    ]
    if others:
        warnings.warn(f"{path}: reading column {', '.join(others)}", stacklevel=4)
    renamed = [
        repr(given) for name, given in wanted.items()
        if given != name and given.strip().lower() == name
    ]  # fmt: skip
    if renamed:
        warnings.warn(
            f"{path}: columns {', '.join(renamed)} are read without capitals and blanks",
            stacklevel=4,
        )
    return wanted


def columns_called(name: str, present: list[str], any_synonym: bool) -> list[str]:
    """The columns that have a name, or else differ from it in capitals and blanks, or else are
    what other programs call it."""
    same = [given for given in present if given == name]
    same = same or [given for given in present if given.strip().lower() == name]
    synonyms = OTHER_NAMES.get(name, ()) if any_synonym else ()
    return same or [given for given in present if given.strip().lower() in synonyms]


def _spellings(missing: list[str]) -> str:
    """What else the first missing column may be called."""
    if "x1" in missing and "y2" in missing:
        return "; boxes are x1, y1, x2, y2, or xmin, ymin, xmax, ymax"
    names = OTHER_NAMES.get(missing[0], ())
    return f"; {missing[0]} may also be called {', '.join(names)}" if names else ""
