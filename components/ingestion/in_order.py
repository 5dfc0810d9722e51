"""Work on the items of a stream in several threads, with its results in the order of the items."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Reading and collecting results keep one thread busy; more than so many would wait for it, and each holds an item.
_MOST_THREADS = 8
# Items that wait beside those worked on, so that no thread runs dry while results are collected.
_WAITING = 1


def threads() -> int:
    """Returns how many threads are worth their memory on this machine: one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None) -> Iterator[Result]:
    """Does some work on every item.

    Items are taken by the thread that takes the results, and only as many as keep the threads busy, so memory does not grow with the
    stream. Threads are enough where the work is done by libraries that let go of Python's lock, as Arrow, NumPy and zlib do.

    Args:
      work: What to do; called in several threads at once.
      items: The stream.
      workers: Threads; by default one a core.

    Yields:
      The results, in the order of the items.

    Raises:
      Exception: What reading an item or the work on it raised, once all results before it have been yielded. Work that has begun is
        waited for, and nothing further is begun; the same where the caller ends early.
    """
    workers = threads() if workers is None else workers
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="ingest")
    begun: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    failure: Exception | None = None
    try:
        source = iter(items)
        while True:
            try:
                begun.append(pool.submit(work, next(source)))
            except StopIteration:
                break
            except Exception as error:  # raised below, in its turn
                failure = error
                break
            if len(begun) > workers + _WAITING:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
