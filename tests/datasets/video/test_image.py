"""Images: what is read, and what is refused before its pixels take memory."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.image import MAX_PIXELS, read_image
from actiontubes.datasets.video.media import read_frames
from actiontubes.datasets.video.reader import read_video


def test_an_image_of_any_name(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for name in ("00001.png", "zoë 中.png", "byte \udcb3.png"):
        cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
        (tmp_path / "a.png").replace(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name), image)


def png(width: int, height: int) -> bytes:
    """A file that says it has that size, and holds a row of it."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(3 * width + 1))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


@pytest.mark.parametrize("side", [6400, 20_000, 60_000])
def test_a_huge_image_takes_no_memory(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    path = tmp_path / "00001.png"
    path.write_bytes(png(side, side))
    with pytest.raises(InputError, match=r"00001\.png: .*more than 40000000 pixels"):
        list(read_frames(tmp_path))
    video = path.rename(tmp_path / "a.mp4")  # which FFmpeg opens all the same
    with pytest.raises(InputError, match=r"a\.mp4: "):
        list(read_video(video))


NO_PIXELS = png(4, 4).replace(b"IDAT", b"IDAU")
LONG_PART = png(4, 4).replace(
    struct.pack(">I", 0) + b"IEND", struct.pack(">I", 2**32 - 9) + b"IEND"
)


@pytest.mark.parametrize(
    "content", [b"", b"text", png(4, 4)[:20], b"\x89PNG\r\n\x1a\n", LONG_PART, NO_PIXELS]
)
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "00001.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"00001\.png: cannot be read as an image"):
        read_image(path)
