"""The files that the server may send: the published files of datasets under a root, and of them only verified pieces.

No path of the file system is ever made from a path in a request: those are looked up in a table.
"""

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fmnist_fetch.errors import ManifestError, UsageError
from fmnist_fetch.manifest.catalog import find
from fmnist_fetch.manifest.model import DataFile, Manifest
from fmnist_fetch.manifest.pieces import Piece, Span
from fmnist_fetch.storage.files import Stamp, open_regular, stamp, stamp_at
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.storage.part_file import part_path

INSPECTION_INTERVAL_S = 0.5
"""How long the inspection of a part file stays valid while pieces are added to it."""
ACTIVE_S = 60.0
"""How long after the last change in a folder a download into it is taken to go on."""
READ_BYTES = 1024 * 1024
MAX_MANIFESTS = 100


class _Inspection(NamedTuple):
    """The verified pieces of a file with the STAMP that was seen at MOMENT (monotonic seconds)."""

    stamp: Stamp
    moment: float
    good: frozenset[int]


class ServedFile:
    """One published file: under its final name, or the verified pieces of its part file.

    `inspect` hashes and is slow; everything else is quick. Calls of `inspect` must not overlap.

    Args:
        folder: No link is followed out of this folder.
        path: The final name of the file; the part file is beside it.
        file: Its size, digest and pieces.
    """

    def __init__(self, folder: Path, path: Path, file: DataFile) -> None:
        self.file = file
        self._folder = folder
        self._path = path
        self._part = part_path(path)
        self._served: tuple[Path, ...] = (path, self._part)
        self._inspections: dict[Path, _Inspection] = {}

    @property
    def expected(self) -> bool:
        """Whether a client should ask again: the file's folder is here, so that it is being downloaded or repaired."""
        return self._path.parent.is_dir()

    @property
    def active(self) -> bool:
        """Whether a download into the file's folder is going on: something in it changed a moment ago."""
        try:
            entries = [self._path.parent, *self._path.parent.iterdir()]
        except OSError:
            return False
        stamps = filter(None, map(_stamp_at, entries))
        return any(abs(time.time() - stamp.modified_ns / 1e9) < ACTIVE_S for stamp in stamps)

    @property
    def exists(self) -> bool:
        """Whether a file has the final name; only its verified pieces are sent."""
        return _stamp_at(self._path) is not None

    @property
    def arriving(self) -> bool:
        """Whether the file is being downloaded."""
        return _stamp_at(self._part) is not None

    @property
    def good_bytes(self) -> int:
        """The number of bytes in the pieces that the last inspection verified, in either file."""
        good = frozenset[int]().union(*(inspection.good for inspection in list(self._inspections.values())))
        return sum(self.file.pieces[index].span.length for index in good)

    def needs_inspection(self) -> bool:
        """Return whether a file has changed since the last inspection; a part file changes often, and gets a moment."""
        for path in self._served:
            now, last = _stamp_at(path), self._inspections.get(path)
            if now is None or last is None:
                if now or last:
                    return True
                continue
            growing = path is self._part and now.identity == last.stamp.identity
            if now != last.stamp and not (growing and time.monotonic() - last.moment < INSPECTION_INTERVAL_S):
                return True
            if len(last.good) == len(self.file.pieces):
                return False
        return False

    def inspect(self) -> None:
        """Hash the pieces that may have changed since the last inspection."""
        for path in self._served:
            try:
                with self._open(path) as opened:
                    self._inspections[path] = self._inspect(opened, path)
            except OSError:
                self._inspections.pop(path, None)

    def open(self, span: Span) -> tuple[BinaryIO, Span] | None:
        """Open the file for as much of SPAN, from its start on, as is verified.

        Returns:
            The open file and the verified part of the span; None where nothing of it is verified.
        """
        for path in self._served:
            last = self._inspections.get(path)
            stop = self._verified_until(last.good, span) if last else span.start
            if last is None or stop == span.start:
                continue
            try:
                opened = self._open(path)
            except OSError:
                continue
            now = stamp(opened)
            # A part file changes all the time, and its verified pieces stay as they are.
            if now == last.stamp or (path is self._part and now.identity == last.stamp.identity and now.size >= stop):
                return opened, Span(span.start, stop)
            opened.close()
        return None

    def _verified_until(self, good: Collection[int], span: Span) -> int:
        """Return where the verified pieces from span.start on end."""
        stop = span.start
        for index, piece in enumerate(self.file.pieces):
            if piece.span.start <= stop < min(piece.span.stop, span.stop) and index in good:
                stop = min(piece.span.stop, span.stop)
        return stop

    def _open(self, path: Path) -> BinaryIO:
        """Open the file at PATH; raise OSError where it is none, or is outside of the folder."""
        real = path.resolve()
        if not real.is_relative_to(self._folder.resolve()):
            raise OSError(f"{path} is outside of {self._folder}")
        # A link that is changed between these lines does no harm: bytes are served by their digests only.
        return open_regular(real)

    def _inspect(self, opened: BinaryIO, path: Path) -> _Inspection:
        now, moment, good = stamp(opened), time.monotonic(), set[int]()
        if last := self._inspections.get(path):
            if last.stamp == now:
                return last._replace(moment=moment)
            if last.stamp.identity == now.identity and path is self._part:
                good = {index for index in last.good if self.file.pieces[index].span.stop <= now.size}
        for index, piece in enumerate(self.file.pieces):
            if index not in good and piece.span.stop <= now.size and _verifies(opened, piece):
                good.add(index)
        return _Inspection(now, moment, frozenset(good))


