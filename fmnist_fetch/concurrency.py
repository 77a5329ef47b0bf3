"""Work on several cores: hashing, inflating and the disk release the interpreter's lock, so threads are enough."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, Queue
from typing import Any, TypeVar

T = TypeVar("T")
MAX_THREADS = 4
PREFETCHED_ITEMS = 4


def run_parallel(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run JOBS in as many threads as there are cores; return their results in order.

    Raises what one of them raised; jobs that have not begun then are left out.
    """
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []
    waiting = deque(enumerate(jobs))

    def work() -> None:
        with suppress(IndexError):
            while not failures:
                number, job = waiting.popleft()
                try:
                    results[number] = job()
                except BaseException as exc:
                    failures.append(exc)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(cores(), len(jobs)) - 1)]
    # Where the system allows no more threads, this one does it all.
    started = [helper for helper in helpers if try_start(helper)]
    work()
    for helper in started:
        helper.join()
    if failures:
        raise failures[0]
    return results


def join_all(threads: Iterable[threading.Thread], seconds: float | None = None) -> None:
    """Wait until those of THREADS that have started have ended, SECONDS at most for all of them."""
    end = None if seconds is None else time.monotonic() + seconds
    for thread in threads:
        if thread.is_alive():
            thread.join(None if end is None else max(0.0, end - time.monotonic()))


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield ITEMS, which a thread of its own makes while the caller works on earlier ones.

    Raises what making them raises, after the items that were made before.
    """
    made: Queue[T | BaseException | None] = Queue(PREFETCHED_ITEMS)
    cancelled = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if cancelled.is_set():
                    return
            made.put(None)
        except BaseException as exc:
            made.put(exc)

    if not try_start(threading.Thread(target=make, name="fmnist-prefetch", daemon=True)):
        yield from items
        return
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        cancelled.set()
        # A thread that waits to put one more item must be able to, and see that it is over.
        with suppress(Empty):
            while True:
                made.get_nowait()


def try_start(thread: threading.Thread) -> bool:
    """Start a thread without which the work can be done too; return whether the system allowed it."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def cores() -> int:
    """Return how many threads are of use: the cores that this process may run on, up to MAX_THREADS."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MAX_THREADS)
