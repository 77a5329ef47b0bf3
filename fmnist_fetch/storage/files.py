"""Regular files: open, identify and hash them. What is no regular file is an OSError, and is never waited for."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.manifest.model import DataFile

SETTLED_AFTER_NS = 2 * 10**9
"""Age of the last change from which on a further one surely has another time, whatever the file system's clock."""
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnsafeFileError(OSError):
    """What is at a path is no file that this program would have left there."""

    hint = "Remove it and run the same command again."


class Stamp(NamedTuple):
    """Identifies the content of a file: a write changes the size or the time, another file has another number."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """What tells the file from others; its content may have changed."""
        return self.device, self.inode


def stamp(file: BinaryIO) -> Stamp:
    """Return the stamp of the open FILE."""
    return _stamp(os.fstat(file.fileno()))


def stamp_at(path: Path) -> Stamp:
    """Return the stamp of the file at PATH, or of the link there. Raises OSError."""
    return _stamp(path.stat(follow_symlinks=False))


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def is_settled(content: Stamp) -> bool:
    """Return whether the last change is so long ago that a further one surely gives another stamp."""
    return time.time_ns() - content.modified_ns > SETTLED_AFTER_NS


class RegularFile(FileIO):
    """A regular file, unbuffered. File systems over a network may return fewer bytes than asked for; `read` goes on."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return SIZE bytes, fewer only at the end of the file; all that is left where SIZE is -1 or None."""
        data: bytes = super().read(size)
        if size is None or size < 0:
            return data
        while len(data) < size and (more := super().read(size - len(data))):
            data += more
        return data


def open_regular(path: Path) -> RegularFile:
    """Open the regular file at PATH, or the one that a link at PATH leads to, for unbuffered reading.

    Raises:
        OSError: There is no file, or what is there is a folder, a pipe, a socket or a device.
    """
    return RegularFile(path, "rb", opener=_open_regular)


def open_to_write(path: Path) -> RegularFile:
    """Open the file at PATH for unbuffered reading and writing, as it is.

    Raises:
        FileNotFoundError: There is none.
        UnsafeFileError: What is there is a link or no file, has another name, or belongs to somebody else and its
            group or everybody may write to it: what is written could end up elsewhere, or change afterwards.
        OSError: It can't be opened.
    """
    return RegularFile(path, "r+b", opener=_open_own)


def open_or_create(path: Path) -> RegularFile:
    """Open as `open_to_write` does, and create the file, and its folder, if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return RegularFile(path, "r+b", opener=_create_own)
    path.parent.mkdir(parents=True, exist_ok=True)
    return RegularFile(path, "r+b", opener=_create_own)


def _open_regular(name: str, flags: int) -> int:
    try:
        descriptor = os.open(name, flags | _NO_WAIT)
    except OSError as exc:
        _demand_no_socket(name, exc)
        raise
    return _checked(descriptor, _demand_regular)


def _open_own(name: str, flags: int) -> int:
    try:
        descriptor = os.open(name, flags | _NO_WAIT | _NO_FOLLOW, 0o666)
    except OSError as exc:
        if os.path.islink(name):  # noqa: PTH114 - a system's error number for this varies
            raise UnsafeFileError("this is a symbolic link, and what is written could end up elsewhere") from exc
        _demand_no_socket(name, exc)
        if exc.errno != errno.EINVAL:
            raise
        # This file system does not know the flag: it has no links either.
        descriptor = os.open(name, flags | _NO_WAIT, 0o666)
    return _checked(descriptor, _demand_own)


def _demand_no_socket(name: str, exc: OSError) -> None:
    """Raise UnsafeFileError where a file was not opened because it is a socket, or a device that is not there."""
    if exc.errno == errno.ENXIO:
        _demand_regular(os.stat(name))  # noqa: PTH116 - a name, as an opener gets it


def _create_own(name: str, flags: int) -> int:
    return _open_own(name, flags | os.O_CREAT)


def _checked(descriptor: int, demand: Callable[[os.stat_result], None]) -> int:
    try:
        demand(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _demand_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError(f"this is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file")


def _demand_own(status: os.stat_result) -> None:
    _demand_regular(status)
    if status.st_nlink > 1:
        raise UnsafeFileError("this file has another name too, under which it would change as well")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid() and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeFileError("this file belongs to somebody else, and others may write to it")


def verified(path: Path, size: int, sha256: str) -> Stamp | None:
    """Return the stamp of the file at PATH if it has SIZE bytes and this digest, else None (also if unreadable)."""
    with suppress(OSError), open_regular(path) as file:
        found = stamp(file)
        if found.size == size and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
            return found
    return None


def verifies(path: Path, size: int, sha256: str) -> bool:
    """Return whether PATH is a readable file of SIZE bytes with this digest."""
    return verified(path, size, sha256) is not None


class GoodPieces(NamedTuple):
    """The indices of the pieces of a file that are right, and the stamp that the file had while they were hashed.

    There is no stamp where the file was changed so recently that another change might not show.
    """

    indices: frozenset[int] = frozenset()
    stamp: Stamp | None = None


NO_PIECES = GoodPieces()


def find_good_pieces(path: Path, file: DataFile) -> GoodPieces:
    """Hash the pieces of FILE in the file at PATH; what can't be read has none."""
    with suppress(OSError), open_regular(path) as stored:
        before = stamp(stored)
        settled = before if is_settled(before) else None
        return GoodPieces(frozenset(scan_pieces(stored, file)), settled)
    return NO_PIECES


def scan_pieces(stored: BinaryIO, file: DataFile, check: Callable[[int, memoryview], bool] | None = None) -> set[int]:
    """Return the indices of the pieces of FILE that are right in the open file STORED.

    A short file or a read error makes a piece missing; neither is an error.

    Args:
        stored: A file open for reading; its position changes.
        file: What it should be.
        check: Decides about a piece in place of its digest.
    """
    good: set[int] = set()
    with suppress(OSError):
        buffer = memoryview(bytearray(max(piece.span.length for piece in file.pieces)))
        size = os.fstat(stored.fileno()).st_size
        for index, piece in enumerate(file.pieces):
            if piece.span.stop > size:
                break
            with suppress(OSError):
                view = buffer[: piece.span.length]
                stored.seek(piece.span.start)
                if _fill(stored, view) and (check(index, view) if check else piece.matches(view)):
                    good.add(index)
    return good


def _fill(file: BinaryIO, view: memoryview) -> bool:
    """Read until VIEW is full; return whether it is."""
    while view:
        if not (count := file.readinto(view)):  # type: ignore[attr-defined]
            return False
        view = view[count:]
    return True
