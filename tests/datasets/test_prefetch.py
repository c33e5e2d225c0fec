"""The same items in order, bounded queues, errors unchanged, no thread left running."""

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
    written: list[int] = []
    with prefetch(items, depth) as ahead, write_in_background(written.append, depth) as put:
        for item in ahead:
            put(item)
        assert list(ahead) == []
    assert written == items


class RecordedItems:
    """Items in the order in which one thread appends them; another can wait for them."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self._changed = threading.Condition()

    def append(self, item: int) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def reaches(self, count: int) -> bool:
        """Whether `count` items arrive within 20 s, and no more for 0.1 s."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.items) >= count, 20)
            return arrived and not self._changed.wait_for(lambda: len(self.items) > count, 0.1)


def test_at_most_depth_items_are_produced_ahead() -> None:
    produced = RecordedItems()

    def items() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            yield number

    with prefetch(items(), 3) as ahead:
        assert produced.reaches(3)
        assert [next(ahead), next(ahead)] == [0, 1]
        assert produced.reaches(5)


def test_a_full_queue_blocks_the_producer() -> None:
    gate, queued, written = threading.Event(), RecordedItems(), []

    def write(item: int) -> None:
        gate.wait()
        written.append(item)

    def put_all() -> None:
        with write_in_background(write, 2) as put:
            for number in range(9):
                put(number)
                queued.append(number)

    producer = threading.Thread(target=put_all)
    producer.start()
    assert queued.reaches(2)
    gate.set()
    producer.join()
    assert written == list(range(9))


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [OwnError("seven"), KeyboardInterrupt(), MemoryError()])
def test_errors_are_raised_unchanged_after_the_items_before_them(error: BaseException) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    seen = []
    with pytest.raises(type(error)) as raised, prefetch(items(), 5) as ahead:
        for item in ahead:
            seen.append(item)
    assert raised.value is error and seen == [1, 2]

    def write(item: int) -> None:
        if item == 2:
            raise error

    with pytest.raises(type(error)) as raised, write_in_background(write, 1) as put:
        for number in range(1000):
            put(number)
    assert raised.value is error
    with pytest.raises(type(error)) as raised, write_in_background(write, 5) as put:
        put(2)
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
    # Nothing was consumed.
    with prefetch(items(), 2):
        pass


def test_waiting_items_are_dropped_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, gate, written = threading.Event(), threading.Event(), []
    join = threading.Thread.join

    def write(item: int) -> None:
        begun.set()
        gate.wait(20)
        written.append(item)

    def open_and_join(thread: threading.Thread) -> None:
        gate.set()
        join(thread)

    monkeypatch.setattr(threading.Thread, "join", open_and_join)
    with pytest.raises(OwnError), write_in_background(write, 3) as put:
        put(1)
        put(2)
        assert begun.wait(20)
        raise OwnError
    assert written == [1]


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
