"""A final name appears complete or not at all: written beside, brought to the disk, then renamed."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.errors import disk

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can't be removed anyway
    fcntl = None  # type: ignore[assignment]

_RANDOM = 6
_SUFFIX = ".tmp"
_CLAIMED = ".claimed"
_LEFTOVER = re.compile(rf"\.(.+)\.[0-9a-f]{{{2 * _RANDOM}}}({re.escape(_SUFFIX)}|{re.escape(_CLAIMED)})", re.DOTALL)
ABANDONED_AFTER_S = 24 * 3600.0
"""Age of a temporary file that nobody can be at work on, where the file system has no locks to ask."""
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}


@contextmanager
def write_atomically(path: Path, needed: int | None = None) -> Iterator[BinaryIO]:
    """Open a file beside PATH; at the end of the block it becomes PATH, after an error it is gone.

    NEEDED is the size in bytes that will be written, for the message when the disk is full. Raises DiskError.
    """
    with disk(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        file, beside = _create_locked(path)
        try:
            with file:
                yield file
                settle(file, beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


def unfinished(path: Path, suffix: str = _SUFFIX) -> Path:
    """A name beside PATH for what is to become it; another one each time, and `sweep` knows it.

    Two processes that write the same file must not truncate each other's.
    """
    return path.with_name(f".{path.name}.{os.urandom(_RANDOM).hex()}{suffix}")


def _create_locked(path: Path) -> tuple[BinaryIO, Path]:
    """Create a file beside PATH, locked as long as it is open, so that `sweep` sees that a process is writing it."""
    while True:
        beside = unfinished(path)
        file = open(beside, "x+b", buffering=0)  # noqa: SIM115 - handed on
        with suppress(OSError):
            _lock(file.fileno())
        if _has_name(file, beside):
            return file, beside
        # A sweep came between both steps.
        file.close()


def _lock(descriptor: int) -> None:
    """Lock an open file; raises BlockingIOError where another process has it, OSError where locks don't work."""
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _has_name(file: BinaryIO, path: Path) -> bool:
    """Whether PATH is a name of the open FILE."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write the whole of DATA: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def settle(file: BinaryIO, source: Path, path: Path) -> None:
    """Bring FILE, open under the name SOURCE, to the disk and give it its final name PATH."""
    os.fsync(file.fileno())
    source.replace(path)


def publish(file: BinaryIO, part: Path, path: Path) -> bool:
    """Give FILE, open under the name PART, its final name PATH; False if PART is the name of another file by now.

    A rename takes whatever has the name at that moment. So the first one leads to a name that no other process uses;
    only if that turns out to be FILE, the second one leads to PATH. After a kill between the two, `sweep` puts the file
    back. Raises OSError.
    """
    os.fsync(file.fileno())
    claimed = unfinished(path, _CLAIMED)
    try:
        part.rename(claimed)
        if not _has_name(file, claimed):
            claimed.replace(part)
            return False
        try:
            claimed.replace(path)
        except OSError:
            claimed.replace(part)
            raise
    except FileNotFoundError:
        return False
    return True


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
    """Remove what killed writers left in FOLDER, and put back what they were about to give a final name.

    What a living process is writing stays; so this may be called at any time.
    """
    with suppress(OSError):
        for leftover in list(folder.iterdir()):
            match = _LEFTOVER.fullmatch(leftover.name)
            if match and match[2] == _CLAIMED:
                leftover.replace(folder / f"{match[1]}.part")
            elif match:
                _remove_abandoned(leftover)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary file at PATH unless a process is writing it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            try:
                _lock(descriptor)
            except BlockingIOError:
                return
            except OSError:
                if time.time() - os.fstat(descriptor).st_mtime < ABANDONED_AFTER_S:
                    return
            path.unlink()
        finally:
            os.close(descriptor)
