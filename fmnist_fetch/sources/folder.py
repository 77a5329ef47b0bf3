"""A folder as a source: a USB stick, another tool's cache, an installed package, or the root itself."""

from contextlib import suppress
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from fmnist_fetch.errors import AGAIN, SourceError
from fmnist_fetch.manifest.model import DataFile
from fmnist_fetch.manifest.pieces import Span, Splice
from fmnist_fetch.sources.base import Connection, Tier
from fmnist_fetch.storage.files import open_regular
from fmnist_fetch.storage.layout import is_file

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_READ_BYTES = 1024 * 1024
_MANY = 1000
_SHOWN = 3
_NO_SPLICE = Splice(b"", 0)


class Folder(Connection):
    """The files in FOLDER; SPLICED says that they are the Debian package's, which become upstream's by a splice."""

    connections = 1

    def __init__(self, folder: Path, tier: Tier, *, spliced: bool = False, subfolders: tuple[str, ...] = ()) -> None:
        self.name = str(folder)
        self.tier = tier
        self.folder = folder
        self.spliced = spliced
        self._places = [folder, *(folder / subfolder for subfolder in subfolders)]
        self._open: tuple[str, BinaryIO] | None = None

    def open(self) -> "Folder":
        """Return this object: a folder needs no connection."""
        return self

    def candidates(self, file: DataFile) -> list[Path]:
        """Return the paths that may have the payload of FILE: unpacked, or under its own name, however it is packed."""
        names = dict.fromkeys((file.payload.name, file.name))
        return [place / name for place in self._places for name in names if is_file(place / name)]

    def has_published(self, file: DataFile) -> bool:
        """Whether FILE is there as published, judged by its size, which is cheap."""
        path = self._find(file)
        splice = self._splice(file)
        try:
            return path is not None and splice is not None and path.stat().st_size == splice.donor_size(file.size)
        except OSError:
            return False

    def read(self, file: DataFile, span: Span) -> bytes:
        """Bytes of FILE from span.start on, at most 1 MiB; raises SourceError."""
        splice = self._splice(file)
        if splice is None:
            raise SourceError(f"{self.name} has no copy of {file.name} that could be spliced", permanent=True)
        literal, donor = splice.resolve(span)
        if literal:
            return literal
        try:
            stored = self._opened(file)
            stored.seek(donor.start)
            data = stored.read(min(donor.length, _READ_BYTES))
        except OSError as exc:
            why = exc.strerror or exc
            raise SourceError(f"{self.name}/{file.name} can't be read: {why}", permanent=True) from exc
        if not data:
            raise SourceError(f"{self.name}/{file.name} ends before byte {donor.start:,}", permanent=True)
        return data

    def stop(self) -> None:
        """Nothing to end: a read from a disk is short."""

    def close(self) -> None:
        """Close the file that was read last."""
        if self._open:
            self._open[1].close()
        self._open = None

    def _splice(self, file: DataFile) -> Splice | None:
        return file.splice if self.spliced else _NO_SPLICE

    def _find(self, file: DataFile) -> Path | None:
        return next((place / file.name for place in self._places if is_file(place / file.name)), None)

    def _opened(self, file: DataFile) -> BinaryIO:
        if self._open is None or self._open[0] != file.name:
            self.close()
            path = self._find(file)
            if path is None:
                raise self._absent(file)
            stored = open_regular(path)
            if stored.read(len(LFS_POINTER)) == LFS_POINTER:
                stored.close()
                hint = f"Run: git -C {quote(str(path.parent))} lfs pull"
                raise SourceError(f"{path} is a pointer of git-lfs, not the file", hint=hint, permanent=True, telling=2)
            self._open = (file.name, stored)
        return self._open[1]

    def _absent(self, file: DataFile) -> SourceError:
        """Return the error of a folder without FILE; what is there instead helps to see why."""
        facts, hint = f"{self.name} has no {file.name}", "Name the folder with the files as published."
        with suppress(OSError):
            others = sorted(entry.name for entry in islice(self.folder.iterdir(), _MANY))
            shown = ", ".join(name if name.isprintable() else repr(name) for name in others[:_SHOWN])
            facts += f" (it has {shown}{', ...' if len(others) > _SHOWN else ''})" if others else " (it is empty)"
        return SourceError(facts, hint=hint if self.tier is Tier.USER else AGAIN, permanent=True)
