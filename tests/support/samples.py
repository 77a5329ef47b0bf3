"""Small, real IDX datasets in memory: images and labels, train and test, compressed, pinned and cut into pieces.

The payloads are noise, so that bytes at a wrong offset are wrong bytes. The IDX headers are packed by hand: a test of
the package must not rely on the package to make its samples.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import fmnist_fetch
from fmnist_fetch.errors import FetchError
from fmnist_fetch.events import Event, silent
from fmnist_fetch.manifest.idx import IdxHeader
from fmnist_fetch.manifest.model import DataFile, DebianPackage, Manifest, Payload
from fmnist_fetch.manifest.pieces import Piece, Span, Splice, cut
from fmnist_fetch.manifest.toml import dumps
from fmnist_fetch.pipeline.prepare import prepare
from fmnist_fetch.pipeline.report import Report
from fmnist_fetch.sources.base import Connection, FetchOptions, Tier
from fmnist_fetch.sources.http.connection import HttpConnection
from fmnist_fetch.sources.http.source import HttpSource
from fmnist_fetch.storage.layout import Layout
from fmnist_fetch.tensors.writer import Assembly
from wire import flipped as flipped
from wire import payload as noise

PIECE = 1000
CLASSES = tuple(f"class {number}" for number in range(10))
PACKAGE = DebianPackage("dataset-sample", "/usr/share/datasets/sample-of-a-test")
EMPTY = Manifest(
    name="sample",
    title="A sample",
    licence="MIT",
    homepage="https://sample.invalid/",
    folder="Sample",
    classes=CLASSES,
    mean=None,
    std=None,
    mirrors=(),
    local=(),
    debian=None,
    files=(),
)
# The folder that contains the package under test, which may be a copy.
PROJECT_FOLDER = Path(fmnist_fetch.__file__).parents[1]


@contextmanager
def connected(url: str, timeout_s: float = 20.0, tier: Tier = Tier.USER) -> Iterator[HttpConnection]:
    """Yield a connection to the mirror at URL, which is closed at the end."""
    with closing(HttpSource(url, tier).open()) as connection:
        connection.timeout_s = timeout_s
        yield connection


def all_of(source: Connection, file: DataFile, span: Span) -> bytes:
    """Return all of SPAN, read in as many steps as a worker needs."""
    data = b""
    while len(data) < span.length:
        data += source.read(file, Span(span.start + len(data), span.stop))
    return data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def gz(data: bytes, name: str = "", mtime: int = 1_504_176_606, level: int = 6) -> bytes:
    """Return DATA compressed as upstream did it: with the NAME of the file and a time in the header."""
    body = gzip.compress(data, level, mtime=mtime)
    if not name:
        return body
    # RFC 1952, section 2.3: flag FNAME, and the name up to a zero byte after the ten fixed bytes.
    return body[:3] + b"\x08" + body[4:10] + name.encode() + b"\0" + body[10:]


def rewrapped(packed: bytes, head: int) -> bytes:
    """Return the same deflate stream behind a gzip header without a name, as the Debian package has it."""
    return b"\x1f\x8b\x08\x00" + (1_700_000_000).to_bytes(4, "little") + packed[8:10] + packed[head:]


def idx(code: int, shape: tuple[int, ...], values: bytes) -> bytes:
    return struct.pack(f">2xBB{len(shape)}I", code, len(shape), *shape) + values


def labels(count: int, seed: int) -> bytes:
    return idx(0x08, (count,), bytes(Random(seed).randrange(10) for _ in range(count)))


def images(shape: tuple[int, ...], seed: int, code: int = 0x08, width: int = 1) -> bytes:
    count = width
    for size in shape:
        count *= size
    return idx(code, shape, noise(count, seed))


def file_of(
    name: str, published: bytes, payload: Payload, split: str, role: str, *, length: int = PIECE, head: int = 0
) -> DataFile:
    """Return the entry of the manifest for the PUBLISHED bytes; the first HEAD of them differ in the Debian package."""
    pieces = tuple(Piece(span, sha256(published[slice(*span)])) for span in cut(len(published), length))
    splice = Splice(published[:head], 10) if head else None
    return DataFile(name, len(published), sha256(published), pieces, split, role, payload, splice)


@dataclass(frozen=True)
class Sample:
    """A dataset: its manifest, its published files, its payloads, and the files as the Debian package has them."""

    manifest: Manifest = field(repr=False)
    files: dict[str, bytes] = field(repr=False)
    payloads: dict[str, bytes] = field(repr=False)
    donors: dict[str, bytes] = field(repr=False)

    @property
    def size(self) -> int:
        """The number of published bytes of all files."""
        return sum(map(len, self.files.values()))

    @property
    def pieces(self) -> int:
        """The number of pieces of all files."""
        return sum(len(file.pieces) for file in self.manifest.files)

    def file(self, split: str = "train", role: str = "images") -> DataFile:
        file = self.manifest.file(split, role)
        assert file is not None
        return file

    def layout(self, root: Path) -> Layout:
        return Layout(root, self.manifest)

    def changed(self, **changes: Any) -> Sample:
        """Return the same files with CHANGES to the manifest."""
        return replace(self, manifest=self.manifest._replace(**changes))

    def write(self, folder: Path) -> str:
        """Write the manifest to FOLDER and return its path."""
        path = folder / "sample.toml"
        path.write_text(dumps(self.manifest))
        return str(path)

    def fetch(self, root: Path, *mirrors: str, patience: float = 5.0, events: list[Event] | None = None) -> Report:
        """Fetch it to ROOT, from MIRRORS only."""
        choice = FetchOptions(tuple(mirrors), only_mirrors=True, patience=patience)
        listener = silent if events is None else events.append
        return prepare(self.layout(root), choice, listener=listener)


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write FILES to FOLDER, which is created, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def make(
    *,
    pinned: bool = True,
    packed: bool = True,
    length: int = PIECE,
    shape: tuple[int, ...] = (16, 16),
    code: int = 0x08,
    width: int = 1,
    counts: tuple[int, int] = (60, 20),
    plain_names: Callable[[str, str], str] = "{}-{}-idx".format,
    first_seed: int = 1,
    level: int = 6,
) -> Sample:
    """Return a dataset with COUNTS images of SHAPE in train and test, in pieces of LENGTH bytes.

    CODE is the type of the values in the IDX header, and WIDTH its bytes; without PINNED the payloads have no digest.
    """
    entries: list[DataFile] = []
    sample = Sample(EMPTY, {}, {}, {})
    for seed, (split, count) in enumerate(zip(("train", "test"), counts, strict=True), start=first_seed):
        for role in ("images", "labels"):
            data = labels(count, seed) if role == "labels" else images((count, *shape), seed, code, width)
            plain = plain_names(split, role)
            name = f"{plain}.gz" if packed else plain
            sample.payloads[plain] = data
            sample.files[name] = gz(data, plain, level=level) if packed else data
            header = IdxHeader.parse(data, len(data), plain)
            payload = Payload(plain, len(data), sha256(data) if pinned or not packed else None, header)
            head = 10 + len(plain) + 1 if packed else 0
            sample.donors[name] = rewrapped(sample.files[name], head)
            entries.append(file_of(name, sample.files[name], payload, split, role, length=length, head=head))
    return sample.changed(files=tuple(entries))


def assemble(layout: Layout, seals: Mapping[str, str]) -> None:
    """Write the tensor file from payloads that are all unpacked."""
    with Assembly(layout) as assembly:
        assembly.complete(seals)


def disk_of(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file under ROOT with its bytes and the time of its last change, to see what was changed."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def two_lines(error: FetchError) -> str:
    """Return the two lines that the command line prints for ERROR."""
    return f"error: {error.message}\nhint: {error.hint}"


def open_to_all(path: Path) -> None:
    """Let every user reach PATH: pytest makes the folders of a test for its own user."""
    for folder in (path, *path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)


def parts(layout: Layout, files: Sequence[DataFile]) -> dict[str, bytes]:
    """Return the content of the part files of FILES that exist, by the name of the file."""
    paths = {file.name: layout.published(file).with_name(file.name + ".part") for file in files}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}
