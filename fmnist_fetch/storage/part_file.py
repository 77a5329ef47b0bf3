"""Part files: check in memory, then write.

A piece in NAME.part that has the right digest is right, no matter which process wrote it. So there is no state beside
the bytes, and several processes may fill the same part file at once. That is true of bytes, not of names: another
process can rename the part file or put a new one in its place at any moment. So a part file is opened once, its pieces
are counted for the file that is open, and only this very file gets the final name.

The beginning of a piece that is still under way can't be checked yet. It is kept apart, as .NAME.INDEX.held, so that a
killed process loses no more than a moment's bytes; it is a proposal, and counts for nothing until the piece verifies.
"""

import errno
import os
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fmnist_fetch.errors import PartFileReplacedError, disk
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.storage.atomic import ABANDONED_AFTER_S, publish, write_all
from fmnist_fetch.storage.files import (
    NO_PIECES,
    GoodPieces,
    Stamp,
    open_or_create,
    open_regular,
    open_to_write,
    scan_pieces,
    stamp,
    verified,
    verifies,
)
from fmnist_fetch.storage.writeback import Writeback

MOST_DESCRIPTORS = 128
MAX_RIVALS = 5
"""How often in a row other processes may replace the part file while it is finished, until that is an error."""
_PARTIAL_NAME = ".{}.{}.held"
_PARTIAL = r"\.(.+)\.(\d{1,9})\.held"


def part_path(path: Path) -> Path:
    """Return where the file at PATH is while it is being completed."""
    return path.with_name(f"{path.name}.part")