class ServedFiles:
    """The files of MANIFESTS under ROOT by the path of their URL; those of the first one also by their bare names."""

    def __init__(self, root: Path, manifests: Sequence[Manifest]) -> None:
        self.root = root
        self.manifests = manifests
        self._files: dict[str, ServedFile] = {}
        for manifest in manifests:
            layout = Layout(root, manifest)
            for file in manifest.files:
                served = ServedFile(root, layout.published(file), file)
                # The same path as under a root that another server shares.
                self._files[f"/{manifest.folder}/raw/{file.name}"] = served
                if manifest is manifests[0]:
                    self._files[f"/{file.name}"] = served

    def folder(self, manifest: Manifest) -> str:
        """Return the path below which a client finds the files of MANIFEST."""
        return "/" if manifest is self.manifests[0] else f"/{manifest.folder}/raw/"

    def find(self, path: str) -> ServedFile | None:
        """Return the file that has PATH, or None."""
        return self._files.get(path)

    def of(self, manifest: Manifest) -> list[ServedFile]:
        """Return the files of MANIFEST, in its order."""
        return [self._files[f"/{manifest.folder}/raw/{file.name}"] for file in manifest.files]


def datasets(root: Path, standard: Iterable[Manifest], given: Iterable[Manifest]) -> tuple[list[Manifest], list[str]]:
    """Collect the datasets to serve: STANDARD ones, GIVEN ones, and those with a manifest (FILE.toml) under ROOT.

    Returns:
        The manifests, no two of one name or folder, and a sentence about each that is left out.
    """
    chosen: list[Manifest] = []
    notes: list[str] = []
    found: list[Manifest] = []
    for path in sorted([*root.glob("*.toml"), *root.glob("*/*.toml")])[:MAX_MANIFESTS]:
        try:
            found.append(find(str(path)))
        except UsageError:
            notes.append(f"{path} is left out: it cannot be read")
        except ManifestError as exc:
            notes.append(f"{path} is left out: it is not a manifest ({len(exc.faults)} faults)")
    for manifest in (*standard, *given, *found):
        same = [one for one in chosen if manifest.name == one.name or manifest.folder == one.folder]
        if not same:
            chosen.append(manifest)
        elif manifest not in same:
            notes.append(f"the manifest of {manifest.name} is left out: {same[0].name} has its name or folder")
    return chosen, notes


def _stamp_at(path: Path) -> Stamp | None:
    with suppress(OSError, RuntimeError):  # Python 3.11 and 3.12 raise RuntimeError for links in a loop
        return stamp_at(path.resolve())
    return None


def _verifies(opened: BinaryIO, piece: Piece) -> bool:
    """Return whether a piece is right; a wheel is one of up to hundreds of megabytes, which are not read at once."""
    found = hashlib.sha256()
    opened.seek(piece.span.start)
    for start in range(piece.span.start, piece.span.stop, READ_BYTES):
        found.update(opened.read(min(READ_BYTES, piece.span.stop - start)))
    return found.hexdigest() == piece.sha256
