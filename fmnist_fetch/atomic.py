"""A final name appears complete or not at all: written beside, brought to the disk, then renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.errors import disk

_RANDOM = 6
_SUFFIX = ".tmp"
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}


@contextmanager
def write_atomically(path: Path, needed: int | None = None) -> Iterator[BinaryIO]:
    """Open a file beside PATH; at the end of the block it becomes PATH, after an error it is gone.

    NEEDED is the size in bytes that will be written, for the message when the disk is full. Raises DiskError.
    """
    beside = unfinished(path)
    try:
        with disk(path, needed):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "xb", buffering=0) as file:
                yield file
                settle(file, beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def unfinished(path: Path) -> Path:
    """A name beside PATH for what is to become it; another one each time, and `sweep` knows it.

    Two processes that write the same file must not truncate each other's.
    """
    return path.with_name(f".{path.name}.{os.urandom(_RANDOM).hex()}{_SUFFIX}")


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write the whole of DATA: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def settle(file: BinaryIO, source: Path, path: Path) -> None:
    """Bring FILE, open under the name SOURCE, to the disk and give it its final name PATH."""
    os.fsync(file.fileno())
    source.replace(path)


def copy_within(source: BinaryIO, file: BinaryIO, start: int, count: int) -> int:
    """Copy COUNT bytes of SOURCE from START on to where FILE stands, without taking them into memory.

    Returns how many were copied: 0 where the system can't do that for these files. Raises OSError.
    """
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source.fileno(), file.fileno(), count, start)
    except OSError as exc:
        if exc.errno in _CANNOT:
            return 0
        raise


class Stamp(NamedTuple):
    """By what it is told that a file is still the one that was verified: nobody writes to it without changing this."""

    inode: int
    size: int
    modified: int


class Seal(NamedTuple):
    """What a payload is known by: its SHA-256; and, where this process made it, the stamp that it has then."""

    sha256: str
    stamp: Stamp | None = None


def stamp(file: BinaryIO) -> Stamp:
    """The stamp of the open FILE."""
    status = os.fstat(file.fileno())
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in FOLDER. Call it only while no other writer can be at work there."""
    for leftover in folder.glob(f".*.{'[0-9a-f]' * 2 * _RANDOM}{_SUFFIX}"):
        with suppress(OSError):
            leftover.unlink()
