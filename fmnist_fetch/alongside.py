"""Work on several cores: hashing, inflating and the disk let go of the interpreter's lock, so plain threads do."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 4


def together(jobs: Sequence[Callable[[], T]]) -> list[T]:
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


def cores() -> int:
    """How many threads are of use: the cores this process may run on, up to four."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, MOST)
