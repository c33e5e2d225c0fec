"""Threads in order: the same items, bounded queues, errors as themselves, nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from actiontubes.datasets.prefetch import prefetch, write_in_background
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_the_same_items_in_order(items: list[int], depth: int) -> None:
    used: list[int] = []
    with prefetch(items, depth) as ahead, write_in_background(used.append, depth) as give:
        for item in ahead:
            give(item)
        assert list(ahead) == []
    assert used == items


class Noted:
    """Items in the order in which a thread notes them, for another to wait for."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self._changed = threading.Condition()

    def append(self, item: int) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def comes_to(self, count: int) -> bool:
        """Whether there are so many soon, and then no more for a while."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.items) >= count, 20)
            return there and not self._changed.wait_for(lambda: len(self.items) > count, 0.1)


def test_no_more_is_made_than_asked_for() -> None:
    made = Noted()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with prefetch(items(), 3) as ahead:
        assert made.comes_to(3)
        assert [next(ahead), next(ahead)] == [0, 1]
        assert made.comes_to(5)


def test_the_giver_waits_for_the_user() -> None:
    gate, given_items, used = threading.Event(), Noted(), []

    def use(item: int) -> None:
        gate.wait()
        used.append(item)

    def give_all() -> None:
        with write_in_background(use, 2) as give:
            for number in range(9):
                give(number)
                given_items.append(number)

    giver = threading.Thread(target=give_all)
    giver.start()
    assert given_items.comes_to(2)
    gate.set()
    giver.join()
    assert used == list(range(9))


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [OwnError("seven"), KeyboardInterrupt(), MemoryError()])
def test_errors_come_as_themselves_and_in_their_place(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    seen = []
    with pytest.raises(type(error)) as raised, prefetch(items(), 5) as ahead:
        for item in ahead:
            seen.append(item)
    assert raised.value is error and seen == [1, 2]

    def use(item: int) -> None:
        if item == 2:
            raise error

    with pytest.raises(type(error)) as raised, write_in_background(use, 1) as give:
        for number in range(1000):
            give(number)
    assert raised.value is error
    with pytest.raises(type(error)) as raised, write_in_background(use, 5) as give:
        give(2)
    assert raised.value is error


def test_a_consumer_that_stops_ends_the_thread_and_closes_the_generator() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with pytest.raises(OwnError), prefetch(items(), 2) as ahead:
        next(ahead)
        raise OwnError
    assert closed.is_set()
    # Nobody asked for anything.
    with prefetch(items(), 2):
        pass


def test_what_waits_is_dropped_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate, used = threading.Event(), threading.Event(), []
    join = threading.Thread.join

    def use(item: int) -> None:
        begun.set()
        gate.wait(20)
        used.append(item)

    def open_and_join(thread: threading.Thread) -> None:
        gate.set()
        join(thread)

    monkeypatch.setattr(threading.Thread, "join", open_and_join)
    with pytest.raises(OwnError), write_in_background(use, 3) as give:
        give(1)
        give(2)
        assert begun.wait(20)
        raise OwnError
    assert used == [1]


def test_chains() -> None:
    with (
        prefetch(range(200), 2) as first,
        prefetch((2 * item for item in first), 3) as second,
        prefetch((item + 1 for item in second), 1) as third,
    ):
        assert list(third) == [2 * item + 1 for item in range(200)]
    # Stopped in the middle, all of them end.
    with prefetch(range(10**9), 2) as first, prefetch((i for i in first), 2) as second:
        assert next(second) == 0
