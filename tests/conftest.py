"""Shared fixtures: where the real data lies, seeds, and the command line as a function."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: each computes on one
    os.environ["OMP_NUM_THREADS"] = "1"

# detectron2 is not on PyPI: where it is not installed, its Python files can lie beside the data.
PEERS = Path(os.environ.get("ACTIONTUBES_PEERS", ROOT.parent / "shared" / "peers"))
if importlib.util.find_spec("detectron2") is None and (PEERS / "detectron2").is_dir():
    sys.path.append(str(PEERS / "detectron2"))


@pytest.fixture(scope="session")
def detectron2() -> None:
    """For what needs the real detectron2; the test is skipped without it."""
    if importlib.util.find_spec("detectron2") is None:
        pytest.skip(f"needs detectron2, installed or in {PEERS}")


def seed() -> None:
    """The same random numbers for all that comes; torch's only where it is loaded already."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, code under test may use it
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    seed()


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A file or folder of the real data by its relative path; the test is skipped without it."""
    base = Path(os.environ.get("ACTIONTUBES_SHARED", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = base / name
        if not path.exists():
            pytest.skip(f"needs {path}")
        return path

    return find


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `actiontubes` in a process of its own, as a user would."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "actiontubes.tools.main", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call


class NumberedVideos:
    """Synthetic videos whose frames carry their own number, readable after lossy coding."""

    BITS = 10

    def frame(self, number: int, width: int = 64, height: int = 48) -> np.ndarray:
        """Grey, with a red top left corner, and the number in black and white columns below."""
        frame = np.full((height, width, 3), 128, np.uint8)
        frame[: height // 4, : width // 4] = (220, 30, 30)
        for bit in range(self.BITS):
            columns = slice(bit * width // self.BITS, (bit + 1) * width // self.BITS)
            frame[height // 2 :, columns] = 255 * (number >> bit & 1)
        return frame

    def number(self, frame: np.ndarray) -> int:
        height, width = frame.shape[:2]
        middle = frame[height * 5 // 8 : height * 7 // 8]
        centres = ((2 * np.arange(self.BITS) + 1) * width) // (2 * self.BITS)
        return sum(int(middle[:, x].mean() > 127) << bit for bit, x in enumerate(centres))

    def numbers(self, frames: Sequence[np.ndarray]) -> list[int]:
        return [self.number(frame) for frame in frames]

    def write(
        self,
        path: Path,
        num_frames: int = 40,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        rate: Fraction | int = 25,
        times: Sequence[int] | None = None,
        rotation: int | None = None,
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        b_frames: int = 2,
    ) -> Path:
        """Encodes frames with a key frame every 12; `times` are milliseconds."""
        import av

        with av.open(str(path), "w", options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height = size
            stream.pix_fmt = pixels
            stream.codec_context.gop_size = 12
            stream.codec_context.max_b_frames = b_frames
            tick = Fraction(1, 1000) if times else 1 / Fraction(rate)
            stream.codec_context.time_base = tick
            if rotation is not None:
                stream.set_display_rotation(rotation)
            for number in range(num_frames):
                picture = av.VideoFrame.from_ndarray(self.frame(number, *size))
                picture = picture.reformat(format=pixels)
                picture.pts = times[number] if times else number
                picture.time_base = tick
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path


@pytest.fixture(scope="session")
def numbered() -> NumberedVideos:
    return NumberedVideos()


@pytest.fixture(scope="session")
def concatenate_tubes() -> Callable[..., Any]:
    """Several tables of tubes as one, numbered anew in their order."""
    from actiontubes.datasets.tables import Tubes

    def concatenate(tables: Sequence[Tubes]) -> Tubes:
        columns: dict[str, Any] = {}
        for name in ("video", "label"):
            names = sorted({word for table in tables for word in getattr(table, f"{name}_names")})
            columns[f"{name}_names"] = tuple(names)
            columns[name] = np.array(
                [
                    names.index(getattr(table, f"{name}_names")[code])
                    for table in tables
                    for code in getattr(table, name)
                ],
                np.int32,
            )
        for name in ("frame", "boxes", "score", "tube_score"):
            if getattr(tables[0], name) is not None:
                columns[name] = np.concatenate([getattr(table, name) for table in tables])
        tube = [np.unique(table.tube, return_inverse=True)[1] for table in tables]
        first = np.cumsum([0, *(len(np.unique(numbers)) for numbers in tube)])
        columns["tube"] = np.concatenate([own + shift for own, shift in zip(tube, first)])
        return Tubes(**columns)

    return concatenate
