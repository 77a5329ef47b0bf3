"""One download for several processes. The lock saves bandwidth; that the bytes are right does not depend on it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fmnist_fetch.errors import disk
from fmnist_fetch.events import Listener, Stepped
from fmnist_fetch.layout import Layout

PATIENCE = 10.0
POLL = 0.1


@contextmanager
def alone(layout: Layout, listener: Listener) -> Iterator[bool]:
    """Wait while another process works on the same dataset and gets on with it; tell whether the lock was taken.

    A holder that makes no progress for 10 seconds (hung, or crashed where the file system forgets nothing) and a
    file system that has no locks are mentioned once, and the work goes on without the lock. Raises DiskError.
    """
    with disk(layout.raw):
        layout.raw.mkdir(parents=True, exist_ok=True)
    try:
        lock = open(layout.lock, "ab")  # noqa: SIM115 - closed below
    except OSError as exc:
        _go_on(exc, listener)
        yield False
        return
    with lock:
        # Closed, it is given back; also by the system, when the process ends in whatever way.
        yield _taken(lock, layout, listener)


def _taken(lock: BinaryIO, layout: Layout, listener: Listener) -> bool:
    seen, since, waited = _traces(layout), time.monotonic(), False
    while True:
        try:
            import fcntl  # which not every system has

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not waited:
                listener(Stepped("another process is fetching this dataset; waiting for it"))
                waited = True
        except (OSError, ImportError) as exc:
            _go_on(exc, listener)
            return False
        time.sleep(POLL)
        now = _traces(layout)
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since >= PATIENCE:
            listener(Stepped("the other process makes no progress; going on without the lock, which does no harm"))
            return False


def _go_on(exc: Exception, listener: Listener) -> None:
    listener(Stepped(f"the lock can't be taken here ({exc}); going on without it, which does no harm"))


def _traces(layout: Layout) -> list[tuple[str, int, int]]:
    """What changes on the disk while a process gets on with its work."""
    traces = []
    for folder in (layout.raw, layout.processed):
        try:
            entries = list(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            try:
                stat = entry.stat()
            except OSError:
                continue
            traces.append((entry.name, stat.st_size, stat.st_mtime_ns))
    return sorted(traces)
