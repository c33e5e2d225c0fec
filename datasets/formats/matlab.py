"""Reading of MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage.isolated import isolated_reader


def load_matlab(path: Path, key: str, **options: Any) -> Any:
    """Reads a variable of a .mat file, in a process of its own; see `read_variable`.

    For many files, `isolated_reader(read_variable)` starts one process.
    """
    with isolated_reader(read_variable) as read:
        return read(path, key, **options)


def read_variable(path: Path, key: str, **options: Any) -> Any:
    """Reads a variable of a .mat file. A damaged file may crash SciPy, and the process with it.

    Args:
        path: a file of MATLAB 4 to 7.2.
        key: the variable's name.
        options: of scipy.io.loadmat.

    Raises:
        InputError: the file is missing or damaged, is of MATLAB 7.3, or has no such variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: file not found")
    with path.open("rb") as file:
        start = file.read(128)
    # An HDF5 file begins so, too, where the header of MATLAB 7.3 was cut off.
    if start.startswith((b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n")):
        raise InputError(
            f"{path}: is a file of MATLAB 7.3 (HDF5), which cannot be read; load it in MATLAB and "
            "save it with -v7"
        )
    try:
        content = loadmat(path, variable_names=[key], **options)
    # On damaged files SciPy raises anything from zlib.error to TypeError.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: cannot be read as a MATLAB file ({reason}); it may be damaged, download it "
            "again"
        ) from error
    if key not in content:
        raise InputError(f"{path}: has no variable {key}; download it again")
    return content[key]
