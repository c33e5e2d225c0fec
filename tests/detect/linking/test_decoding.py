"""The two-state decoder against all label sequences."""

from __future__ import annotations

from itertools import product

import numpy as np
from actiontubes.detect.linking.decoding import decode_present
from hypothesis import given, settings
from hypothesis import strategies as st


def value(gain: np.ndarray, labels: tuple[bool, ...], cost: float) -> float:
    return float(gain[list(labels)].sum()) - cost * int(np.diff(labels).sum())


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 2.0]))
def test_no_labels_are_worth_more(seed: int, cost: float) -> None:
    random = np.random.default_rng(seed)
    length = random.integers(1, 8, 3)
    gain = random.normal(0, 1, length.sum())
    start = np.cumsum(length) - length
    shuffled = random.permutation(3)
    present = decode_present(gain, start[shuffled], length[shuffled], cost)
    for low, high in zip(start, start + length):
        part = gain[low:high]
        best = max(value(part, labels, cost) for labels in product((False, True), repeat=len(part)))
        assert np.isclose(value(part, tuple(present[low:high]), cost), best)
