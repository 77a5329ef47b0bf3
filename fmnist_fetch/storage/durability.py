"""Sync files and folders to the disk.

A file system without such a call is no failure: the bytes are written, and only a power cut may undo that. The refusal
is remembered for the log.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_CALL = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# Not every system opens folders, and not every file system lets everybody sync them.
_UNKNOWN_FOR_FOLDERS = _UNKNOWN_CALL | {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.ENOENT}
_refusals: dict[str, str] = {}
_lock = threading.Lock()


def sync_file(file: BinaryIO) -> None:
    """Sync the open FILE with its length and times. Raises OSError."""
    with _tolerating_unknown("fsync", _UNKNOWN_CALL):
        os.fsync(file.fileno())


def sync_data(file: BinaryIO) -> None:
    """Sync what was written to the open FILE. Raises OSError."""
    with _tolerating_unknown("fdatasync", _UNKNOWN_CALL):
        # macOS has none.
        getattr(os, "fdatasync", os.fsync)(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in FOLDER, so that a power cut does not undo a rename. Raises OSError."""
    with _tolerating_unknown("fsync of a folder", _UNKNOWN_FOR_FOLDERS):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def take_refusals() -> list[str]:
    """Return one sentence for each call that a file system refused since the last time."""
    with _lock:
        sentences = list(_refusals.values())
        _refusals.clear()
    return sentences


@contextmanager
def _tolerating_unknown(call: str, unknown: set[int]) -> Iterator[None]:
    """Remember, and do not raise, that the block failed with one of the UNKNOWN errors: the system has no CALL."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in unknown:
            raise
        with _lock:
            sentence = f"this file system has no {call} ({exc.strerror}): a power cut may undo what was written last"
            _refusals[call] = sentence
