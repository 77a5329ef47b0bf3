"""Work on several cores: hashing, inflating and the disk let go of the interpreter's lock, so plain threads do."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, Queue
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 4


def run_parallel(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """The results of JOBS in their order, from as many threads as there are cores; raises what one of them raised."""
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []
    waiting = iter(enumerate(jobs))

    def work() -> None:
        try:
            for number, job in waiting:
                results[number] = job()
                if failures:
                    break
        except BaseException as exc:
            failures.append(exc)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(min(cores(), len(jobs)) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return results


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """ITEMS, made in a thread of its own while the caller is at work on earlier ones; raises what that raises."""
    made: Queue[T | BaseException | None] = Queue(MOST)
    given_up = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if given_up.is_set():
                    return
            made.put(None)
        except BaseException as exc:
            made.put(exc)

    threading.Thread(target=make, name="fmnist-prefetch", daemon=True).start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()
        # Who waits for room to put one more must find some, and see that it is over.
        with suppress(Empty):
            while True:
                made.get_nowait()


def cores() -> int:
    """How many threads are of use: the cores this process may run on, up to four."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MOST)
