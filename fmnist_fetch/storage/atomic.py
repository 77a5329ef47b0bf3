"""Write files so that a final name appears complete or not at all: write beside, sync, rename."""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fmnist_fetch.errors import disk
from fmnist_fetch.storage.durability import sync_file
from fmnist_fetch.storage.files import Stamp, stamp, stamp_at

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can't be removed anyway
    fcntl = None  # type: ignore[assignment]

_RANDOM_BYTES = 6
_SUFFIX = ".tmp"
_CLAIMED = ".claimed"
_LEFTOVER = rf"(?s)\.(.+)\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}({re.escape(_SUFFIX)}|{re.escape(_CLAIMED)})"
ABANDONED_AFTER_S = 24 * 3600.0
"""Age of a temporary file that nobody can be at work on, where the file system has no locks to ask."""
# Windows, SMB and the shared folders of virtual machines.
_REFUSED_WHILE_OPEN = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}


@contextmanager
def write_atomically(path: Path, needed: int | None = None) -> Iterator[BinaryIO]:
    """Open a file beside PATH; at the end of the block it becomes PATH, after an error it is gone.

    Args:
        path: The final name.
        needed: How many bytes will be written, for the message when the disk is full.

    Raises:
        DiskError: The file can't be written, synced or renamed.
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
    """Return a name beside PATH for what is to become it; another one each time, and `sweep` knows it.

    Two processes that write the same file must not truncate each other's.
    """
    return path.with_name(f".{path.name}.{os.urandom(_RANDOM_BYTES).hex()}{suffix}")


def _create_locked(path: Path) -> tuple[BinaryIO, Path]:
    """Create a file beside PATH, locked as long as it is open, so that `sweep` sees that a process is writing it."""
    while True:
        beside = unfinished(path)
        file = open(beside, "x+b", buffering=0)  # noqa: SIM115 - handed on
        with suppress(OSError):
            _lock(file.fileno())
        if os.path.lexists(beside):
            return file, beside
        # A sweep came between both steps.
        file.close()


def _lock(descriptor: int) -> None:
    """Lock an open file; raises BlockingIOError where another process has it, OSError where locks don't work."""
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write the whole of DATA: an unbuffered file may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def settle(file: BinaryIO, source: Path, path: Path) -> None:
    """Sync FILE, open under the name SOURCE, and give it its final name PATH. Raises OSError."""
    sync_file(file)
    _rename(file, source, path)


def publish(file: BinaryIO, part: Path, path: Path, size: int, is_right: Callable[[Path], bool]) -> Stamp | None:
    """Give FILE, open under the name PART, its final name PATH; return its stamp, None if PART is another file by now.

    What is in FILE beyond SIZE bytes is cut off.

    A rename takes whatever has the name at that moment. So the first one leads to a name that no other process uses;
    only if that turns out to be FILE, the second one leads to PATH. After a kill between the two, `sweep` puts the file
    back. FILE is closed afterwards where the system renames no file that is open.

    Args:
        file: The open file.
        part: Its name.
        path: Its final name.
        size: Its size in bytes.
        is_right: Hashes the file at a path. It decides where the stamp does not show that the file is FILE: another
            process may be writing to it, and there are file systems that give a file another number each time, and
            such that change its time when it is closed.

    Raises:
        OSError: The file can't be synced or renamed.
    """
    sync_file(file)
    if (finished := stamp(file)).size != size:
        # Only then: there are drivers for sticks that can't do it.
        file.truncate(size)
        sync_file(file)
        finished = stamp(file)
    claimed = unfinished(path, _CLAIMED)
    try:
        _rename(file, part, claimed)
        if stamp_at(claimed) != finished and not is_right(claimed):
            claimed.replace(part)
            return None
        try:
            _rename(file, claimed, path)
        except OSError:
            claimed.replace(part)
            raise
    except FileNotFoundError:
        return None
    return finished


def _rename(file: BinaryIO, source: Path, target: Path) -> None:
    """Rename SOURCE, under which FILE is open; close it first where the system refuses that for an open file."""
    try:
        os.replace(source, target)  # noqa: PTH105 - the method makes one more path of the target
    except OSError as exc:
        if file.closed or exc.errno not in _REFUSED_WHILE_OPEN:
            raise
        file.close()
        source.replace(target)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in FOLDER, and put back what they were about to publish.

    What a living process is writing stays, so that this may be called at any time.
    """
    with suppress(OSError):
        for leftover in list(folder.iterdir()):
            match = leftover.name.startswith(".") and re.fullmatch(_LEFTOVER, leftover.name)
            if match and match[2] == _CLAIMED:
                if stat.S_ISREG(leftover.lstat().st_mode):
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
