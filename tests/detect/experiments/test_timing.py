"""Functions are timed in alternating rounds."""

from __future__ import annotations

from actiontubes.detect.experiments.timing import time_rounds


def test_rounds_alternate_and_the_first_is_not_timed() -> None:
    calls: list[str] = []
    runs = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    seconds = time_rounds(runs, 3, "cpu")
    assert calls == ["a", "b"] * 4
    assert {name: each.shape for name, each in seconds.items()} == {"a": (3,), "b": (3,)}


def test_warm_up_rounds_are_not_in_the_result() -> None:
    calls: list[str] = []
    seconds = time_rounds({"a": lambda: calls.append("a")}, 2, "cpu", warmup=3)
    assert len(calls) == 5 and seconds["a"].shape == (2,) and (seconds["a"] >= 0).all()
