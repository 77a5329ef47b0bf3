"""Sync files and folders to the disk.

A file system without such a call is no failure: the bytes are written, and only a power cut may undo that. The refusal
is remembered for the log.
"""

import errno
import os
import threading
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_CALL = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# Not every system opens folders, and not every file system lets everybody sync them.
_UNKNOWN_FOR_FOLDERS = _UNKNOWN_CALL | {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.ENOENT}
_refusals: dict[str, str] = {}
_lock = threading.Lock()


def sync_file(file: BinaryIO) -> None:
    """Sync the open FILE with its length and times. Raises OSError."""
    try:
        os.fsync(file.fileno())
    except OSError as exc:
        _pass_over("fsync", exc, _UNKNOWN_CALL)


def sync_data(file: BinaryIO) -> None:
    """Sync what was written to the open FILE. Raises OSError."""
    try:
        # macOS has none.
        getattr(os, "fdatasync", os.fsync)(file.fileno())
    except OSError as exc:
        _pass_over("fdatasync", exc, _UNKNOWN_CALL)


def sync_folder(folder: Path) -> None:
    """Sync the names in FOLDER, so that a power cut does not undo a rename. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        _pass_over("fsync of a folder", exc, _UNKNOWN_FOR_FOLDERS)


def take_refusals() -> list[str]:
    """Return one sentence for each call that a file system refused since the last time."""
    with _lock:
        sentences = list(_refusals.values())
        _refusals.clear()
    return sentences


def _pass_over(call: str, exc: OSError, unknown: set[int]) -> None:
    if exc.errno not in unknown:
        raise exc
    with _lock:
        _refusals[call] = f"this file system has no {call} ({exc.strerror}): a power cut may undo what was written last"
