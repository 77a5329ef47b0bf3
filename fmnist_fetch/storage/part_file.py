"""Part files: check in memory, then write.

Whatever lies under NAME.part and hashes right is right, whoever wrote it; so there is no state beside the bytes, and
several processes may fill the same part file at once. That is true of bytes, not of names: another process can rename
the part file or put a new one in its place at any moment. So a part file is opened once, its pieces are counted for the
file that is open, and only this very file gets the final name.

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

from fmnist_fetch.errors import PartFileReplacedError, disk
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.storage.atomic import Stamp, publish, stamp, write_all
from fmnist_fetch.storage.writeback import Writeback

MANY = 128
MAX_RIVALS = 5
"""How often in a row other processes may replace the part file while it is finished, until that is an error."""
_HELD = re.compile(r"\.(.+)\.(\d{1,9})\.held")


class PartFile:
    """A file under completion beside its final PATH; `put` may be called from several threads."""

    def __init__(self, path: Path, file: DataFile) -> None:
        self.path = path
        self.file = file
        self.part = path.with_name(path.name + ".part")
        self._open: Writeback | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._good: set[int] = set()
        self._closed_with: Stamp | None = None
        self._holding: set[int] = set()

    def scan(self) -> set[int]:
        """The indices of the pieces that are already there, found by their digests alone. Raises DiskError.

        Of a file that has its final name already, and is damaged, the good pieces are taken over. A short file or a
        read error makes a piece missing; neither is an error.
        """
        self._look()
        scan(self.path, self.file, lambda index, data: index in self._good or self.put(index, data))
        self._close_if_many()
        return set(self._good)

    def _look(self) -> None:
        """Open the part file, if there is one, and find its good pieces."""
        with suppress(OSError), self._lock:
            self._good = set()
            self._open = self._open or Writeback(_open_existing(self.part))
            self._good = self._good_in(self._open.file)

    def _good_in(self, stored: BinaryIO) -> set[int]:
        return good_pieces(stored, self.file)

    def put(self, index: int, data: bytes | bytearray | memoryview, source: str = "") -> bool:  # noqa: ARG002
        """Keep DATA as piece INDEX if its digest is right; tell whether it was.

        SOURCE, where it came from, matters where a piece has no digest of its own.
        Raises DiskError, and PartFileReplacedError where the pieces that were good are not in this file any more.
        """
        if not _is_right(self.file, index, data):
            return False
        self._write(index, data)
        return True

    def _write(self, index: int, data: bytes | bytearray | memoryview) -> None:
        with self._lock, disk(self.part, self.file.size):
            behind = self._opened()
            behind.file.seek(self.file.pieces[index].span.start)
            write_all(behind.file, data)
            behind.wrote(len(data))
            self._good.add(index)
        self._close_if_many()

    def read(self, start: int, count: int) -> bytes:
        """COUNT bytes from START on, out of good pieces, in order and before `finish`. Raises as `put` does.

        Who reads and who writes do not wait for each other, where the system can read without a file position.
        """
        with self._reading, disk(self.part):
            if (behind := self._open) is None:
                with self._lock:
                    behind = self._opened()
            if hasattr(os, "pread"):
                data = os.pread(behind.file.fileno(), count, start)
            else:
                with self._lock:
                    behind.file.seek(start)
                    data = behind.file.read(count)
            if len(data) < count:
                raise OSError(errno.EIO, "it became shorter")
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
        """Give the file, all of whose pieces are good, its final name, and return its stamp. Raises as `put` does."""
        with self._reading, self._lock, disk(self.path, self.file.size):
            finished = self._publish()
        self.close()
        for index in list(self._holding):
            self.let_go(index)
        return finished

    def close(self) -> None:
        """Close the file; its pieces stay."""
        with suppress(OSError):
            self._close()

    def _publish(self) -> Stamp:
        assert len(self._good) == len(self.file.pieces), f"{self.part} lacks pieces"
        for _ in range(MAX_RIVALS):
            behind = self._opened()
            behind.close()
            if (finished := stamp(behind.file)).size != self.file.size:
                # Only then: there are drivers for sticks that can't do it.
                behind.file.truncate(self.file.size)
                finished = stamp(behind.file)
            if publish(behind.file, self.part, self.path):
                return finished
            # Another process has renamed or replaced the part file. It may have finished it: then all is done.
            if other := verified(self.path, self.file.size, self.file.sha256):
                return other
            self._start_anew()
        raise OSError(errno.EBUSY, "other processes keep replacing it")

    def _start_anew(self) -> None:
        """Copy the pieces of the open file, which has lost its name, to the file that has the name of the part now."""
        old, new = self._opened().file, _open_to_fill(self.part)

        def copy(index: int, data: memoryview) -> bool:
            new.seek(self.file.pieces[index].span.start)
            right = _is_right(self.file, index, data)
            if right:
                write_all(new, data)
            return right

        with old:
            self._open = Writeback(new)
            self._good = good_pieces(old, self.file, copy)
        if len(self._good) < len(self.file.pieces):
            raise PartFileReplacedError(self.part)

    def _close_if_many(self) -> None:
        # The system gives the lowest number that is free: that many files wait for the disk to finish them.
        if (behind := self._open) and behind.file.fileno() > MANY:
            with disk(self.part, self.file.size):
                self._close()

    def _close(self) -> None:
        with self._reading, self._lock:
            if behind := self._open:
                self._open = None
                with behind.file:
                    behind.close()
                    self._closed_with = stamp(behind.file)

    def _opened(self) -> Writeback:
        """The open file; one that has pieces of ours is never made anew. Raises PartFileReplacedError, OSError."""
        if self._open is None:
            try:
                file = _open_existing(self.part) if self._good else _open_to_fill(self.part)
            except FileNotFoundError as exc:
                if self._good:
                    raise PartFileReplacedError(self.part) from exc
                raise
            if self._good and stamp(file) != self._closed_with and not self._good <= self._good_in(file):
                file.close()
                raise PartFileReplacedError(self.part)
            self._open = Writeback(file)
        return self._open

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


def _open_existing(path: Path) -> BinaryIO:
    """Open PATH for reading and writing as it is; raises FileNotFoundError if it is not there."""
    return open(path, "r+b", buffering=0)


def scan(path: Path, file: DataFile, check: Callable[[int, memoryview], bool] | None = None) -> set[int]:
    """The indices of the pieces of FILE that are right in the file at PATH, by their digests or as CHECK finds them."""
    with suppress(OSError), open(path, "rb", buffering=0) as stored:
        return good_pieces(stored, file, check)
    return set()


def good_pieces(stored: BinaryIO, file: DataFile, check: Callable[[int, memoryview], bool] | None = None) -> set[int]:
    """The same of the open file STORED."""
    check = check or partial(_is_right, file)
    good: set[int] = set()
    with suppress(OSError):
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


def verified(path: Path, size: int, sha256: str) -> Stamp | None:
    """The stamp of the file at PATH if it has SIZE bytes and this digest. What can't be read does not verify."""
    with suppress(OSError):
        if path.stat().st_size != size:  # a pipe is never opened: it would be waited for
            return None
        with open(path, "rb", buffering=0) as file:
            found = stamp(file)
            if found.size == size and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return found
    return None


def verifies(path: Path, size: int, sha256: str) -> bool:
    """Whether PATH is a file of SIZE bytes with this digest. What can't be read does not verify."""
    return verified(path, size, sha256) is not None


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
