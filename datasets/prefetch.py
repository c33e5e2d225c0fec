"""Items produced ahead of their use in a thread, or consumed in a thread in the background.

Decoding, OpenCV, encoding and Parquet release Python's lock, so threads are enough. Queues are
bounded: the faster side waits, and memory stays constant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


@contextmanager
def prefetch(items: Iterable[Item], depth: int) -> Iterator[Iterator[Item]]:
    """Iterates over `items` in a thread, which starts with the block.

    An error in `items` is raised in the consumer, after the items before it. When the block ends,
    the thread finishes its current item and closes a generator.

    Args:
        items: iterated in the thread only.
        depth: the largest number of items that are produced ahead.
    """
    with ThreadPoolExecutor(1, "prefetch") as pool:
        iterator = iter(items)
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))

        def consume() -> Iterator[Item]:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, iterator, _END))
                yield item

        try:
            yield consume()
        finally:
            for future in waiting:
                future.cancel()
            if hasattr(items, "close"):
                pool.submit(items.close)


@contextmanager
def write_in_background(
    write: Callable[[Item], object], depth: int
) -> Iterator[Callable[[Item], None]]:
    """Yields a function that queues items for `write`, which a thread calls for one after another.

    An error in `write` is raised with the next item, or at the end of the block, which waits for
    all items. A block that ends with an error drops the waiting items.

    Args:
        write: called in the thread only.
        depth: the largest number of waiting items; then the yielded function blocks.
    """
    waiting: deque[Future[None]] = deque()

    def write_after(previous: Future[None] | None, item: Item) -> None:
        if previous is not None:
            previous.result()  # an error drops the items behind it
        write(item)

    def put(item: Item) -> None:
        while waiting and (len(waiting) == depth or waiting[0].done()):
            waiting.popleft().result()
        waiting.append(pool.submit(write_after, waiting[-1] if waiting else None, item))

    pool = ThreadPoolExecutor(1, "write in background")
    try:
        yield put
        for future in waiting:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)
