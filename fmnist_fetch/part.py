"""Part files: check in memory, then write.

Whatever lies under NAME.part and hashes right is right, whoever wrote it; so there is no state beside the bytes, and
several processes may fill the same part file at once.

The beginning of a piece that is still under way can't be checked yet. It is kept apart, as .NAME.INDEX.held, so that a
killed process loses no more than a moment's bytes; it is a proposal, and counts for nothing until the piece verifies.
"""

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fmnist_fetch.atomic import Stamp, settle, stamp, write_all
from fmnist_fetch.behind import Behind
from fmnist_fetch.errors import disk
from fmnist_fetch.manifest import DataFile

MANY = 128
_HELD = re.compile(r"\.(.+)\.(\d{1,9})\.held")


class PartFile:
    """A file under completion beside its final PATH; `put` may be called from several threads."""

    def __init__(self, path: Path, file: DataFile) -> None:
        self.path = path
        self.file = file
        self.part = path.with_name(path.name + ".part")
        self._open: Behind | None = None
        self._lock = threading.Lock()
        self._stored: BinaryIO | None = None
        self._reading = threading.Lock()
        self._holding: set[int] = set()

    def scan(self) -> set[int]:
        """The indices of the pieces that are already there, found by their digests alone. Raises DiskError.

        Of a file that has its final name already, and is damaged, the good pieces are taken over. A short file or a
        read error makes a piece missing; neither is an error.
        """
        good = scan(self.part, self.file)
        return good | scan(self.path, self.file, lambda index, data: index in good or self.put(index, data))

    def put(self, index: int, data: bytes | bytearray | memoryview) -> bool:
        """Keep DATA as piece INDEX if its digest is right; tell whether it was. Raises DiskError."""
        if not _is_right(self.file, index, data):
            return False
        with self._lock, disk(self.part, self.file.size):
            behind = self._opened()
            behind.file.seek(self.file.pieces[index].span.start)
            write_all(behind.file, data)
            behind.wrote(len(data))
            if behind.file.fileno() > MANY:
                # The system gives the lowest number that is free: that many files wait for the disk to finish them.
                behind.close()
                behind.file.close()
                self._open = None
        return True

    def read(self, start: int, count: int) -> bytes:
        """COUNT bytes from START on, out of good pieces, in order and before `finish`. Raises DiskError.

        Through a handle of its own: who reads and who writes do not wait for each other.
        """
        with self._reading, disk(self.part):
            self._stored = self._stored or self._open_to_read()
            self._stored.seek(start)
            if len(data := self._stored.read(count)) < count:
                raise OSError(errno.EIO, "it became shorter")
        if behind := self._open:
            behind.spent(count)
        return data

    def hold(self, index: int, data: bytes | bytearray, known: int = 0) -> None:
        """Keep DATA, the beginning of piece INDEX, of which KNOWN bytes were kept before.

        Never raises: what can't be kept would have to be fetched again, and no more than that.
        """
        self._holding.add(index)
        with suppress(OSError), _open_to_fill(self._held_path(index)) as file:
            file.seek(known)
            write_all(file, memoryview(data)[known:])

    def held(self, indices: Iterable[int] | None = None) -> dict[int, bytes]:
        """The beginnings of pieces that an earlier run kept, by index; only those of INDICES are looked for."""
        beginnings = {}
        found = lying(self.path.parent).get(self.path.name, ()) if indices is None else indices
        for index in found:
            with suppress(OSError, IndexError):
                data = self._held_path(index).read_bytes()
                if 0 < len(data) < self.file.pieces[index].span.length:
                    beginnings[index] = data
        self._holding.update(found)
        return beginnings

    def let_go(self, index: int) -> None:
        """Drop the beginning of piece INDEX: the piece is good now, or what was held of it was wrong."""
        if index in self._holding:
            self._holding.discard(index)
            with suppress(OSError):
                self._held_path(index).unlink()

    def finish(self) -> Stamp:
        """Give the file, all of whose pieces are good, its final name, and return its stamp. Raises DiskError."""
        with self._lock, disk(self.path, self.file.size):
            self._opened().close()
            file = self._opened().file
            if (finished := stamp(file)).size != self.file.size:
                # Only then: there are drivers for sticks that can't do it.
                file.truncate(self.file.size)
                finished = stamp(file)
            try:
                settle(file, self.part, self.path)
            except FileNotFoundError:
                # Another process that filled the same part file was first; its result is as good as ours.
                if not verifies(self.path, self.file.size, self.file.sha256):
                    raise
        self.close()
        for index in list(self._holding):
            self.let_go(index)
        return finished

    def close(self) -> None:
        """Close the file; its pieces stay."""
        with self._lock:
            if self._open:
                with suppress(OSError):
                    self._open.close()
                self._open.file.close()
            self._open = None
        with self._reading:
            if self._stored:
                self._stored.close()
            self._stored = None

    def _opened(self) -> Behind:
        if self._open is None:
            self._open = Behind(_open_to_fill(self.part))
        return self._open

    def _open_to_read(self) -> BinaryIO:
        with suppress(FileNotFoundError):
            return open(self.part, "rb", buffering=0)
        # Another process that filled the same part file has finished it.
        return open(self.path, "rb", buffering=0)

    def _held_path(self, index: int) -> Path:
        return self.path.with_name(f".{self.path.name}.{index}.held")


def lying(folder: Path) -> dict[str, set[int]]:
    """Of which pieces beginnings lie in FOLDER, by the names of their files."""
    indices: dict[str, set[int]] = {}
    with suppress(OSError):
        for path in folder.iterdir():
            if match := _HELD.fullmatch(path.name):
                indices.setdefault(match[1], set()).add(int(match[2]))
    return indices


def _open_to_fill(path: Path) -> BinaryIO:
    """Open PATH for reading and writing as it is; make it, and its folder, if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return open(path, "r+b", buffering=0, opener=_creating)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "r+b", buffering=0, opener=_creating)


def _creating(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CREAT, 0o666)


def scan(path: Path, file: DataFile, check: Callable[[int, memoryview], bool] | None = None) -> set[int]:
    """The indices of the pieces of FILE that are right in the file at PATH, by their digests or as CHECK finds them."""
    check = check or partial(_is_right, file)
    good: set[int] = set()
    with suppress(OSError), open(path, "rb", buffering=0) as stored:
        buffer = memoryview(bytearray(max(piece.span.length for piece in file.pieces)))
        size = os.fstat(stored.fileno()).st_size
        for index, (span, _) in enumerate(file.pieces):
            if span.stop > size:
                break
            with suppress(OSError):
                view = buffer[: span.length]
                stored.seek(span.start)
                if _fill(stored, view) and check(index, view):
                    good.add(index)
    return good


def verifies(path: Path, size: int, sha256: str) -> bool:
    """Whether PATH is a file of SIZE bytes with this digest. What can't be read does not verify."""
    try:
        if path.stat().st_size != size:
            return False
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _is_right(file: DataFile, index: int, data: bytes | bytearray | memoryview) -> bool:
    """Whether DATA is piece INDEX of FILE."""
    span, sha256 = file.pieces[index]
    return len(data) == span.length and hashlib.sha256(data).hexdigest() == sha256


def _fill(file: BinaryIO, view: memoryview) -> bool:
    """Read until VIEW is full; tell whether it is."""
    while view:
        if not (count := file.readinto(view)):  # type: ignore[attr-defined]
            return False
        view = view[count:]
    return True
