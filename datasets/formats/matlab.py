"""Reading of MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError


def load_matlab(path: Path, key: str, **options: Any) -> Any:
    """Reads a variable of a .mat file.

    Args:
        path: a file of MATLAB 4 to 7.2.
        key: the variable's name.
        options: of scipy.io.loadmat.

    Raises:
        InputError: the file is missing or damaged, or has no such variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        content = loadmat(path, **options)
    except (
        Exception
    ) as error:  # on damaged files SciPy raises anything from zlib.error to TypeError
        raise InputError(
            f"{path}: cannot be read as a MATLAB file ({type(error).__name__}: "
            f"{error}); it may be damaged, download it again"
        ) from error
    if key not in content:
        raise InputError(f"{path}: has no variable {key}; download it again")
    return content[key]
