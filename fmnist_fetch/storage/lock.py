"""One download for several processes. The lock saves bandwidth; that the bytes are right does not depend on it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from fmnist_fetch.errors import disk
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.storage.layout import Layout

PATIENCE = 10.0
POLL = 0.1


@contextmanager
def alone(layout: Layout, listener: Listener) -> Iterator[bool]:
    """Wait while another process works on the same dataset and gets on with it; tell whether the lock was taken.

    A holder that makes no progress for 10 seconds (hung, or crashed where the file system forgets nothing) and a
    file system that has no locks are mentioned once, and the work goes on without the lock. Raises DiskError.
    """
    from filelock import FileLock, Timeout

    with disk(layout.raw):
        layout.raw.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.lock)
    seen, since, waited = traces(layout), time.monotonic(), False
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not waited:
                listener(Message("another process is fetching this dataset; waiting for it"))
                waited = True
            time.sleep(POLL)
            now = traces(layout)
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since < PATIENCE:
                continue
            listener(Message("the other process makes no progress; going on without the lock, which does no harm"))
        except (OSError, NotImplementedError) as exc:
            listener(Message(f"the lock can't be taken here ({exc}); going on without it, which does no harm"))
        break
    try:
        yield lock.is_locked
    finally:
        lock.release()


def traces(layout: Layout) -> list[tuple[str, int, int]]:
    """What changes on the disk while a process gets on with its work: each file's name, size and time."""
    found = []
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
            found.append((entry.name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)