class PartFile:
    """A file under completion beside its final PATH; `put` may be called from several threads."""

    def __init__(self, path: Path, file: DataFile) -> None:
        self.path = path
        self.file = file
        self.part = part_path(path)
        self._open: Writeback | None = None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._good: set[int] = set()
        self._closed_with: Stamp | None = None
        self._partials: set[int] = set()

    def scan(self, known: GoodPieces = NO_PIECES) -> set[int]:
        """Find the pieces that are already there by their digests, and return their indices.

        Of a damaged file under the final name, the good pieces are copied. A short file or a read error makes a piece
        missing; neither is an error.

        Args:
            known: The good pieces of the file under the final name, where it has been hashed already.

        Raises:
            DiskError: A piece can't be written.
        """
        self._look()
        with suppress(OSError), open_regular(self.path) as damaged:
            self._take_over(damaged, known)
        self._close_if_many()
        return set(self._good)

    def _look(self) -> None:
        """Open the part file, if there is one, and find its good pieces."""
        with suppress(OSError), self._lock:
            self._good = set()
            self._open = self._open or Writeback(open_to_write(self.part))
            self._good = self._good_in(self._open.file)

    def _good_in(self, stored: BinaryIO) -> set[int]:
        return scan_pieces(stored, self.file)

    def _take_over(self, damaged: BinaryIO, known: GoodPieces) -> None:
        """Copy the good pieces of the file DAMAGED that the part file lacks; those KNOWN are not hashed again."""
        trusted = known.indices if known.stamp == stamp(damaged) else None

        def take(index: int, data: memoryview) -> bool:
            if index in self._good or (trusted is not None and index not in trusted):
                return False
            if trusted is None:
                return self.put(index, data)
            self._write(index, data)
            return True

        taken = scan_pieces(damaged, self.file, take)
        if trusted and known.stamp != stamp(damaged):
            # Somebody wrote to it meanwhile: only the digests say what was copied.
            with self._lock, disk(self.part, self.file.size):
                self._good -= taken
                self._good |= scan_pieces(self._opened().file, self.file)

    def put(self, index: int, data: bytes | bytearray | memoryview, source: str = "") -> bool:  # noqa: ARG002
        """Keep DATA as piece INDEX if its digest is right; return whether it was.

        SOURCE, where it came from, matters where a piece has no digest of its own.
        Raises DiskError, and PartFileReplacedError where the pieces that were good are not in this file any more.
        """
        if not self.file.pieces[index].matches(data):
            return False
        self._write(index, data)
        return True

    def _write(self, index: int, data: bytes | bytearray | memoryview) -> None:
        with self._lock, disk(self.part, self.file.size):
            writeback = self._opened()
            writeback.file.seek(self.file.pieces[index].span.start)
            write_all(writeback.file, data)
            writeback.wrote(len(data))
            self._good.add(index)
        self._close_if_many()

    def read(self, start: int, count: int) -> bytes:
        """Return COUNT bytes from START on, out of good pieces, in order and before `finish`. Raises as `put` does.

        Readers and writers do not wait for each other where the system reads without a file position.
        """
        with self._reading, disk(self.part):
            if (writeback := self._open) is None:
                with self._lock:
                    writeback = self._opened()
            try:
                data = os.pread(writeback.file.fileno(), count, start)
            except (AttributeError, OSError):
                # This system, or this file system, reads only where the file stands.
                data = b""
            if len(data) < count:
                with self._lock:
                    writeback.file.seek(start)
                    data = writeback.file.read(count)
            if len(data) < count:
                raise OSError(errno.EIO, "it became shorter")
        writeback.spent(count)
        return data

    def save_partial(self, index: int, data: bytes | bytearray, saved: int = 0) -> None:
        """Keep DATA, the beginning of piece INDEX, of which SAVED bytes were kept before.

        Never raises: what can't be kept would have to be fetched again, and no more than that.
        """
        self._partials.add(index)
        with suppress(OSError), open_or_create(self._partial_path(index)) as file:
            file.seek(saved)
            write_all(file, memoryview(data)[saved:])

    def load_partials(self, indices: Iterable[int] | None = None) -> dict[int, bytes]:
        """Return the beginnings of pieces that an earlier run kept, by index; look only for those of INDICES."""
        beginnings = {}
        found = find_partials(names_in(self.path.parent)).get(self.path.name, ()) if indices is None else indices
        for index in found:
            with suppress(OSError, IndexError), open_to_write(self._partial_path(index)) as file:
                if 0 < (size := stamp(file).size) < self.file.pieces[index].span.length:
                    beginnings[index] = file.read(size)
        self._partials.update(found)
        return beginnings

    def discard_partial(self, index: int) -> None:
        """Delete the beginning of piece INDEX: the piece is good now, or what was kept of it was wrong."""
        if index in self._partials:
            self._partials.discard(index)
            with suppress(OSError):
                self._partial_path(index).unlink()

    def finish(self) -> Stamp:
        """Give the file, all of whose pieces are good, its final name, and return its stamp. Raises as `put` does."""
        with self._reading, self._lock, disk(self.path, self.file.size):
            finished = self._publish()
            if self._open:
                # Not `close`: nobody opens it again, which its stamp would be for. All is on the disk already.
                with suppress(OSError):
                    self._open.file.close()
                self._open = None
        for index in list(self._partials):
            self.discard_partial(index)
        return finished

    def close(self) -> None:
        """Close the file; its pieces stay."""
        with suppress(OSError):
            self._close()

    def _publish(self) -> Stamp:
        assert len(self._good) == len(self.file.pieces), f"{self.part} lacks pieces"
        for _ in range(MAX_RIVALS):
            writeback = self._opened()
            writeback.close()
            if finished := publish(writeback.file, self.part, self.path, self.file.size, self._is_right):
                return finished
            # Another process has renamed or replaced the part file. It may have finished it: then all is done.
            if other := verified(self.path, self.file.size, self.file.sha256):
                return other
            if writeback.file.closed:
                raise PartFileReplacedError(self.part)
            self._start_anew()
        raise OSError(errno.EBUSY, "other processes keep replacing it")

    def _is_right(self, path: Path) -> bool:
        return verifies(path, self.file.size, self.file.sha256)

    def _start_anew(self) -> None:
        """Copy the pieces of the open file, which has lost its name, to the file that has the name of the part now."""
        old, new = self._opened().file, open_or_create(self.part)

        def copy(index: int, data: memoryview) -> bool:
            new.seek(self.file.pieces[index].span.start)
            right = self.file.pieces[index].matches(data)
            if right:
                write_all(new, data)
            return right

        with old:
            self._open = Writeback(new)
            self._good = scan_pieces(old, self.file, copy)
        if len(self._good) < len(self.file.pieces):
            raise PartFileReplacedError(self.part)

    def _close_if_many(self) -> None:
        # The system gives the lowest number that is free: that many files wait for the disk to finish them.
        if (writeback := self._open) and writeback.file.fileno() > MOST_DESCRIPTORS:
            with disk(self.part, self.file.size):
                self._close()

    def _close(self) -> None:
        with self._reading, self._lock:
            if writeback := self._open:
                self._open = None
                if not writeback.file.closed:
                    with writeback.file:
                        writeback.close()
                        self._closed_with = stamp(writeback.file)

    def _opened(self) -> Writeback:
        """Return the open file; one with verified pieces is not recreated. Raises PartFileReplacedError, OSError."""
        if self._open is None:
            try:
                file = open_to_write(self.part) if self._good else open_or_create(self.part)
            except FileNotFoundError as exc:
                if self._good:
                    raise PartFileReplacedError(self.part) from exc
                raise
            if self._good and stamp(file) != self._closed_with and not self._good <= self._good_in(file):
                file.close()
                raise PartFileReplacedError(self.part)
            self._open = Writeback(file)
        return self._open

    def _partial_path(self, index: int) -> Path:
        return self.path.with_name(_PARTIAL_NAME.format(self.path.name, index))


def names_in(folder: Path) -> set[str]:
    """Return the names in FOLDER; none where it cannot be listed."""
    with suppress(OSError):
        return set(os.listdir(folder))  # noqa: PTH208 - a Path for each of thousands takes long
    return set()


def find_partials(names: Iterable[str]) -> dict[str, set[int]]:
    """Return the indices of the pieces of which there are beginnings among the NAMES in a folder, by their files."""
    indices: dict[str, set[int]] = {}
    for name in names:
        if name.startswith(".") and (match := re.fullmatch(_PARTIAL, name)):
            indices.setdefault(match[1], set()).add(int(match[2]))
    return indices


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove beginnings of pieces, and part files of days ago, of the complete files NAMES in FOLDER."""
    present = names_in(folder)
    leftovers = find_partials(present)
    for name in names:
        for index in leftovers.get(name, ()):
            with suppress(OSError):
                folder.joinpath(_PARTIAL_NAME.format(name, index)).unlink()
        part = part_path(folder / name) if f"{name}.part" in present else None
        with suppress(OSError):
            # A living process may be filling it, for which it would only be work to do again.
            if part and time.time() - part.lstat().st_mtime > ABANDONED_AFTER_S:
                part.unlink()
