"""A tar whose bytes depend on nothing but its content: order, owner and times are fixed."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from fmnist_fetch.errors import disk
from fmnist_fetch.storage.atomic import sweep, write_all, write_atomically


class Entry(NamedTuple):
    """A file of the tar: its path there, its bytes or the path of a file with them, and whether it is a program."""

    name: str
    content: bytes | Path
    executable: bool = False

    @property
    def size(self) -> int:
        """The number of bytes."""
        if isinstance(self.content, bytes):
            return len(self.content)
        with disk(self.content):
            return self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Open the bytes for reading."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        with disk(self.content):
            return open(self.content, "rb")

    def digest(self) -> str:
        """Return the SHA-256 of the bytes."""
        with self.open() as file, disk(self.name):
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def write_tar(out: Path, entries: Sequence[Entry], time_s: int, on_written: Callable[[int], None]) -> None:
    """Write a tar, which gets its final name when it is complete.

    The entries are written in the order of their names, and all have the time TIME_S, in seconds since 1970.
    `on_written` is called with each count of bytes that were written.

    Raises:
        DiskError: A file cannot be read or written.
    """
    sweep(out.parent)  # what killed runs left: hundreds of megabytes each
    total = sum(entry.size for entry in entries)
    with write_atomically(out, total) as file:
        stream = cast(BinaryIO, _Stream(file, on_written))
        # Long names, as wheels have them, are written as GNU does it, which every tar reads.
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for entry in sorted(entries):
                info = tarfile.TarInfo(entry.name)
                info.size, info.mtime, info.mode = entry.size, time_s, 0o755 if entry.executable else 0o644
                with entry.open() as content, disk(entry.name):
                    tar.addfile(info, content)


class _Stream:
    """A file that reports how many bytes are written to it."""

    def __init__(self, file: BinaryIO, on_written: Callable[[int], None]) -> None:
        self._file = file
        self._on_written = on_written

    def write(self, data: bytes) -> int:
        """Write all of DATA."""
        write_all(self._file, data)
        self._on_written(len(data))
        return len(data)
