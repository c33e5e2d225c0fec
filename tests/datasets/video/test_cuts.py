"""Cuts in made-up videos: a new scene is one; motion, fades and flashes are none."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.datasets.video.cuts import mark_cuts

SCENES = np.random.default_rng(0).integers(0, 256, (2, 6, 16, 3)).repeat(20, 1).repeat(20, 2)


def shown(scene: int, position: int) -> np.ndarray:
    """A window of a scene, (120, 160, 3), which moves by two pixels a frame."""
    return SCENES[scene, :, 2 * position : 2 * position + 160].astype(np.uint8)


def cuts(frames: list[np.ndarray]) -> list[int]:
    marked = list(mark_cuts(iter(frames)))
    assert all(frame is given for (frame, _), given in zip(marked, frames, strict=True))
    return [number for number, (_, is_cut) in enumerate(marked) if is_cut]


@pytest.mark.parametrize("at", [1, 20, 39])
def test_a_cut(at: int) -> None:
    assert cuts([shown(int(number >= at), 10) for number in range(40)]) == [at]


def test_no_cut() -> None:
    assert cuts([]) == cuts([shown(0, 0)]) == []
    flash = [shown(0, 5) if number != 20 else np.full((120, 160, 3), 255, np.uint8)
             for number in range(40)]  # fmt: skip
    assert cuts(flash) == []
    shares = np.linspace(0, 1, 40)
    fade = [((1 - s) * shown(0, 5) + s * shown(1, 5)).astype(np.uint8) for s in shares]
    assert cuts(fade) == []
    pan = [shown(0, number) for number in range(60)]
    assert cuts(pan) == []
