"""MATLAB files: what is refused, and in which words."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.formats.matlab import load_matlab
from scipy.io import savemat


def test_a_variable(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(6.0).reshape(2, 3), "y": 3, "z": {"name": "a", "boxes": [1, 2]}})
    np.testing.assert_array_equal(load_matlab(path, "x"), [[0, 1, 2], [3, 4, 5]])
    assert load_matlab(path, "z", simplify_cells=True)["name"] == "a"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n", "save it"),
        (b"\x89HDF\r\n\x1a\n".ljust(600), "MATLAB 7.3 .HDF5., .*save it with -v7$"),
        (b"", "cannot be read as a MATLAB file"),
        (b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM", "has no variable x"),
        (b"text", "cannot be read as a MATLAB file"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load_matlab(path, "x")
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_small_file_of_a_huge_variable(tmp_path: Path) -> None:
    """600 MB of zeros, packed: more than the reading process may take."""
    size = 600 << 20
    packer, packed = zlib.compressobj(1), io.BytesIO()
    head = [struct.pack("<IIIIII", 14, size + 48, 6, 8, 9, 0), struct.pack("<IIii", 5, 8, 1, size),
            struct.pack("<HH4s", 1, 1, b"x"), struct.pack("<II", 2, size)]  # fmt: skip
    packed.write(packer.compress(b"".join(head)))
    for _ in range(size >> 20):
        packed.write(packer.compress(bytes(1 << 20)))
    packed.write(packer.flush())
    path = tmp_path / "bomb.mat"
    element = packed.getvalue()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + struct.pack("<II", 15, len(element)) + element)
    assert path.stat().st_size < 4 << 20
    with pytest.raises(InputError, match=r"bomb\.mat: .*[Mm]emory"):
        load_matlab(path, "x")
