"""Widths and heights from which corners come back to the last digit."""

from __future__ import annotations

import numpy as np


def exact_sides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`high` - `low`, rounded so that `low` plus it is `high` again where a float allows it."""
    side = high - low
    for _ in range(3):
        side = side + (high - (low + side))
    return side
