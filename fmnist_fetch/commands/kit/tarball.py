"""A tar whose bytes depend on nothing but what is in it: order, owner and times are fixed. In volumes, if wanted."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from fmnist_fetch.errors import UsageError, disk
from fmnist_fetch.storage.atomic import write_all, write_atomically

MOST_VOLUMES = 1000
Advance = Callable[[int], None]


class Entry(NamedTuple):
    """A file of the tar: its path there, its bytes or the path where they lie, and whether it is a program."""

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
        """The bytes, to be read."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        with disk(self.content):
            return open(self.content, "rb")

    def digest(self) -> str:
        """The SHA-256 of the bytes."""
        with self.open() as file, disk(self.name):
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def write_tar(out: Path, entries: Sequence[Entry], moment: int, part_size: int | None, advance: Advance) -> list[Path]:
    """Write ENTRIES, in the order of their names and with MOMENT as their time, to OUT and return what was written.

    PART_SIZE cuts the tar into OUT.000, OUT.001, ..., which `cat` joins. ADVANCE is called with each count of bytes.
    A final name appears complete, and the parts of an earlier tar go with it. Raises DiskError, UsageError.
    """
    total = sum(entry.size for entry in entries)
    if part_size and total // part_size >= MOST_VOLUMES:
        raise UsageError(f"that would make {total // part_size + 1:,} parts", hint="Choose a larger --part-size.")
    with ExitStack() as stack:
        volumes = _Volumes(out, part_size, stack, total, advance)
        # Long names, as wheels have them, are written as GNU does it, which every tar reads. A stream never seeks.
        with tarfile.open(fileobj=cast(BinaryIO, volumes), mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for entry in sorted(entries):
                info = tarfile.TarInfo(entry.name)
                info.size, info.mtime, info.mode = entry.size, moment, 0o755 if entry.executable else 0o644
                with entry.open() as file, disk(entry.name):
                    tar.addfile(info, file)
    for path in {out, *out.parent.glob(f"{out.name}.[0-9][0-9][0-9]")} - set(volumes.paths):
        with disk(path):
            path.unlink(missing_ok=True)
    return volumes.paths


class _Volumes:
    """What the tar is written to: one file, or as many as its size makes of it, all renamed when STACK ends well."""

    def __init__(self, out: Path, most: int | None, stack: ExitStack, total: int, advance: Advance) -> None:
        self.paths: list[Path] = []
        self._out, self._most, self._stack, self._total, self._advance = out, most, stack, total, advance
        self._room = most
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> int:
        """Write all of DATA, in the next volume what this one has no room for."""
        view = memoryview(data)
        while view:
            if self._file is None or self._room == 0:
                self._file = self._next()
            part = view if self._room is None else view[: self._room]
            write_all(self._file, part)
            self._room = None if self._room is None else self._room - len(part)
            view = view[len(part) :]
        self._advance(len(data))
        return len(data)

    def _next(self) -> BinaryIO:
        path = self._out if self._most is None else self._out.with_name(f"{self._out.name}.{len(self.paths):03}")
        self.paths.append(path)
        self._room = self._most
        return self._stack.enter_context(write_atomically(path, self._total))
