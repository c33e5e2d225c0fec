"""Items produced ahead of their use in a thread, or consumed in a thread in the background.

Decoding, OpenCV, encoding and Parquet release Python's lock, so threads are enough. Queues are
bounded: the faster side waits, and memory stays constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def prefetch(items: Iterable[Item], depth: int) -> Iterator[Iterator[Item]]:
    """Iterates over `items` in a thread, which starts with the block.

    An error in `items` is raised in the consumer, after the items before it. When the block ends,
    the thread finishes its current item and closes a generator.

    Args:
        items: iterated in the thread only.
        depth: the largest number of items that are produced ahead.
    """
    free_slots = Semaphore(depth)
    produced: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
    stopped = Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            iterator = iter(items)
            while free_slots.acquire() and not stopped.is_set():
                produced.put((next(iterator),))
        except StopIteration:
            pass
        except BaseException as error:
            end = error
        finally:
            if hasattr(items, "close"):
                items.close()
        produced.put(end)

    def consume() -> Iterator[Item]:
        while isinstance(item := produced.get(), tuple):
            free_slots.release()
            yield item[0]
        produced.put(None)  # for another call of next()
        if item is not None:
            raise item

    thread = Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        free_slots.release()
        thread.join()


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
    free_slots = Semaphore(depth)
    queued: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    dropped = Event()
    errors: list[BaseException] = []

    def work() -> None:
        while (item := queued.get()) is not None:
            if not dropped.is_set():
                try:
                    write(item[0])
                except BaseException as error:
                    errors.append(error)
                    dropped.set()
            free_slots.release()

    def put(item: Item) -> None:
        free_slots.acquire()
        if errors:
            raise errors.pop()
        queued.put((item,))

    thread = Thread(target=work, name="write in background", daemon=True)
    thread.start()
    try:
        yield put
    except BaseException:
        dropped.set()
        raise
    finally:
        queued.put(None)
        thread.join()
    if errors:
        raise errors.pop()
