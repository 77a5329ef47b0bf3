"""What a server may give away: the catalogue's published files under a root, and of them only verified pieces.

No path of the file system is ever made from a path that was asked for: those are looked up in a table.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.manifest.pieces import Span
from fmnist_fetch.storage.layout import Layout

GLANCE = 0.5
"""How many seconds a look at a file under completion is good for."""


class Copy(NamedTuple):
    """A file that is open, and the indices of its pieces that are verified."""

    opened: BinaryIO
    good: Collection[int]


class _Look(NamedTuple):
    """What was seen of a file: which it is, when it was last changed and looked at, its good pieces."""

    inode: tuple[int, int]
    changed: tuple[int, int]
    moment: float
    good: frozenset[int]


class Item:
    """One published file: under its final name, or as far as it has come."""

    def __init__(self, root: Path, path: Path, file: DataFile) -> None:
        self.file = file
        self._root = root
        self._paths = (path, path.with_name(f"{path.name}.part"))
        self._looks: dict[Path, _Look] = {}
        self._lock = threading.Lock()

    @property
    def under_way(self) -> bool:
        """Whether the dataset of this file is here or coming: else it is not worth anybody's waiting."""
        return self._paths[0].parent.is_dir()

    def good(self) -> set[int]:
        """The indices of the pieces that are verified, wherever they lie."""
        good: set[int] = set()
        for path in self._paths:
            if copy := self._copy(path):
                copy.opened.close()
                good.update(copy.good)
        return good

    def open(self, span: Span) -> tuple[BinaryIO, Span] | None:
        """A file open for reading with as much of SPAN, from its start, as is verified; None where that is nothing."""
        for path in self._paths:
            if copy := self._copy(path):
                if (stop := self._reach(copy.good, span)) > span.start:
                    return copy.opened, Span(span.start, stop)
                copy.opened.close()
        return None

    def _reach(self, good: Collection[int], span: Span) -> int:
        """Where the good pieces from span.start on end."""
        reach = span.start
        for index, piece in enumerate(self.file.pieces):
            if piece.span.start <= reach < min(piece.span.stop, span.stop) and index in good:
                reach = min(piece.span.stop, span.stop)
        return reach

    def _copy(self, path: Path) -> Copy | None:
        """The file at PATH and what is verified of it; None where it is none, or lies outside of the root."""
        try:
            real = path.resolve()
            if not real.is_relative_to(self._root.resolve()):
                return None
            # What a link is changed to between these lines is no matter: bytes are given away by their digests.
            opened = open(real, "rb", buffering=0, opener=_open_regular)  # noqa: SIM115 - handed on
        except OSError:
            return None
        try:
            with self._lock:
                look = self._looks[path] = self._look(opened, path, self._looks.get(path))
            return Copy(opened, look.good)
        except BaseException:
            opened.close()
            raise

    def _look(self, opened: BinaryIO, path: Path, before: _Look | None) -> _Look:
        """Hash what may have changed since the look BEFORE: verified pieces of a file under completion stay so."""
        about = os.fstat(opened.fileno())
        inode, changed, now = (about.st_dev, about.st_ino), (about.st_size, about.st_mtime_ns), time.monotonic()
        good: frozenset[int] = frozenset()
        if before and before.inode == inode:
            if before.changed == changed or now - before.moment < GLANCE:
                return before
            if path == self._paths[-1]:
                good = before.good
        found = [
            index
            for index, piece in enumerate(self.file.pieces)
            if index not in good and piece.span.stop <= about.st_size and _verifies(opened, piece.span, piece.sha256)
        ]
        return _Look(inode, changed, now, good.union(found))


class ServedFiles:
    """The files of MANIFESTS under ROOT by the path of their URL; those of the first one also by their bare names."""

    def __init__(self, root: Path, manifests: list[Manifest]) -> None:
        self.root = root
        self.manifests = manifests
        self._items: dict[str, Item] = {}
        for manifest in manifests:
            layout = Layout(root, manifest)
            for file in manifest.files:
                item = Item(root, layout.published(file), file)
                self._items[self.folder(manifest) + file.name] = item
                # The same path as under a root that another server gives away.
                self._items[f"/{manifest.folder}/raw/{file.name}"] = item

    def folder(self, manifest: Manifest) -> str:
        """The path below which the files of MANIFEST are found, as a mirror's."""
        return "/" if manifest is self.manifests[0] else f"/{manifest.folder}/raw/"

    def find(self, path: str) -> Item | None:
        """The file that has PATH, or None."""
        return self._items.get(path)


def _open_regular(path: str, flags: int) -> int:
    """Open PATH if it is a file and no link; never wait for the writer of a pipe."""
    number = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{path} is no file")
    return number


def _verifies(opened: BinaryIO, span: Span, sha256: str) -> bool:
    with suppress(OSError):
        opened.seek(span.start)
        return hashlib.sha256(opened.read(span.length)).hexdigest() == sha256
    return False
