"""One download for several processes. The lock saves bandwidth; that the bytes are right does not depend on it."""

import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fmnist_fetch.errors import disk
from fmnist_fetch.events import Listener, Message
from fmnist_fetch.storage.files import UnsafeFileError
from fmnist_fetch.storage.layout import Layout

PATIENCE_S = 10.0
POLL_S = 0.1


@contextmanager
def alone(layout: Layout, listener: Listener) -> Iterator[bool]:
    """Wait while another process makes progress on the same dataset; yield whether the lock was taken.

    A holder that makes no progress for 10 seconds (hung, or crashed where the file system keeps its lock) and a file
    system without locks are reported once, and the work continues without the lock: it only saves bandwidth.

    Raises:
        DiskError: The folder can't be made.
    """
    from filelock import FileLock, Timeout

    with disk(layout.raw):
        layout.raw.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.lock)
    seen, since, waited = traces(layout), time.monotonic(), False
    while True:
        try:
            _demand_regular(layout.lock)
            with warnings.catch_warnings():
                # Where there is no flock, it says so and uses the file's existence.
                warnings.simplefilter("ignore")
                lock.acquire(timeout=0)
        except Timeout:
            if not waited:
                listener(Message("another process is fetching this dataset; waiting for it"))
                waited = True
            time.sleep(POLL_S)
            now = traces(layout)
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since < PATIENCE_S:
                continue
            listener(Message("the other process makes no progress; going on without the lock, which does no harm"))
        except (OSError, NotImplementedError) as exc:
            listener(Message(f"the lock can't be taken here ({exc}); going on without it, which does no harm"))
        break
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _demand_regular(path: Path) -> None:
    """Raise OSError where something else than a file is in the lock's place: a link would be followed."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UnsafeFileError(f"{path.name} is not a file")


def traces(layout: Layout) -> list[tuple[str, int, int]]:
    """Return what changes on the disk while a process makes progress: each file's name, size and time."""
    found = []
    for folder in (layout.raw, layout.processed):
        try:
            entries = list(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat()
            except OSError:
                continue
            found.append((entry.name, status.st_size, status.st_mtime_ns))
    return sorted(found)
