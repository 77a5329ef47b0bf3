"""Sync what is written while more is being written, so that the last fsync has little left to wait for.

Of a large file, what is on the disk and read by nobody any more is also taken out of the memory that the system keeps
files in: it would push out other programs' files there, and getting fresh memory costs more than the disk does.
"""

import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

from fmnist_fetch.concurrency import try_start
from fmnist_fetch.storage.atomic import write_all
from fmnist_fetch.storage.durability import sync_data

STRETCH_BYTES = 8 * 1024 * 1024
LARGE_BYTES = 256 * 1024 * 1024


class Writeback:
    """Syncs FILE in a thread of its own, 8 MiB or more at a time; `close` raises the OSError that this met with."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._count = 0
        self._spent = 0
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def write(self, data: bytes | memoryview) -> None:
        """Write DATA where the file stands; nobody will read it here."""
        write_all(self.file, data)
        self.wrote(len(data))
        self.spent(len(data))

    def wrote(self, count: int) -> None:
        """COUNT bytes more have been written."""
        self._count += count
        if self._count >= STRETCH_BYTES and not (self._thread and self._thread.is_alive()):
            self._count = 0
            thread = threading.Thread(target=self._sync, name="fmnist-sync", daemon=True)
            self._thread = thread if try_start(thread) else None

    def spent(self, count: int) -> None:
        """Nobody will read the next COUNT bytes of the file any more."""
        self._spent += count

    def close(self) -> None:
        """Wait for the disk; what was written since is left to the caller's fsync."""
        if self._thread:
            self._thread.join()
        if self._failure:
            # The system reports a failed write only once, so that the caller's fsync would succeed.
            raise self._failure

    def _sync(self) -> None:
        try:
            sync_data(self.file)
        except OSError as exc:
            self._failure = exc
            return
        if self._spent > LARGE_BYTES and hasattr(os, "posix_fadvise"):
            # Advice that is not taken costs memory, and nothing else.
            with suppress(OSError):
                os.posix_fadvise(self.file.fileno(), 0, self._spent, os.POSIX_FADV_DONTNEED)
