"""Outputs that would replace an input, refused before a command begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..datasets.errors import InputError, as_option
from ..datasets.storage.files import require_no_folder

_OUTPUTS = ("out", "json", "coco")
_COCO_FILES = ("results.json", "annotations.json")


def refuse_lost_inputs(values: Mapping[str, Any]) -> None:
    """Refuses an output that is the file of an input, or a folder in which an input is replaced.

    Args:
        values: of all options of a command, by name.

    Raises:
        InputError: names both; --json is a folder.
    """
    if values.get("json") is not None:
        require_no_folder(values["json"], "--json")
    for name in _OUTPUTS:
        out = values.get(name)
        if out is None or not out.exists():
            continue
        replaced = _result_files(out) if out.is_dir() else [out]
        for other, path in _input_files(values):
            if any(target.exists() and target.samefile(path) for target in replaced):
                raise InputError(
                    f"{as_option(name)} {out}: would replace {path}, an input ({other}); choose "
                    f"another {as_option(name)}"
                )


def _result_files(folder: Path) -> list[Path]:
    """The files that a command may write into a folder."""
    # Here, for it imports NumPy, and --help need not wait for that.
    from ..datasets.table_writer import OUTPUT_FILES

    return [folder / file for file in (*vars(OUTPUT_FILES).values(), *_COCO_FILES)]


def _input_files(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The options that name existing files, with the files."""
    for name, value in values.items():
        if name in _OUTPUTS:
            continue
        for word in value if isinstance(value, list | tuple) else [value]:
            # A text may be a path, too, and may be too long for one.
            if isinstance(word, str | Path) and len(str(word)) < 4096 and Path(word).is_file():
                yield name, Path(word)
