"""Work handed from one thread to another: made ahead of its use, or used behind its making.

Decoding, OpenCV, encoding and Parquet let go of Python's lock, so threads are enough. Queues are
bounded: whoever is faster waits, and memory stays constant.
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
    """Iterates over `items` in a thread of its own, from the begin of the block on.

    An error of `items` is raised as itself at the consumer, after the items before it. When the
    block ends the thread ends, with the item that it is at, and a generator is closed there.

    Args:
        items: iterated in the thread only.
        depth: at most so many items are made before they are asked for.
    """
    free = Semaphore(depth)
    made: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
    stopped = Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            iterator = iter(items)
            while free.acquire() and not stopped.is_set():
                made.put((next(iterator),))
        except StopIteration:
            pass
        except BaseException as error:
            end = error
        finally:
            if hasattr(items, "close"):
                items.close()
        made.put(end)

    def consume() -> Iterator[Item]:
        while isinstance(item := made.get(), tuple):
            free.release()
            yield item[0]
        made.put(None)  # for who asks once more
        if item is not None:
            raise item

    thread = Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        free.release()
        thread.join()


@contextmanager
def write_in_background(
    use: Callable[[Item], object], depth: int
) -> Iterator[Callable[[Item], None]]:
    """Yields a function that hands items to `use`, called for one after the other in a thread.

    An error of `use` is raised as itself with the next item, or when the block ends, which waits
    for all items; a block that ends by an error drops those that wait.

    Args:
        use: called in the thread only.
        depth: at most so many items wait; the yielded function then blocks.
    """
    free = Semaphore(depth)
    given: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    dropped = Event()
    errors: list[BaseException] = []

    def work() -> None:
        while (item := given.get()) is not None:
            if not dropped.is_set():
                try:
                    use(item[0])
                except BaseException as error:
                    errors.append(error)
                    dropped.set()
            free.release()

    def give(item: Item) -> None:
        free.acquire()
        if errors:
            raise errors.pop()
        given.put((item,))

    thread = Thread(target=work, name="write behind", daemon=True)
    thread.start()
    try:
        yield give
    except BaseException:
        dropped.set()
        raise
    finally:
        given.put(None)
        thread.join()
    if errors:
        raise errors.pop()
